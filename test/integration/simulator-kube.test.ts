import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import type { SimulatedCluster, Simulator } from "#simulator/simulator.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { ManualClock } from "../helpers/manual-clock.ts";
import { callKube, httpGet, openForward, POD } from "./simulator-client.ts";

const SERVICE = "bud-metrics-kube-prometheu-prometheus";
const SERVICES = "/api/v1/namespaces/bud-system/services";
const SLICES = `/apis/discovery.k8s.io/v1/namespaces/bud-system/endpointslices?labelSelector=kubernetes.io/service-name%3D`;

let clock: ManualClock;
let simulator: Simulator;
let cluster: SimulatedCluster;
let other: SimulatedCluster;

beforeEach(async () => {
  clock = createManualClock();
  simulator = await startSimulator({ clock, clusters: 2, replicas: 2 });
  [cluster, other] = simulator.clusters as [SimulatedCluster, SimulatedCluster];
});
afterEach(async () => simulator.stop());

/** name -> conditions, of the endpoints of a Service. */
async function endpoints(service = SERVICE): Promise<Record<string, unknown>> {
  cluster.kube.setRights("bridge", [
    ...(cluster.kube.users[0]?.rights ?? []),
    { verbs: ["list"], resources: ["endpointslices"], group: "discovery.k8s.io" },
  ]);
  const { body } = await callKube(cluster, SLICES + service);
  const items = body["items"] as {
    endpoints: { conditions: unknown; targetRef: { name: string } }[];
    ports: unknown;
  }[];
  return Object.fromEntries(
    items.flatMap((item) => item.endpoints.map((each) => [each.targetRef.name, each.conditions])),
  );
}

describe("who may do what, in the real server's words", () => {
  test("the Service and its two Pods are found with the least rights", async () => {
    const service = await callKube(cluster, `${SERVICES}/${SERVICE}`);
    expect(service).toMatchObject({
      status: 200,
      body: {
        kind: "Service",
        spec: {
          type: "ClusterIP",
          ports: [{ name: "http-web", port: 9090, targetPort: "http-web", protocol: "TCP" }],
        },
      },
    });
    const slices = await callKube(cluster, SLICES + SERVICE);
    expect(slices.body).toMatchObject({
      kind: "EndpointSliceList",
      items: [{ ports: [{ name: "http-web", port: 9090, protocol: "TCP" }], endpoints: [{}, {}] }],
    });
  });

  test("401 and 403", async () => {
    const bad = await callKube(cluster, "/api/v1/nodes", { token: "bad" });
    expect(bad).toEqual({
      status: 401,
      body: {
        kind: "Status",
        apiVersion: "v1",
        metadata: {},
        status: "Failure",
        message: "Unauthorized",
        reason: "Unauthorized",
        code: 401,
      },
    });
    const message = async (path: string, token?: null): Promise<unknown> => {
      const { status, body } = await callKube(cluster, path, token === null ? { token } : {});
      return `${status} ${String(body["message"])}`;
    };
    expect(await message("/api/v1/nodes", null)).toBe(
      '403 nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope',
    );
    expect(await message("/api/v1/namespaces/other/services/x")).toBe(
      '403 services "x" is forbidden: User "bridge" cannot get resource "services" in API group "" in the namespace "other"',
    );
    expect(await message("/api/v1/namespaces/bud-system")).toBe(
      '403 namespaces "bud-system" is forbidden: User "bridge" cannot get resource "namespaces" in API group "" in the namespace "bud-system"',
    );
    expect(await message("/apis/discovery.k8s.io/v1/namespaces/other/endpointslices")).toBe(
      '403 endpointslices.discovery.k8s.io is forbidden: User "bridge" cannot list resource "endpointslices" in API group "discovery.k8s.io" in the namespace "other"',
    );
  });

  test("404 with details, and lists once the right is there", async () => {
    expect(await callKube(cluster, `${SERVICES}/nope`)).toMatchObject({
      status: 404,
      body: {
        message: 'services "nope" not found',
        reason: "NotFound",
        details: { name: "nope", kind: "services" },
      },
    });
    expect((await callKube(cluster, SERVICES)).status).toBe(403);
    cluster.kube.setRights("bridge", [
      { verbs: ["list", "get"], resources: ["services", "pods", "namespaces"] },
    ]);
    expect((await callKube(cluster, "/api/v1/services")).body).toMatchObject({ kind: "ServiceList" });
    expect((await callKube(cluster, `/api/v1/namespaces/bud-system/pods/${POD}`)).body).toMatchObject({
      kind: "Pod",
      status: { phase: "Running" },
    });
    expect((await callKube(cluster, "/api/v1/namespaces/bud-system")).body).toMatchObject({
      kind: "Namespace",
    });
  });

  test("lists come in pages", async () => {
    const first = await callKube(cluster, "/api/v1/nodes?limit=2");
    const { metadata, items } = first.body as { metadata: { continue: string }; items: unknown[] };
    expect(items).toHaveLength(2);
    const second = await callKube(cluster, `/api/v1/nodes?limit=2&continue=${metadata.continue}`);
    expect(second.body).toMatchObject({ items: [{ metadata: { name: "sim-1-node-2" } }] });
    expect(second.body["metadata"]).not.toHaveProperty("continue");
  });

  test("a SelfSubjectAccessReview answers what the rights say", async () => {
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const ask = async (resourceAttributes: Record<string, string>): Promise<unknown> =>
      (await callKube(cluster, path, { method: "POST", body: { spec: { resourceAttributes } } })).body[
        "status"
      ];
    const pods = { verb: "create", resource: "pods", subresource: "portforward", namespace: "bud-system" };
    expect(await ask(pods)).toEqual({ allowed: true });
    expect(await ask({ ...pods, namespace: "other" })).toEqual({ allowed: false });
  });

  test("another cluster's token and CA are worth nothing, and the stranger is counted", async () => {
    expect((await callKube(cluster, "/api/v1/nodes", { token: other.token })).status).toBe(401);
    await expect(callKube(cluster, "/api/v1/nodes", { ca: other.ca })).rejects.toThrow(/certificate|issuer/);
    expect(simulator.faults.traffic(cluster.id).strangers).toBe(1);
    expect(simulator.faults.traffic(other.id)).toMatchObject({ api: 0, tunnel: 0, prometheus: 0 });
  });
});

