import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ClusterDiagnosis } from "#diagnose/cluster.ts";
import type { FoundServices } from "#onboard/find-services.ts";
import { managedClusterManifest, toManifestText } from "#onboard/manifest.ts";
import type { KubeService } from "#simulator/kube-state.ts";
import { bridgeRights, type Right } from "#simulator/kube-rights.ts";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { readEvents } from "../helpers/event-reader.ts";
import { apiEnvironment, createClustersApi, type ClustersApi } from "../helpers/clusters-api.ts";
import { createJumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";

// /onboard/* of the program: what is tried before a cluster is registered.

const NAMESPACE = "bud-system";
const SERVICE = "bud-metrics-kube-prometheu-prometheus";
const LIST_ALL: Right = { verbs: ["list"], resources: ["services"] };

let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge;
let cluster: SimulatedCluster;
let api: ClustersApi;
let services: KubeService[];

beforeAll(async () => {
  const clock = createJumpingClock();
  simulator = await startSimulator({ clusters: 1, clock, shape: SMALL });
  cluster = simulator.cluster("sim-1");
  services = [...cluster.kube.services];
  collector = await startOtlpCollector();
  const environment = {
    ...apiEnvironment(createTemporaryFolder()),
    ALLOW_PRIVATE_API_SERVERS: "false",
    API_SERVER_CIDRS: "127.0.0.1",
  };
  bridge = await startTestBridge({ simulator, collector, clock, environment });
  api = createClustersApi(() => bridge.url);
});

afterAll(async () => {
  await bridge.stop();
  await collector.stop();
  await simulator.stop();
});

afterEach(async () => {
  await simulator.faults.clear();
  cluster.kube.setRights("bridge", bridgeRights(NAMESPACE));
  cluster.kube.services.splice(0, Infinity, ...services);
});

interface Answered<T> {
  status: number;
  text: string;
  body: T & { error: { code: string; message: string; hint: string } };
}

async function post<T>(path: string, body: unknown): Promise<Answered<T>> {
  const answer = await fetch(`${bridge.url}/onboard/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  expect(text).not.toContain(cluster.token);
  return { status: answer.status, text, body: JSON.parse(text) as Answered<T>["body"] };
}

const search = (body: Record<string, unknown> = {}) =>
  post<FoundServices>("services", { kubeconfig: cluster.kubeconfig, ...body });

function service(namespace: string, name: string, more: Partial<KubeService> = {}): KubeService {
  return { namespace, name, selector: { app: name }, ports: [{ name: "http", port: 80 }], ...more };
}

describe("inspecting", () => {
  interface Inspection {
    contexts: { context: string; accepted: boolean; problem: { code: string; details: object } | null }[];
    current_context: string | null;
    problem: { code: string } | null;
  }
  const user = { name: "u", user: { token: "inspected-token-0123456789" } };
  const clusterAt = (name: string, server: string) => ({ name, cluster: { server } });
  const context = (name: string, cluster: string, more = {}) => ({
    name,
    context: { cluster, user: "u", ...more },
  });

  it("judges each context by itself, as POST /clusters judges it", async () => {
    const kubeconfig = {
      clusters: [
        clusterAt("good", "https://good.example.test:6443/a/path"),
        clusterAt("plain", "http://plain.example.test"),
        clusterAt("metadata", "https://169.254.169.254"),
      ],
      users: [user],
      contexts: [
        context("good", "good", { namespace: "team-a" }),
        context("plain", "plain"),
        context("metadata", "metadata"),
        context("nowhere", "absent"),
        context("two\nlines <b>bold</b>", "good"),
      ],
      "current-context": "good",
    };
    const { status, body, text } = await post<Inspection>("inspect", { kubeconfig });
    expect(status).toBe(200);
    expect(body).toMatchObject({ current_context: "good", problem: null });
    expect(body.contexts[0]).toEqual({
      context: "good",
      server: "https://good.example.test:6443",
      authentication: "token",
      namespace: "team-a",
      certificate_expires_at: null,
      token_expires_at: null,
      warnings: [],
      accepted: true,
      problem: null,
    });
    const codes = body.contexts.map(({ problem }) => problem?.code ?? null);
    expect(codes).toEqual([
      null,
      "kubeconfig_refused",
      "api_server_refused",
      "kubeconfig_invalid",
      "request_invalid",
    ]);
    expect(text).not.toContain("inspected-token");
    for (const { context: name, problem } of body.contexts.slice(1)) {
      const { error } = await api.create({ name: "n", platform: "p", kubeconfig, context: name });
      expect(problem).toMatchObject({ code: error.code, message: error.message });
    }
    expect(await api.list()).toEqual([]);
  });

  it("shows what each user would do, when the file is refused as a whole", async () => {
    const kubeconfig = {
      clusters: [clusterAt("c", "https://c.example.test")],
      users: [user, { name: "eks", user: { exec: { command: "aws", env: [{ name: "SECRET" }] } } }],
      contexts: [context("token", "c"), context("plugin", "c", { user: "eks" })],
    };
    const { body } = await post<Inspection>("inspect", { kubeconfig });
    expect(body.problem).toMatchObject({
      code: "kubeconfig_refused",
      details: { field: "users[1].user.exec" },
    });
    expect(body.contexts).toMatchObject([
      { context: "token", authentication: "token", accepted: false, problem: body.problem },
      { context: "plugin", authentication: "exec", accepted: false, problem: body.problem },
    ]);
  });

  it("says when the credentials end, and follows validate_certs", async () => {
    const payload = Buffer.from(JSON.stringify({ exp: 1_000_000_000 })).toString("base64url");
    const kubeconfig = {
      clusters: [
        { name: "c", cluster: { server: "https://c.example.test", "insecure-skip-tls-verify": true } },
      ],
      users: [{ name: "u", user: { token: `h.${payload}.s` } }],
      contexts: [context("x", "c")],
    };
    const refused = await post<Inspection>("inspect", { kubeconfig });
    expect(refused.body.contexts[0]?.problem?.code).toBe("kubeconfig_refused");
    const { body } = await post<Inspection>("inspect", { kubeconfig, validate_certs: false });
    expect(body.contexts).toMatchObject([
      {
        accepted: true,
        token_expires_at: "2001-09-09T01:46:40.000Z",
        warnings: [expect.stringContaining("has expired")],
      },
    ]);
  });
});

describe("finding Prometheus", () => {
  it("lists what looks like a Prometheus in all namespaces, with the reasons, the likeliest first", async () => {
    cluster.kube.setRights("bridge", [LIST_ALL]);
    const labels = (name: string): Record<string, string> => ({ "app.kubernetes.io/name": name });
    cluster.kube.services.push(
      service("monitoring", "prometheus-operated", {
        labels: { "operated-prometheus": "true" },
        ports: [{ name: "web", port: 9090 }],
        headless: true,
      }),
      service("monitoring", "shop-prometheus-server", { labels: labels("prometheus") }),
      service("monitoring", "prometheus-node-exporter", { ports: [{ port: 9090 }] }),
      service("monitoring", "prometheus-kube-prometheus-kubelet", { labels: labels("kubelet") }),
      service("monitoring", "alertmanager-operated", { ports: [{ name: "web", port: 9093 }] }),
      service("shop", "cockpit", { ports: [{ port: 443 }, { port: 9090 }] }),
      service("shop", "prometheus", { type: "ExternalName", selector: null }),
      service("openshift-monitoring", "prometheus-k8s", {
        labels: labels("prometheus"),
        ports: [{ name: "web", port: 9091 }],
      }),
    );
    const { status, body } = await search();
    expect(status).toBe(200);
    expect(body).toMatchObject({ searched: "cluster", namespace: null, complete: true, note: null });
    expect(body.services_read).toBe(cluster.kube.services.length);
    expect(body.services.map(({ namespace, service: name }) => `${namespace}/${name}`)).toEqual([
      `${NAMESPACE}/${SERVICE}`,
      "monitoring/prometheus-operated",
      "monitoring/shop-prometheus-server",
      "openshift-monitoring/prometheus-k8s",
      "shop/cockpit",
    ]);
    expect(body.services[1]).toEqual({
      namespace: "monitoring",
      service: "prometheus-operated",
      port: 9090,
      pod_port: null,
      scheme: "http",
      reasons: ["the label operated-prometheus=true", "the name prometheus-operated", "the port 9090"],
    });
    expect(body.services[2]).toMatchObject({ port: 80 });
    expect(body.services[3]).toMatchObject({ port: 9091, pod_port: 9090 });
    expect(body.services[4]).toMatchObject({ port: 9090, reasons: ["the port 9090"] });
  });

  it("searches one namespace when the user may list there only, and says so", async () => {
    cluster.kube.setRights("bridge", [{ ...LIST_ALL, namespace: "monitoring" }]);
    cluster.kube.services.push(service("monitoring", "prometheus-operated"));
    const { body } = await search({ namespace: "monitoring" });
    expect(body).toMatchObject({
      searched: "namespace",
      namespace: "monitoring",
      services: [{ service: "prometheus-operated" }],
    });
    expect(body.note).toContain("may not list Services of all namespaces");
  });

  it("asks for well-known names when the user has the least rights", async () => {
    cluster.kube.services.push(service(NAMESPACE, "prometheus-operated"));
    const { body } = await search();
    expect(body).toMatchObject({ searched: "names", namespace: NAMESPACE });
    expect(body.services.map(({ service: name }) => name)).toEqual([SERVICE, "prometheus-operated"]);
    expect(body.note).toContain("only well-known names");
  });

  it("names what is missing when the user may read no Service", async () => {
    cluster.kube.setRights("bridge", []);
    const { status, body } = await search();
    expect(status).toBe(422);
    expect(body.error).toMatchObject({ code: "cluster_forbidden" });
    expect(body.error.message).toContain("get services");
  });

  it("keeps the likeliest of more Services than it answers", async () => {
    cluster.kube.setRights("bridge", [LIST_ALL]);
    const many = Array.from({ length: 700 }, (_, index) =>
      service("many", `web-${index}`, { ports: [{ port: 9090 }] }),
    );
    cluster.kube.services.unshift(...many);
    const { body } = await search();
    expect(body).toMatchObject({ complete: false, services_read: cluster.kube.services.length });
    expect(body.services).toHaveLength(50);
    expect(body.services[0]).toMatchObject({ service: SERVICE });
  });

  it("reports an API server that can't be reached, and dials no refused address", async () => {
    await simulator.faults.set("sim-1", { layer: "api", kind: "refuse" });
    const refused = await search();
    expect(refused).toMatchObject({ status: 422, body: { error: { code: "cluster_unreachable" } } });
    await simulator.faults.clear();
    simulator.faults.forget("sim-1");
    const port = new URL(cluster.apiServerUrl).port;
    for (const host of ["127.0.0.2", "169.254.169.254", "[::1]"]) {
      const kubeconfig = cluster.kubeconfig.replace(cluster.apiServerUrl, `https://${host}:${port}`);
      const answer = await search({ kubeconfig });
      expect(answer).toMatchObject({ status: 422, body: { error: { code: "api_server_refused" } } });
    }
    expect(simulator.faults.traffic("sim-1").api).toBe(0);
  });

  it.each([
    ["prometheus", { prometheus: {} }],
    ["context", { context: "absent" }],
    ["namespace", { namespace: "Not_A_Name" }],
  ])("refuses a wrong %s by name", async (field, body) => {
    const answer = await search(body);
    expect(answer.status).toBe(400);
    expect(answer.body.error.message).toContain(field);
  });
});

