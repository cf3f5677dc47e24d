import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { KubeClient, KubeRequest } from "#tunnel/kube-client.ts";
import { listNodeNames } from "#tunnel/node-names.ts";
import { resolveTarget } from "#tunnel/target.ts";

const TARGET = { namespace: "monitoring", service: "prometheus", port: 9090, scheme: "http" as const };
const signal = new AbortController().signal;

/** A KubeClient that answers from a table; a function gets the query. An absent path is what `special` says of 404. */
function fakeKube(answers: Record<string, unknown>): KubeClient & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    connection: () => Promise.reject(new Error("not used")),
    send: () => Promise.reject(new Error("not used")),
    get: <T>(request: KubeRequest<T>): Promise<T> => {
      asked.push(request.path);
      const answer = answers[request.path];
      if (answer instanceof Error) return Promise.reject(answer);
      if (answer === undefined) {
        return Promise.reject(new BridgeError(request.special?.[404] ?? "cluster_api_error", "not found"));
      }
      const body = (typeof answer === "function" ? answer(request.query ?? {}) : answer) as {
        items?: unknown[];
      };
      const { items } = request;
      for (const item of items ? (body.items ?? []) : []) items!.take(items!.schema.parse(item));
      return Promise.resolve(request.schema.parse(body));
    },
  };
}

const SERVICE = "/api/v1/namespaces/monitoring/services/prometheus";
const SLICES = "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices";

function service(changes: Record<string, unknown> = {}): unknown {
  const ports = [
    { name: "reloader", port: 8080 },
    { name: "web", port: 9090, targetPort: "http-web" },
  ];
  return { spec: { type: "ClusterIP", clusterIP: "10.0.0.1", selector: { app: "p" }, ports, ...changes } };
}

function endpoint(
  name: string,
  conditions: Record<string, unknown> = { ready: true },
): Record<string, unknown> {
  return { conditions, targetRef: { kind: "Pod", name, namespace: "monitoring", uid: `uid-${name}` } };
}

function slices(endpoints: unknown[], changes: Record<string, unknown> = {}): unknown {
  const ports = [
    { name: "reloader", port: 18_080, protocol: "TCP" },
    { name: "web", port: 19_090, protocol: "TCP" },
  ];
  return { items: [{ addressType: "IPv4", ports, endpoints, ...changes }] };
}

function resolve(found: { service?: unknown; slices?: unknown }, pinnedPodUid?: string, target = TARGET) {
  const kube = fakeKube({ [SERVICE]: found.service ?? service(), [SLICES]: found.slices ?? slices([]) });
  return resolveTarget(kube, target, { signal, ...(pinnedPodUid === undefined ? {} : { pinnedPodUid }) });
}

async function failure(work: Promise<unknown>): Promise<BridgeError> {
  return work.then(
    () => Promise.reject(new Error("it succeeded")),
    (error: unknown) => error as BridgeError,
  );
}