describe("Pods behind Services", () => {
  test("not ready, terminating, deleted and restarted Pods", async () => {
    const second = POD.replace(/0$/, "1");
    cluster.kube.updatePod(POD, { ready: false });
    cluster.kube.updatePod(second, { terminating: true });
    expect(await endpoints()).toEqual({
      [POD]: { ready: false, serving: false, terminating: false },
      [second]: { ready: false, serving: true, terminating: true },
    });
    const uid = cluster.kube.pods[0]?.uid;
    cluster.kube.restartPod(POD);
    expect(cluster.kube.pods[0]?.uid).not.toBe(uid);
    cluster.kube.deletePod(second);
    expect(Object.keys(await endpoints())).toEqual([POD]);
  });

  test("headless, ExternalName and ports without a number in the Pod", async () => {
    const selector = { "app.kubernetes.io/name": "prometheus" };
    const namespace = "bud-system";
    cluster.kube.services.push(
      { namespace, name: "headless", headless: true, selector, ports: [{ name: "http-web", port: 9090 }] },
      { namespace, name: "external", type: "ExternalName", selector: null, ports: [{ port: 9090 }] },
      { namespace, name: "wrong", selector, ports: [{ name: "x", port: 80, targetPort: "no-such-port" }] },
    );
    expect((await callKube(cluster, `${SERVICES}/headless`)).body).toMatchObject({
      spec: { clusterIP: "None" },
    });
    const external = await callKube(cluster, `${SERVICES}/external`);
    expect(external.body).toMatchObject({
      spec: { type: "ExternalName", externalName: "prometheus.example.com" },
    });
    expect(await endpoints("external")).toEqual({});
    const { body } = await callKube(cluster, `${SLICES}wrong`);
    expect(body).toMatchObject({ items: [{ ports: [] }] });
  });
});

