import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import {
  startSourcePrometheus,
  type SourcePrometheus,
  type SourceSeries,
} from "../helpers/source-prometheus.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The whole program as all-in-one, behind the simulator's API server and port-forward, with labels that the simulator's world has not got.

const NODE = "k8s.node.name";
const folder = createTemporaryFolder();
let simulator: Simulator | undefined;
let prometheus: SourcePrometheus | undefined;

afterEach(async () => {
  await simulator?.stop();
  await prometheus?.stop();
});

const counter =
  (perSecond: number) =>
  (timeMs: number): number =>
    (timeMs / 1000 - 1_700_000_000) * perSecond;
const requests = (labels: Record<string, string>, perSecond: number): SourceSeries => ({
  name: "app_requests_total",
  labels: { job: "app", ...labels },
  valueAt: counter(perSecond),
});
const gauge = (name: string, labels: Record<string, string>, value: number): SourceSeries => ({
  name,
  labels,
  valueAt: () => value,
});

interface Answer {
  type: string;
  series: { labels: Record<string, string>; points: { value: number }[] }[];
}

/** Starts the program, collects once and answers queries about the last 10 minutes. */
async function startProgram(
  series: readonly SourceSeries[],
  metadata: Record<string, { type: string; help: string; unit: string }[]> = {},
  expected: [outcome: string, code: string | undefined] = ["successful", undefined],
) {
  prometheus = await startSourcePrometheus(series, metadata);
  simulator = await startSimulator({
    clusters: 1,
    shape: { nodes: 2, pods: 1 },
    realPrometheus: { host: "127.0.0.1", port: prometheus.port },
  });
  writeFileSync(join(folder, "clusters.yaml"), simulator.clustersFile());
  const queries = [...new Set(series.map(({ name }) => name))].map((name) => ({ name, group: "test" }));
  writeFileSync(join(folder, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  const child = startBridgeChild({
    ROLE: "all-in-one",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(createTemporaryFolder(), "data"),
    CLUSTERS_FILE: join(folder, "clusters.yaml"),
    QUERIES_FILE: join(folder, "queries.yaml"),
    ALLOW_PRIVATE_API_SERVERS: "true",
    OWN_METRICS_INTERVAL: "0",
  });
  const url = await child.url;
  const round = await child.collect();
  expect(round.clusters.map(({ outcome, error }) => [outcome, error?.code])).toEqual([expected]);
  const call = async <T>(path: string, body?: unknown): Promise<T> => {
    const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const answer = await fetch(`${url}${path}`, {
      ...options,
      headers: { "content-type": "application/json" },
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${text}`);
    return JSON.parse(text) as T;
  };
  const nowSeconds = Math.floor(Date.now() / 1000);
  return {
    call,
    ask: (body: Record<string, unknown>) =>
      call<Answer>("/cluster-metrics/query", {
        cluster_id: "sim-1",
        aggregation: "rate",
        start_time: nowSeconds - 780,
        end_time: nowSeconds - 120,
        step: "2m",
        ...body,
      }),
  };
}

const lastValues = ({ series }: Answer): [Record<string, string>, number][] =>
  series.map(({ labels, points }) => [labels, Math.round(points.at(-1)!.value * 1e6) / 1e6]);

test("a label k8s.node.name of the source tells series apart, and the nodes of the others are joined", async () => {
  const { call, ask } = await startProgram([
    requests({ [NODE]: "x" }, 10),
    requests({ [NODE]: "y" }, 1),
    ...["cluster_id", "cluster_name", "service.name", "k8s.cluster.name"].flatMap((name) => [
      gauge("named", { label: name, [name]: "x" }, 1),
      gauge("named", { label: name, [name]: "y" }, 2),
    ]),
    gauge("node_load1", { instance: "10.0.0.1:9100" }, 3),
    gauge("node_load1", { instance: "10.0.0.2:9100" }, 4),
  ]);
  const metric_name = "app_requests_total";
  expect(lastValues(await ask({ metric_name }))).toEqual([[{}, 11]]);
  expect(lastValues(await ask({ metric_name, group_by: ["*"] }))).toEqual([
    [{ job: "app", [NODE]: "x" }, 10],
    [{ job: "app", [NODE]: "y" }, 1],
  ]);
  expect(lastValues(await ask({ metric_name, filters: [{ label: NODE, op: "=", value: "y" }] }))).toEqual([
    [{}, 1],
  ]);

  const named = { metric_name: "named", aggregation: "sum" };
  expect(lastValues(await ask({ ...named, group_by: ["label"] }))).toEqual([
    [{ label: "cluster_id" }, 3],
    [{ label: "cluster_name" }, 3],
    [{ label: "k8s.cluster.name" }, 3],
    [{ label: "service.name" }, 3],
  ]);
  expect(lastValues(await ask({ ...named, group_by: ["cluster_id"] }))).toEqual([
    [{}, 9],
    [{ cluster_id: "x" }, 1],
    [{ cluster_id: "y" }, 2],
  ]);

  const load = { metric_name: "node_load1", aggregation: "sum" };
  expect(lastValues(await ask({ ...load, group_by: [NODE] }))).toEqual([
    [{ [NODE]: "sim-1-node-0" }, 3],
    [{ [NODE]: "sim-1-node-1" }, 4],
  ]);
  expect(lastValues(await ask({ ...load, group_by: ["*"] }))).toEqual([
    [{ instance: "10.0.0.1:9100" }, 3],
    [{ instance: "10.0.0.2:9100" }, 4],
  ]);
  const { nodes } = await call<{ nodes: { node: string; load_1: number }[] }>("/cluster-metrics/sim-1/nodes");
  expect(nodes.map(({ node, load_1 }) => [node, load_1])).toEqual([
    ["sim-1-node-0", 3],
    ["sim-1-node-1", 4],
  ]);
}, 60_000);

test("where the metadata says unknown for everything, counters are known by their names", async () => {
  const unknown = [{ type: "unknown", help: "", unit: "" }];
  const names = ["app_requests_total", "http_seconds_count", "node_load1"];
  const { ask } = await startProgram(
    [
      requests({}, 10),
      { name: "http_seconds_count", labels: {}, valueAt: counter(2) },
      gauge("node_load1", {}, 5),
    ],
    Object.fromEntries(names.map((name) => [name, unknown])),
  );
  const [total, count, load] = await Promise.all([
    ask({ metric_name: "app_requests_total" }),
    ask({ metric_name: "http_seconds_count" }),
    ask({ metric_name: "node_load1", aggregation: "avg" }),
  ]);
  expect([total, count, load].map((answer) => [answer.type, lastValues(answer)])).toEqual([
    ["counter", [[{}, 10]]],
    ["counter", [[{}, 2]]],
    ["gauge", [[{}, 5]]],
  ]);
}, 60_000);

test("a series with a label that is too large is on record as refused, the others are stored and answered", async () => {
  const large = "last_applied_configuration";
  const { call, ask } = await startProgram(
    [
      gauge("annotations", { pod: "a" }, 1),
      gauge("annotations", { pod: "b", [large]: "x".repeat(70_000) }, 1),
      gauge("annotations", { pod: "c", note: "x".repeat(60_000) }, 1),
      gauge("node_load1", {}, 1),
    ],
    {},
    ["partial", "prometheus_label_too_large"],
  );
  const rows = await ask({ metric_name: "annotations", aggregation: "sum", group_by: ["pod"] });
  expect(lastValues(rows)).toEqual([
    [{ pod: "a" }, 1],
    [{ pod: "c" }, 1],
  ]);
  const { clusters } = await call<{
    clusters: { state: string; gaps: { query: string; state: string; reason: string; points: number }[] }[];
  }>("/metrics/status");
  const [{ state, gaps }] = clusters as [(typeof clusters)[0]];
  expect([state, gaps.map((gap) => [gap.query, gap.state])]).toEqual([
    "partial",
    [["annotations", "refused"]],
  ]);
  expect(gaps[0]!.reason).toMatch(new RegExp(`"annotations".*65536 bytes.*"${large}"`));

  const samples = async (metric: string): Promise<number> => {
    const { series } = await call<{ series: { labels: Record<string, string>; value: number }[] }>(
      `/cluster-metrics/sim-1/latest?metric=budcluster_query_samples_${metric}_total`,
    );
    return series.find(({ labels }) => labels["query"] === "annotations")!.value;
  };
  expect((await samples("read")) - (await samples("sent"))).toBe(gaps[0]!.points);
  expect(await samples("sent")).toBe(2 * gaps[0]!.points);
}, 60_000);
