import { afterAll, beforeAll, expect, test } from "vitest";
import { createClusterState } from "#query/state/cluster-state.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { point, storeMetrics, storeRecord } from "../helpers/stored-world.ts";
import { errorOf, startHarness, type Harness } from "./http-harness.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const NOW_MS = Math.floor(Date.now() / 60_000) * 60_000;
const AS_OF = new Date(NOW_MS - 60_000).toISOString();

let harness: Harness;

beforeAll(async () => {
  const { database } = engine;
  const gauge = (name: string, labels: Record<string, string>, value: number): TestMetric => ({
    name,
    kind: "gauge",
    points: [point(labels, NOW_MS - 61_000, value)],
  });
  await storeMetrics(database, "edge-1", [
    gauge("kube_node_info", { node: "a", internal_ip: "10.0.0.1" }, 1),
    gauge("kube_pod_info", { namespace: "ns", pod: "p", node: "a" }, 1),
    gauge("node_load1", { instance: "10.0.0.1:9100" }, 1.5),
    gauge("DCGM_FI_DEV_GPU_TEMP", { UUID: "GPU-1", Hostname: "a", gpu: "0" }, 95),
  ]);
  await storeRecord(database, "edge-1", {
    atMs: NOW_MS - 30_000,
    watermarkMs: NOW_MS - 60_000,
    queries: ["kube_node_info", "kube_pod_info", "node_load1", "DCGM_FI_DEV_GPU_TEMP"],
  });
  const clusterState = createClusterState({ database, clock: createManualClock(NOW_MS) }, QUERY_DEFAULTS);
  harness = await startHarness({ bare: true, deps: { clusterState } });
});
afterAll(() => harness.server.stop());

const get = (path: string): Promise<Response> => fetch(`${harness.url}/cluster-metrics/${path}`);

test.each([
  ["summary", { node_count: 1, avg_load_1: 1.5, total_cpu_cores: null, pod_count: 1 }],
  ["health", { status: "critical", node_count: 1 }],
  ["nodes", { nodes: [{ node: "a", load_1: 1.5, ready: null, pod_count: 1 }] }],
  ["pods", { pods: [{ namespace: "ns", pod: "p", node: "a", phase: null }], next_cursor: null }],
  ["gpus", { gpus: [{ uuid: "GPU-1", node: "a", temperature_celsius: 95, pods: [] }] }],
])("GET /cluster-metrics/edge-1/%s", async (route, expected) => {
  const answer = await get(`edge-1/${route}`);
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ cluster_id: "edge-1", as_of: AS_OF, ...expected });
});

test("from and to are Unix seconds or RFC 3339", async () => {
  const from = (NOW_MS - 600_000) / 1000;
  const to = encodeURIComponent(new Date(NOW_MS).toISOString().replace(/Z$/, "+00:00"));
  const answer = await get(`edge-1/nodes?from=${from}&to=${to}`);
  expect(await answer.json()).toMatchObject({
    window: { from: new Date(from * 1000).toISOString(), to: new Date(NOW_MS).toISOString() },
  });
});

test("a time before anything was stored has nothing, and says so", async () => {
  const answer = await get(`edge-1/summary?from=${NOW_MS / 1000 - 7200}&to=${NOW_MS / 1000 - 3600}`);
  expect(await answer.json()).toMatchObject({ node_count: null, pod_count: null, avg_load_1: null });
});

test.each([
  ["edge-1/summary?from=yesterday", "from", /RFC 3339/],
  ["edge-1/summary?to=2025-02-30T00:00:00Z", "to", /RFC 3339/],
  ["edge-1/health?from=2000&to=1000", "from", /earlier/],
  ["edge-1/nodes?to=4102444800", "to", /before/],
  ["edge-1/gpus?from=1748779200000", "from", /seconds/],
  ["edge-1/pods?cursor=abc", "cursor", /next_cursor/],
])("refuses %s and says what to send", async (path, field, hint) => {
  const answer = await get(path);
  expect(answer.status).toBe(400);
  const error = await errorOf(answer);
  expect(error).toMatchObject({ code: "request_invalid", details: { fields: [{ field }] } });
  expect(`${error.message} ${error.hint}`).toMatch(hint);
});

test.each([
  ["edge-1/pods?limit=0", "limit"],
  ["edge-1/pods?sort=age", "sort"],
  ["edge%201/health", "cluster_id"],
])("refuses %s", async (path, field) => {
  const answer = await get(path);
  expect(answer.status).toBe(400);
  expect((await errorOf(answer)).message).toContain(field);
});

test("refuses too long a range, and an unknown cluster", async () => {
  const long = await get(`edge-1/nodes?from=${NOW_MS / 1000 - 90_000}`);
  expect([long.status, (await errorOf(long)).code]).toEqual([400, "query_too_large"]);
  const unknown = await get("edge-9/summary");
  expect([unknown.status, (await errorOf(unknown)).code]).toEqual([404, "cluster_not_found"]);
});

test("the documents describe every field, with an example of each answer", async () => {
  const { paths, components } = (await (await fetch(`${harness.url}/docs/json`)).json()) as {
    paths: Record<string, unknown>;
    components: { schemas: Record<string, { examples?: unknown[]; properties?: Record<string, object> }> };
  };
  for (const route of ["summary", "health", "nodes", "pods", "gpus"]) {
    expect(Object.keys(paths)).toContain(`/cluster-metrics/{cluster_id}/${route}`);
  }
  const { schemas } = components;
  for (const name of ["ClusterSummary", "ClusterHealth", "ClusterNodes", "ClusterPods", "ClusterGpus"]) {
    expect(schemas[name]?.examples).toHaveLength(1);
  }
  const undescribed = Object.entries(schemas["ClusterSummary"]?.properties ?? {}).filter(
    ([name, property]) =>
      !("description" in property) && !["cluster_id", "window", "completeness"].includes(name),
  );
  expect(undescribed).toEqual([]);
});