describe("port-forward", () => {
  test("carries HTTP to the Pod's own Prometheus, over one connection again and again", async () => {
    const forward = await openForward(cluster);
    forward.send(httpGet("/-/ready"));
    await forward.until(() => forward.data().endsWith("Ready.\n"));
    forward.send(httpGet("/api/v1/query?query=up[5m]"));
    await forward.until(() => forward.data().endsWith("]}}\r\n0\r\n\r\n"));
    expect(forward.frames[0]).toEqual(Buffer.from([0, 0x82, 0x23]));
    expect(forward.frames[1]).toEqual(Buffer.from([1, 0x82, 0x23]));
    forward.close();
    expect(await forward.closed).toBe(1000);
    expect(simulator.faults.traffic(cluster.id)).toMatchObject({ tunnel: 1, prometheus: 2 });
    expect(simulator.faults.traffic(other.id).prometheus).toBe(0);
  });

  test("a port where nothing listens is an error on channel 1", async () => {
    const forward = await openForward(cluster, { port: 9999 });
    expect(await forward.closed).toBe(1000);
    expect(forward.error()).toBe(
      `error forwarding port 9999 to pod bud-system/${POD}, uid : failed to connect to localhost:9999 inside namespace of "bud-system/${POD}": connect: connection refused`,
    );
  });

  test("no such Pod, a stranger's token, a missing right and a plain GET are refused", async () => {
    await expect(openForward(cluster, { pod: "nope" })).rejects.toThrow('404 {"kind":"Status"');
    await expect(openForward(cluster, { token: other.token })).rejects.toThrow("401");
    const get = { verbs: ["get"], resources: ["pods/portforward"], namespace: "bud-system" };
    cluster.kube.setRights("bridge", [get]);
    await expect(openForward(cluster)).rejects.toThrow(`pods \\"${POD}\\" is forbidden: "`);
    cluster.kube.setRights("bridge", []);
    await expect(openForward(cluster)).rejects.toThrow('cannot get resource \\"pods/portforward\\"');
    cluster.kube.setRights("bridge", [{ ...get, verbs: ["get", "create"] }]);
    const plain = await callKube(cluster, `/api/v1/namespaces/bud-system/pods/${POD}/portforward?ports=9090`);
    expect(plain).toMatchObject({ status: 400, body: { message: "Upgrade request required" } });
  });

  test("a restarted Pod breaks its connections", async () => {
    const forward = await openForward(cluster);
    await forward.until(() => forward.frames.length === 2);
    cluster.kube.restartPod(POD);
    expect(await forward.closed).toBe(1006);
  });
});

describe("faults of the tunnel", () => {
  const ready = httpGet("/-/ready");

  test.each([
    [{ kind: "close", afterBytes: 20 } as const, 1001, 20],
    [{ kind: "cut", afterBytes: 20 } as const, 1006, 20],
    [{ kind: "reset", afterBytes: 0 } as const, 1006, 0],
    [{ kind: "error-text", text: "lost connection to pod", afterBytes: 20 } as const, 1000, 20],
  ])("%o", async (fault, code, bytes) => {
    await simulator.faults.set(cluster.id, { layer: "tunnel", ...fault });
    const forward = await openForward(cluster);
    forward.send(ready);
    expect(await forward.closed).toBe(code);
    expect(forward.data()).toHaveLength(bytes);
    expect(forward.error()).toBe(fault.kind === "error-text" ? fault.text : "");
  });

  test("legal oddities carry the data all the same", async () => {
    for (const kind of ["empty-frames", "split-port"] as const) {
      await simulator.faults.set(cluster.id, { layer: "tunnel", kind });
      const forward = await openForward(cluster);
      forward.send(ready);
      await forward.until(() => forward.data().endsWith("Ready.\n"));
      expect(forward.frames.length).toBeGreaterThan(4);
      forward.close();
    }
  });

  test("text frame, unknown channel, wrong port, error at once, refusal", async () => {
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "text-frame" });
    const text = await openForward(cluster);
    await text.until(() => text.texts.length === 1);
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "unknown-channel" });
    const unknown = await openForward(cluster);
    await unknown.until(() => unknown.frames.some((frame) => frame[0] === 7));
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "wrong-port" });
    const wrong = await openForward(cluster);
    await wrong.until(() => wrong.frames.length === 2);
    expect(wrong.frames[0]).toEqual(Buffer.from([0, 1, 0]));
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "error-text", text: "no" });
    const failed = await openForward(cluster);
    await failed.closed;
    expect(failed.error()).toBe("no");
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "refuse", status: 502, times: 1 });
    await expect(openForward(cluster)).rejects.toThrow("502");
    (await openForward(cluster)).close();
  });

  test("hang sends no port, stall stops after so many bytes", async () => {
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "hang" });
    const hanging = await openForward(cluster);
    await simulator.faults.set(cluster.id, { layer: "tunnel", kind: "stall", afterBytes: 10 });
    const stalled = await openForward(cluster);
    stalled.send(ready);
    await stalled.until(() => stalled.data().length === 10);
    expect(hanging.frames).toEqual([]);
    expect(stalled.data()).toBe("HTTP/1.1 2");
    hanging.close();
    stalled.close();
  });
});