describe("resolveTarget", () => {
  test("gives the container's port that the Service's port stands for", async () => {
    const pod = await resolve({ slices: slices([endpoint("prometheus-0")]) });
    expect(pod).toEqual({
      podName: "prometheus-0",
      podUid: "uid-prometheus-0",
      port: 19_090,
      others: [],
      unready: [],
    });
  });

  test("matches an unnamed port", async () => {
    const pod = await resolve({
      service: service({ ports: [{ port: 9090 }] }),
      slices: slices([endpoint("p")], { ports: [{ name: "", port: 7 }] }),
    });
    expect(pod.port).toBe(7);
  });

  test("takes the port unchanged for a headless Service", async () => {
    const pod = await resolve({
      service: service({ clusterIP: "None" }),
      slices: slices([endpoint("p")], { ports: [] }),
    });
    expect(pod.port).toBe(9090);
  });

  test("takes the first by name, or the pinned one while it is ready", async () => {
    const three = slices([endpoint("p-2"), endpoint("p-0"), endpoint("p-1")]);
    expect((await resolve({ slices: three })).podName).toBe("p-0");
    expect((await resolve({ slices: three }, "uid-p-2")).podName).toBe("p-2");
    expect((await resolve({ slices: three }, "uid-gone")).podName).toBe("p-0");
    const notReady = slices([endpoint("p-2", { ready: false }), endpoint("p-1")]);
    expect((await resolve({ slices: notReady }, "uid-p-2")).podName).toBe("p-1");
  });

  test("reads an absent `ready` as ready, and names a Pod without UID by its name", async () => {
    const bare = { targetRef: { kind: "Pod", name: "p-0" } };
    expect(await resolve({ slices: slices([bare]) })).toMatchObject({ podUid: "monitoring/p-0" });
  });

  test("skips what is not ready, terminating, or no Pod of the namespace", async () => {
    const error = await failure(
      resolve({
        slices: slices([
          endpoint("a", { ready: false }),
          endpoint("b", { ready: true, terminating: true }),
          endpoint("c", { ready: false }),
          { conditions: { ready: true } },
          { conditions: { ready: true }, targetRef: { kind: "Pod", name: "d", namespace: "other" } },
        ]),
      }),
    );
    expect(error.code).toBe("prometheus_pod_not_ready");
    expect(error.details).toEqual({ ready: 0, not_ready: 2, terminating: 1, without_pod: 2 });
  });

  test("reads slices of both address families and all pages", async () => {
    const kube = fakeKube({
      [SERVICE]: service(),
      [SLICES]: (query: Record<string, string>) => {
        expect(query["labelSelector"]).toBe("kubernetes.io/service-name=prometheus");
        if (query["continue"] === undefined) {
          return { metadata: { continue: "more" }, ...(slices([endpoint("p-1")]) as object) };
        }
        return slices([endpoint("p-0"), endpoint("p-1")]);
      },
    });
    expect((await resolveTarget(kube, TARGET, { signal })).podName).toBe("p-0");
  });

  test.each([
    ["ExternalName", service({ type: "ExternalName", selector: undefined })],
    ["without selector", service({ selector: undefined })],
    ["with an empty selector", service({ selector: {} })],
    ["without spec", {}],
  ])("refuses a Service %s", async (_name, given) => {
    expect((await failure(resolve({ service: given }))).code).toBe("prometheus_service_unsupported");
  });

  test("names the ports that the Service has", async () => {
    const error = await failure(resolve({}, undefined, { ...TARGET, port: 19_090 }));
    expect(error.code).toBe("prometheus_port_not_found");
    expect(error.details).toEqual({
      ports: [
        { name: "reloader", port: 8080 },
        { name: "web", port: 9090 },
      ],
    });
  });

  test("a UDP port is none, and a port that the Pods lack is named", async () => {
    const udp = service({ ports: [{ name: "web", port: 9090, protocol: "UDP" }] });
    expect((await failure(resolve({ service: udp }))).code).toBe("prometheus_port_not_found");
    const without = slices([endpoint("p")], { ports: [{ name: "other", port: 1 }] });
    const error = await failure(resolve({ slices: without }));
    expect(error.code).toBe("prometheus_port_not_found");
    expect(error.message).toContain("container port");
  });

  test.each([
    ["nowhere else", {}, undefined],
    ["the listing forbidden", { "/api/v1/services": new BridgeError("cluster_forbidden", "no") }, undefined],
    [
      "a candidate in the namespace only",
      {
        "/api/v1/services": new BridgeError("cluster_forbidden", "no"),
        "/api/v1/namespaces/monitoring/services": {
          items: [{ metadata: { name: "kube-prometheus", namespace: "monitoring" } }],
        },
      },
      { candidates: ["monitoring/kube-prometheus"] },
    ],
  ])("a missing Service, with %s", async (_name, answers, details) => {
    const error = await failure(resolveTarget(fakeKube(answers), TARGET, { signal }));
    expect(error.code).toBe("prometheus_service_not_found");
    expect(error.message).toContain("monitoring/prometheus");
    expect(error.details).toEqual(details);
  });

  test("encodes odd names in paths", async () => {
    const kube = fakeKube({});
    const target = { ...TARGET, namespace: "../x", service: "a/b?c" };
    await failure(resolveTarget(kube, target, { signal }));
    expect(kube.asked[0]).toBe("/api/v1/namespaces/..%2Fx/services/a%2Fb%3Fc");
  });
});

describe("listNodeNames", () => {
  const node = (name: string, ...addresses: [string, string][]): unknown => ({
    metadata: { name },
    status: { addresses: addresses.map(([type, address]) => ({ type, address })) },
  });

  test("maps every address and the name, over all pages", async () => {
    const kube = fakeKube({
      "/api/v1/nodes": (query: Record<string, string>) =>
        query["continue"] === "2"
          ? { items: [node("b", ["InternalIP", "10.0.0.2"]), { metadata: { name: "c" } }] }
          : {
              metadata: { continue: "2" },
              items: [
                node("a", ["InternalIP", "10.0.0.1"], ["ExternalIP", "1.2.3.4"], ["Hostname", "host-a"]),
              ],
            },
    });
    expect(Object.fromEntries((await listNodeNames(kube, signal)).names)).toEqual({
      "10.0.0.1": "a",
      "1.2.3.4": "a",
      "host-a": "a",
      a: "a",
      "10.0.0.2": "b",
      b: "b",
      c: "c",
    });
  });

  test("an address of two nodes says nothing, a node's own name always stands", async () => {
    const kube = fakeKube({
      "/api/v1/nodes": {
        items: [
          node("a", ["ExternalIP", "9.9.9.9"], ["Hostname", "b"]),
          node("b", ["ExternalIP", "9.9.9.9"]),
        ],
      },
    });
    expect(Object.fromEntries((await listNodeNames(kube, signal)).names)).toEqual({ a: "a", b: "b" });
  });

  test("a listing without an end is cut with a warning", async () => {
    const kube = fakeKube({ "/api/v1/nodes": { metadata: { continue: "again" }, items: [node("a")] } });
    const { names, warning } = await listNodeNames(kube, signal);
    expect(names.size).toBe(1);
    expect(warning).toContain("only the first");
    expect(kube.asked.length).toBeLessThanOrEqual(40);
  });

  test("a failure is a warning, an aborted signal is not", async () => {
    const refused = new BridgeError("cluster_forbidden", "nodes is forbidden");
    const found = await listNodeNames(fakeKube({ "/api/v1/nodes": refused }), signal);
    expect(found).toEqual({ names: new Map(), warning: expect.stringContaining("nodes is forbidden") });
    const reason = new Error("over");
    await expect(
      listNodeNames(fakeKube({ "/api/v1/nodes": refused }), AbortSignal.abort(reason)),
    ).rejects.toBe(reason);
  });
});