describe("diagnosing", () => {
  const draft = () => ({ name: "New", platform: "kubeadm", kubeconfig: cluster.kubeconfig });

  it("takes the steps of a registered cluster, and stores nothing", async () => {
    const { status, body } = await post<ClusterDiagnosis>("diagnose", { id: "new", ...draft() });
    expect(status).toBe(200);
    expect(body).toMatchObject({ cluster_id: "new", cluster_name: "New", status: "passed" });
    expect(await api.list()).toEqual([]);
    expect((await api.create({ id: "new", ...draft() })).status).toBe(201);
    const answer = await fetch(`${bridge.url}/clusters/new/diagnose`, { method: "POST" });
    const registered = (await answer.json()) as ClusterDiagnosis;
    const namesOf = ({ steps }: ClusterDiagnosis): string[] => steps.map(({ step, status }) => step + status);
    expect(namesOf(body)).toEqual(namesOf(registered));
    // Its id is taken now.
    const again = await post("diagnose", { id: "new", ...draft() });
    expect(again).toMatchObject({ status: 409, body: { error: { code: "cluster_exists" } } });
    await api.remove("new");
  });

  it("tells the steps as they happen to who accepts events", async () => {
    const reader = await readEvents(`${bridge.url}/onboard/diagnose`, {
      method: "POST",
      headers: { accept: "text/event-stream", "content-type": "application/json" },
      body: JSON.stringify({ id: "new", ...draft() }),
    });
    const events = await reader.rest();
    expect(events[0]?.event).toBe("steps");
    expect(events.filter(({ event }) => event === "step_finished").length).toBeGreaterThan(10);
    expect(events.at(-1)).toMatchObject({ event: "result", data: { cluster_id: "new", status: "passed" } });
  });

  it("names the step that fails", async () => {
    const prometheus = { namespace: NAMESPACE, service: "absent" };
    const { body } = await post<ClusterDiagnosis>("diagnose", { ...draft(), prometheus });
    const failed = body.steps.filter(({ status }) => status === "failed");
    expect(failed).toMatchObject([{ step: "service", code: "prometheus_service_not_found" }]);
  });
});

describe("the manifest", () => {
  const manifest = async (query: string) => {
    const answer = await fetch(`${bridge.url}/onboard/manifest${query}`);
    return { status: answer.status, type: answer.headers.get("content-type"), text: await answer.text() };
  };

  it("has the names that are asked for", async () => {
    const { status, type, text } = await manifest("");
    expect([status, type]).toEqual([200, "text/plain; charset=utf-8"]);
    const names = { namespace: NAMESPACE, prometheusNamespace: NAMESPACE };
    expect(text).toBe(
      toManifestText(managedClusterManifest({ ...names, serviceAccount: "budcluster-metrics-reader" })),
    );
    const other = await manifest("?prometheus_namespace=monitoring&namespace=bud&service_account=reader");
    expect(other.text).toBe(
      toManifestText(
        managedClusterManifest({
          prometheusNamespace: "monitoring",
          namespace: "bud",
          serviceAccount: "reader",
        }),
      ),
    );
  });

  it.each(["namespace=A", "service_account=a%0Ab", "prometheus_namespace=", "other=1"])(
    "refuses ?%s",
    async (query) => {
      const { status, text } = await manifest(`?${query}`);
      expect(status).toBe(400);
      expect(text).toContain(query.split("=")[0]);
    },
  );
});
