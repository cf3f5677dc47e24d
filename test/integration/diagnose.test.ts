import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ClusterDiagnosis } from "#diagnose/cluster.ts";
import type { StepResult } from "#diagnose/step-runner.ts";
import type { ErrorCode } from "#errors/error.ts";
import type { Fault } from "#simulator/fault-kinds.ts";
import { bridgeRights, type Right } from "#simulator/kube-rights.ts";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { readEvents, type EventReader } from "../helpers/event-reader.ts";
import { createJumpingClock } from "../helpers/jumping-clock.ts";
import { refusal, startOtlpCollector, ACCEPT, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { errorOf } from "./http-harness.ts";

// POST /clusters/{id}/diagnose of the program, against a simulated cluster: each fault must be named by the step that it belongs to, and by no other.

const ID = "sim-1";
const NAMESPACE = "bud-system";
const POD = "prometheus-bud-metrics-kube-prometheu-prometheus-0";
const folder = createTemporaryFolder();
const clock = createJumpingClock();
let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge;
let cluster: SimulatedCluster;

beforeAll(async () => {
  simulator = await startSimulator({ clusters: 1, clock, shape: SMALL });
  cluster = simulator.cluster(ID);
  collector = await startOtlpCollector();
  const { kubeconfig } = cluster;
  const clusters = [
    { id: ID, kubeconfig },
    { id: "unverified", kubeconfig, validate_certs: false },
    { id: "disabled", kubeconfig, enabled: false },
    { id: "elsewhere", kubeconfig, prometheus: { namespace: "monitoring" } },
    { id: "prefixed", kubeconfig, prometheus: { path_prefix: "/prometheus" } },
  ];
  const clustersFile = join(folder, "clusters.yaml");
  writeFileSync(clustersFile, JSON.stringify({ clusters }));
  bridge = await startTestBridge({
    simulator,
    collector,
    clock,
    environment: { CLUSTERS_FILE: clustersFile, QUERIES_FILE: "" },
  });
});

afterAll(async () => {
  await bridge.stop();
  await collector.stop();
  await simulator.stop();
});

afterEach(async () => {
  await simulator.faults.clear();
  cluster.kube.setRights("bridge", bridgeRights(NAMESPACE));
  collector.onRequest = () => ACCEPT;
});

function byPlace(a: unknown, b: unknown): number {
  return ALL.indexOf((a as StepResult).step) - ALL.indexOf((b as StepResult).step);
}

async function diagnose(id = ID): Promise<ClusterDiagnosis> {
  const answer = await fetch(`${bridge.url}/clusters/${id}/diagnose`, { method: "POST" });
  expect(answer.status).toBe(200);
  return (await answer.json()) as ClusterDiagnosis;
}

function stepOf({ steps }: ClusterDiagnosis, name: string): StepResult {
  const found = steps.find(({ step }) => step === name);
  if (!found) throw new Error(`there is no step ${name}`);
  return found;
}

function namesOf({ steps }: ClusterDiagnosis, status: StepResult["status"]): string[] {
  return steps.filter((each) => each.status === status).map(({ step }) => step);
}

const API_STEPS = ["credentials", "dns", "tcp", "tls", "authentication"];
const RIGHT_STEPS = [
  "right_get_services",
  "right_list_endpointslices",
  "right_get_pods_portforward",
  "right_create_pods_portforward",
  "right_list_nodes",
];
const WAY_STEPS = ["service", "pods", "port_forward"];
const PROMETHEUS_STEPS = [
  "prometheus_ready",
  "prometheus_version",
  "prometheus_metadata",
  "samples_by",
  "clock_skew",
  "query_node",
  "query_pod",
  "query_gpu",
  "query_gpu_hami",
  "query_gpu_amd",
];
const ALL = [...API_STEPS, ...RIGHT_STEPS, ...WAY_STEPS, ...PROMETHEUS_STEPS, "collector"];

/** The steps after a step on the path to Prometheus. */
function after(step: string): string[] {
  const way = ALL.filter((name) => name !== "collector");
  return way.slice(way.indexOf(step) + 1);
}

it("passes every step of a cluster that is well", async () => {
  const diagnosis = await diagnose();
  expect(namesOf(diagnosis, "passed")).toEqual(ALL);
  expect(diagnosis).toMatchObject({ cluster_id: ID, status: "passed" });
  expect(stepOf(diagnosis, "authentication")).toMatchObject({
    message: "known as bridge",
    details: { kubernetes_version: "v1.36.3" },
  });
  expect(stepOf(diagnosis, "pods").message).toBe(`1 ready: ${POD}`);
  expect(stepOf(diagnosis, "prometheus_version").details).toEqual({ version: "3.15.0" });
  expect(stepOf(diagnosis, "query_node").details).toMatchObject({ state: "present" });
  // A cluster without GPUs is well.
  expect(stepOf(diagnosis, "query_gpu")).toMatchObject({ status: "passed", details: { state: "absent" } });
});

async function readDiagnosis(id = ID): Promise<EventReader> {
  const headers = { accept: "text/event-stream" };
  const reader = await readEvents(`${bridge.url}/clusters/${id}/diagnose`, { method: "POST", headers });
  onTestFinished(() => reader.leave());
  return reader;
}

it("tells each step as it happens to who accepts events, and the whole at last", async () => {
  const message = "Bearer abcdefgh12345678";
  await simulator.faults.set(ID, {
    layer: "api",
    kind: "status",
    status: 500,
    resource: "services",
    message,
  });
  const reader = await readDiagnosis();
  expect(reader.answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  const events = await reader.rest();
  const [first, last] = [events[0]!, events.at(-1)!];
  expect(first).toMatchObject({ event: "steps", data: { steps: ALL.map((step) => ({ step })) } });
  expect(last.event).toBe("result");
  const diagnosis = last.data as ClusterDiagnosis;
  expect(diagnosis).toMatchObject({ cluster_id: ID, status: "failed" });
  const finished = events.filter(({ event }) => event === "step_finished").map(({ data }) => data);
  expect(finished.toSorted(byPlace)).toEqual(diagnosis.steps);
  expect(JSON.stringify(events)).not.toContain("abcdefgh");
  for (const { step, status } of diagnosis.steps) {
    const kinds = events.filter(({ data }) => (data as StepResult).step === step).map(({ event }) => event);
    expect(kinds).toEqual(status === "skipped" ? ["step_finished"] : ["step_started", "step_finished"]);
  }
});

it("answers a wrong request for events by an error as always", async () => {
  const { answer } = await readDiagnosis("unknown");
  expect(answer.status).toBe(404);
  expect(await errorOf(answer)).toMatchObject({ code: "cluster_not_found" });
});

it("says that a cluster is disabled, when nothing else is wrong", async () => {
  const diagnosis = await diagnose("disabled");
  expect(diagnosis.status).toBe("warning");
  expect(namesOf(diagnosis, "warning")).toEqual(["enabled"]);
  expect(namesOf(diagnosis, "passed")).toEqual(ALL);
  expect(stepOf(diagnosis, "enabled").hint).toContain("PATCH");
});

it("asks the collection's ways and stores nothing", async () => {
  const before = collector.requests.length;
  simulator.faults.forget(ID);
  await diagnose();
  const sent = collector.requests.slice(before);
  expect(sent.map(({ points }) => points)).toEqual([[]]);
  const { requests } = simulator.faults.traffic(ID);
  const asked = new Set(requests.filter(({ layer }) => layer === "api").map(({ what }) => what));
  expect([...asked].toSorted()).toEqual([
    "create selfsubjectaccessreviews",
    "create selfsubjectreviews",
    "get services",
    "list ",
    "list endpointslices",
    "list nodes",
  ]);
});

interface Case {
  fault: Fault;
  step: string;
  code: ErrorCode;
  hint: RegExp;
  /** Default: everything after the step on the way to Prometheus. */
  skipped?: string[];
}

const api = (fault: Omit<Extract<Fault, { layer: "api" }>, "layer"> & Record<string, unknown>): Fault =>
  ({ layer: "api", ...fault }) as Fault;

const CASES: Record<string, Case> = {
  "nobody listens": {
    fault: api({ kind: "refuse" }),
    step: "tcp",
    code: "cluster_unreachable",
    hint: /firewall/,
  },
  "the server says nothing": {
    fault: api({ kind: "mute" }),
    step: "tls",
    code: "cluster_timeout",
    hint: /METRICS_COLLECTION_TIMEOUT/,
  },
  "an unknown CA": {
    fault: { layer: "api", kind: "tls", problem: "untrusted" },
    step: "tls",
    code: "cluster_tls_untrusted",
    hint: /certificate-authority-data/,
  },
  "an expired certificate": {
    fault: { layer: "api", kind: "tls", problem: "expired" },
    step: "tls",
    code: "cluster_tls_untrusted",
    hint: /Renew/,
  },
  "a certificate for another name": {
    fault: { layer: "api", kind: "tls", problem: "wrong-name" },
    step: "tls",
    code: "cluster_tls_untrusted",
    hint: /is for elsewhere\.example\.com .*tls-server-name/,
  },
  "a token that is not accepted": {
    fault: { layer: "api", kind: "status", status: 401 },
    step: "authentication",
    code: "cluster_unauthorized",
    hint: /Register a new kubeconfig/,
  },
  "an API server that fails": {
    fault: { layer: "api", kind: "status", status: 500, resource: "services" },
    step: "service",
    code: "cluster_api_error",
    hint: /check its log/,
  },
  "an API server that hangs": {
    fault: api({ kind: "hang", resource: "endpointslices" }),
    step: "pods",
    code: "cluster_timeout",
    hint: /METRICS_COLLECTION_TIMEOUT/,
  },
  "a port-forward that hangs": {
    fault: { layer: "tunnel", kind: "hang" },
    step: "port_forward",
    code: "tunnel_timeout",
    hint: /kubelet/,
  },
  "a kubelet that refuses": {
    fault: { layer: "tunnel", kind: "error-text", text: "dial tcp: connection refused", afterBytes: 0 },
    step: "prometheus_ready",
    code: "tunnel_refused",
    hint: /targetPort/,
  },
  "a Prometheus that is starting": {
    fault: { layer: "prometheus", kind: "not-ready" },
    step: "prometheus_ready",
    code: "prometheus_not_ready",
    hint: /until it is ready/,
  },
  "a Prometheus with a login": {
    fault: { layer: "prometheus", kind: "status", status: 401 },
    step: "prometheus_ready",
    code: "prometheus_unauthorized",
    hint: /unprotected port/,
  },
  "a Prometheus that hangs": {
    fault: { layer: "prometheus", kind: "hang" },
    step: "prometheus_ready",
    code: "prometheus_timeout",
    hint: /overloaded/,
  },
  "a query that fails": {
    fault: {
      layer: "prometheus",
      kind: "error",
      query: "kube_pod_info[",
      status: 422,
      errorType: "execution",
      message: "expanding series: boom",
    },
    step: "query_pod",
    code: "prometheus_query_failed",
    hint: /quotes its answer/,
    skipped: [],
  },
};

describe.each(Object.entries(CASES))("%s", (_name, { fault, step, code, hint, skipped }) => {
  it(`fails ${step} and nothing else`, async () => {
    await simulator.faults.set(ID, fault);
    const diagnosis = await diagnose();
    expect(namesOf(diagnosis, "failed")).toEqual([step]);
    expect(stepOf(diagnosis, step)).toMatchObject({ code, hint: expect.stringMatching(hint) as string });
    const rest = step === "query_pod" ? [] : after(step);
    // The rights are asked for side by side with the way.
    const independent = ["service", "pods", "port_forward", ...PROMETHEUS_STEPS].includes(step)
      ? rest.filter((name) => !RIGHT_STEPS.includes(name))
      : rest;
    expect(namesOf(diagnosis, "skipped")).toEqual(skipped ?? independent);
    expect(stepOf(diagnosis, "collector").status).toBe("passed");
    expect(diagnosis.status).toBe("failed");
  });
});

describe("a right that is missing", () => {
  const without = (resource: string, verb: string): Right[] =>
    bridgeRights(NAMESPACE).map((right) =>
      right.resources.includes(resource)
        ? { ...right, verbs: right.verbs.filter((each) => each !== verb) }
        : right,
    );

  it.each([
    ["services", "get", ["service", "pods", "port_forward", ...PROMETHEUS_STEPS]],
    ["endpointslices", "list", ["pods", "port_forward", ...PROMETHEUS_STEPS]],
    ["pods/portforward", "get", ["port_forward", ...PROMETHEUS_STEPS]],
    ["pods/portforward", "create", ["port_forward", ...PROMETHEUS_STEPS]],
  ])("%s %s is named with its rule", async (resource, verb, skipped) => {
    cluster.kube.setRights("bridge", without(resource, verb));
    const diagnosis = await diagnose();
    const step = `right_${verb}_${resource.replace("/", "_")}`;
    expect(namesOf(diagnosis, "failed")).toEqual([step]);
    expect(namesOf(diagnosis, "skipped")).toEqual(skipped);
    expect(stepOf(diagnosis, step)).toMatchObject({
      code: "cluster_forbidden",
      message: `may not ${verb} ${resource} in namespace ${NAMESPACE}`,
      hint: expect.stringContaining(`resources: [${resource}], verbs: [${verb}]}`) as string,
    });
    const [first] = skipped;
    expect(stepOf(diagnosis, first!).message).toBe(
      `it needs "Right to ${verb} ${resource}", which did not pass`,
    );
  });

  it("nodes are only a warning", async () => {
    cluster.kube.setRights("bridge", without("nodes", "list"));
    const diagnosis = await diagnose();
    expect(diagnosis.status).toBe("warning");
    expect(namesOf(diagnosis, "warning")).toEqual(["right_list_nodes"]);
    expect(stepOf(diagnosis, "right_list_nodes").message).toContain("k8s.node.name");
  });

  it("may not even be asked about: the ways themselves tell", async () => {
    await simulator.faults.set(ID, {
      layer: "api",
      kind: "status",
      status: 403,
      resource: "selfsubjectaccessreviews",
    });
    const diagnosis = await diagnose();
    expect(namesOf(diagnosis, "warning")).toEqual(RIGHT_STEPS);
    expect(namesOf(diagnosis, "failed")).toEqual([]);
    expect(namesOf(diagnosis, "skipped")).toEqual([]);
  });
});

it("warns of a certificate that is not verified, and goes on", async () => {
  await simulator.faults.set(ID, { layer: "api", kind: "tls", problem: "expired" });
  const diagnosis = await diagnose("unverified");
  expect(diagnosis.status).toBe("warning");
  expect(stepOf(diagnosis, "tls")).toMatchObject({
    status: "warning",
    message: expect.stringContaining("CERT_HAS_EXPIRED") as string,
  });
});

it("names the Service that is not where it was looked for", async () => {
  cluster.kube.setRights("bridge", [
    ...bridgeRights("monitoring"),
    { verbs: ["list"], resources: ["services"] },
  ]);
  const diagnosis = await diagnose("elsewhere");
  expect(namesOf(diagnosis, "failed")).toEqual(["service"]);
  expect(stepOf(diagnosis, "service")).toMatchObject({
    code: "prometheus_service_not_found",
    hint: expect.stringContaining("bud-system/bud-metrics-kube-prometheu-prometheus") as string,
  });
});

it("names Pods that are not ready", async () => {
  cluster.kube.updatePod(POD, { ready: false });
  const diagnosis = await diagnose();
  cluster.kube.updatePod(POD, { ready: true });
  expect(namesOf(diagnosis, "failed")).toEqual(["pods"]);
  expect(stepOf(diagnosis, "pods")).toMatchObject({
    code: "prometheus_pod_not_ready",
    details: { not_ready: 1 },
  });
});

it("names a wrong path prefix", async () => {
  const diagnosis = await diagnose("prefixed");
  expect(stepOf(diagnosis, "prometheus_ready")).toMatchObject({
    status: "warning",
    hint: expect.stringContaining("path_prefix") as string,
  });
  expect(stepOf(diagnosis, "clock_skew")).toMatchObject({
    status: "failed",
    code: "prometheus_unexpected_answer",
  });
});

it("does without what a collection does without", async () => {
  const path = "/api/v1/metadata";
  await simulator.faults.set(ID, { layer: "prometheus", kind: "html", path });
  const diagnosis = await diagnose();
  expect(namesOf(diagnosis, "warning")).toEqual(["prometheus_metadata"]);
  expect(namesOf(diagnosis, "skipped")).toEqual([]);
});

describe("the Collector", () => {
  it.each([
    ["has no room", refusal(503, "queue is full"), "collector_unavailable"],
    ["is no OTLP receiver", { kind: "page" } as const, "collector_misconfigured"],
    ["does not answer", { kind: "hang" } as const, "collector_timeout"],
  ])("%s: only its step fails", async (_what, answer, code) => {
    collector.onRequest = () => answer;
    const diagnosis = await diagnose();
    expect(namesOf(diagnosis, "failed")).toEqual(["collector"]);
    expect(stepOf(diagnosis, "collector").code).toBe(code);
    expect(namesOf(diagnosis, "skipped")).toEqual([]);
  });
});

describe("the route", () => {
  it("knows only registered clusters", async () => {
    const answer = await fetch(`${bridge.url}/clusters/nobody/diagnose`, { method: "POST" });
    expect(answer.status).toBe(404);
    expect(await errorOf(answer)).toMatchObject({ code: "cluster_not_found" });
  });

  it("takes a few at once, ends with its client, and is free again", async () => {
    await simulator.faults.set(ID, api({ kind: "hang" }));
    const gone = new AbortController();
    const url = `${bridge.url}/clusters/${ID}/diagnose`;
    const running = Array.from({ length: 4 }, () =>
      fetch(url, { method: "POST", signal: gone.signal }).catch(() => "aborted"),
    );
    const refused = async (): Promise<number> => (await fetch(url, { method: "POST" })).status;
    await expect.poll(refused, { interval: 5 }).toBe(429);
    gone.abort();
    expect(await Promise.all(running)).toEqual(Array(4).fill("aborted"));
    await simulator.faults.clear();
    await expect.poll(refused, { interval: 5 }).toBe(200);
  });

  it("ends a diagnosis whose reader of events has gone away", async () => {
    await simulator.faults.set(ID, { layer: "api", kind: "hang" });
    const readers = await Promise.all(Array.from({ length: 4 }, () => readDiagnosis()));
    for (const reader of readers) await reader.nextOf("steps");
    const fifth = await readDiagnosis();
    expect(await errorOf(fifth.answer)).toMatchObject({ code: "diagnosis_busy" });
    for (const reader of readers) reader.leave();
    await simulator.faults.clear();
    await expect.poll(async () => (await readDiagnosis()).answer.status, { interval: 20 }).toBe(200);
  });

  it("leaves an audit line", async () => {
    await diagnose();
    expect(bridge.logs).toContainEqual(
      expect.objectContaining({
        audit: expect.objectContaining({
          action: "cluster.diagnose",
          cluster_id: ID,
          result: "ok",
        }) as unknown,
      }),
    );
  });

  it("tells no secret", async () => {
    await simulator.faults.set(ID, {
      layer: "api",
      kind: "status",
      status: 500,
      resource: "services",
      message: `boom: Bearer ${cluster.token}`,
    });
    expect(JSON.stringify(await diagnose())).not.toContain(cluster.token);
  });
});

it("refuses an API server's address as a collection does", async () => {
  await bridge.restart({ ALLOW_PRIVATE_API_SERVERS: "false" });
  const diagnosis = await diagnose();
  expect(namesOf(diagnosis, "failed")).toEqual(["dns"]);
  expect(stepOf(diagnosis, "dns").code).toBe("api_server_refused");
});