describe("faults of the API server", () => {
  test("refuses connections, and comes back at the same address", async () => {
    await simulator.faults.set(cluster.id, { layer: "api", kind: "refuse" });
    await expect(callKube(cluster, "/api/v1/nodes")).rejects.toThrow("ECONNREFUSED");
    expect((await callKube(other, "/api/v1/nodes")).status).toBe(200);
    await simulator.faults.clear(cluster.id);
    expect((await callKube(cluster, "/api/v1/nodes")).status).toBe(200);
  });

  test.each([
    ["untrusted", /self-signed|issuer|verify/],
    ["expired", /expired/],
    ["wrong-name", /does not match/],
  ] as const)("shows a certificate that is %s", async (problem, words) => {
    await simulator.faults.set(cluster.id, { layer: "api", kind: "tls", problem });
    await expect(callKube(cluster, "/api/v1/nodes")).rejects.toThrow(words);
    await simulator.faults.clear();
    expect((await callKube(cluster, "/api/v1/nodes")).status).toBe(200);
  });

  test("statuses, for one resource or for all", async () => {
    await simulator.faults.set(cluster.id, {
      layer: "api",
      kind: "status",
      status: 403,
      resource: "services",
    });
    expect(await callKube(cluster, `${SERVICES}/${SERVICE}`)).toMatchObject({
      status: 403,
      body: { message: expect.stringContaining('User "bridge" cannot get resource "services"') },
    });
    expect((await callKube(cluster, "/api/v1/nodes")).status).toBe(200);
    for (const status of [401, 404, 429, 500, 503]) {
      await simulator.faults.set(cluster.id, { layer: "api", kind: "status", status });
      expect(await callKube(cluster, "/api/v1/nodes/n")).toMatchObject({
        status,
        body: { kind: "Status", code: status },
      });
    }
  });

  test("slow by the clock, reset, and answers of somebody else", async () => {
    await simulator.faults.set(cluster.id, { layer: "api", kind: "slow", delayMs: 5_000 });
    let isDone = false;
    const slow = callKube(cluster, "/api/v1/nodes").then(() => (isDone = true));
    await expect.poll(() => clock.pending()).toBe(1);
    expect(isDone).toBe(false);
    clock.advance(5_000);
    await slow;
    await simulator.faults.set(cluster.id, { layer: "api", kind: "reset" });
    await expect(callKube(cluster, "/api/v1/nodes")).rejects.toThrow("hang up");
    await simulator.faults.set(cluster.id, { layer: "api", kind: "answer", body: "<html>" });
    await expect(callKube(cluster, "/api/v1/nodes")).rejects.toThrow("JSON");
  });

  test("hang and mute end with the simulator", async () => {
    await simulator.faults.set(cluster.id, { layer: "api", kind: "hang" });
    const hanging = callKube(cluster, "/api/v1/nodes");
    await expect.poll(() => simulator.faults.traffic(cluster.id).api).toBe(1);
    await simulator.faults.set(other.id, { layer: "api", kind: "mute" });
    const mute = callKube(other, "/api/v1/nodes");
    const ends = Promise.allSettled([hanging, mute]);
    await simulator.stop();
    expect((await ends).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    simulator = await startSimulator({ clock });
  });
});
