import { afterAll, beforeAll, expect, test } from "vitest";
import type { ClusterStatus, RoundResult } from "#collect/status.ts";
import type { Fault } from "#simulator/fault-kinds.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createJumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { METRICS, SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";

// One bad Prometheus each, all in one round: what a series does wrong is told and costs that series alone, whatever an answer does costs its query alone.

const extra = (metric: string): Fault => ({
  layer: "prometheus",
  kind: "extra-series",
  query: "kube_pod_info",
  metric,
});
const body = (text: string): Fault => ({
  layer: "prometheus",
  kind: "wrong-shape",
  query: "kube_pod_info",
  body: text,
});
const NAMED = '"__name__":"kube_pod_info"';
const HEAD = '{"status":"success","data":{"resultType":"matrix","result":[';

const REFUSED: [string, string, string, RegExp][] = [
  [
    "a label of 70 KB",
    `{${NAMED},"annotation":"${"x".repeat(70_000)}"}`,
    "prometheus_label_too_large",
    /"annotation"/,
  ],
  [
    "a label of 5 MB",
    `{${NAMED},"annotation":"${"x".repeat(5 << 20)}"}`,
    "prometheus_label_too_large",
    /"annotation"/,
  ],
  [
    "300 labels",
    `{${NAMED},${Array.from({ length: 300 }, (_, i) => `"l${i}":"v"`).join(",")}}`,
    "prometheus_label_too_large",
    /more than 256 labels/,
  ],
  [
    "half of a surrogate pair",
    String.raw`{${NAMED},"bad":"\ud800"}`,
    "prometheus_answer_invalid",
    /"bad" is not valid/,
  ],
];
const BROKEN: [string, Fault, string][] = [
  ["a megabyte of brackets", body("[".repeat(1 << 20)), "prometheus_answer_invalid"],
  [
    "a megabyte of brackets as a series",
    body(`${HEAD}${'{"a":'.repeat(200_000)}`),
    "prometheus_answer_invalid",
  ],
  [
    "a megabyte before the result",
    body(`{"status":"success","x":"${"y".repeat(1 << 20)}"}`),
    "prometheus_answer_invalid",
  ],
  [
    "a megabyte after the result",
    body(`${HEAD}]},"x":"${"y".repeat(1 << 20)}"}`),
    "prometheus_answer_invalid",
  ],
  [
    "a value that is hexadecimal",
    body(`${HEAD}{"metric":{},"values":[[1,"0x10"]]}]}}`),
    "prometheus_answer_invalid",
  ],
];
const SLOW: Fault = { layer: "prometheus", kind: "drip", query: "kube_pod_info", bytes: 16, delayMs: 0 };
const CLUSTERS = REFUSED.length + BROKEN.length + 2;
const idOf = (index: number): string => `sim-${index + 1}`;

const clock = createJumpingClock();
let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge;
let round: RoundResult;
let statuses: Map<string, ClusterStatus>;

beforeAll(async () => {
  simulator = await startSimulator({ clock, clusters: CLUSTERS, shape: SMALL });
  collector = await startOtlpCollector();
  // Answers of the query API; test/unit/prometheus/remote-read and worst-remote-reads.test.ts have those of remote read.
  const environment = { REMOTE_READ: "off" };
  bridge = await startTestBridge({ simulator, collector, clock, environment });
  for (const [i, [, metric]] of REFUSED.entries()) await simulator.faults.set(idOf(i), extra(metric));
  for (const [i, [, fault]] of BROKEN.entries()) await simulator.faults.set(idOf(REFUSED.length + i), fault);
  await simulator.faults.set(idOf(CLUSTERS - 2), SLOW);
  round = await bridge.collect();
  statuses = new Map((await bridge.status()).clusters.map((cluster) => [cluster.cluster_id, cluster]));
});

afterAll(async () => {
  await bridge?.stop();
  await collector?.stop();
  await simulator?.stop();
});

test.each(REFUSED.map((each, i) => [each[0], idOf(i), each] as const))(
  "a series with %s is refused alone and named",
  async (_name, id, [, , code, reason]) => {
    const result = bridge.resultOf(round, id);
    expect(result).toMatchObject({ outcome: "partial", error: { code } });
    expect(result.error!.message).toMatch(reason);
    expect(result.error!.message).toMatch(/a series of "kube_pod_info" is refused/);
    const { gaps, state } = statuses.get(id)!;
    expect(state).toBe("partial");
    expect(gaps).toMatchObject([
      { query: "kube_pod_info", state: "refused", reason: expect.stringMatching(reason) },
    ]);
    expect(gaps[0]!.points).toBeGreaterThan(0);
  },
);

test.each(BROKEN.map(([name, , code], i) => [name, idOf(REFUSED.length + i), code] as const))(
  "an answer with %s costs its query alone",
  (_name, id, code) => {
    expect(bridge.resultOf(round, id)).toMatchObject({ outcome: "partial", error: { code } });
    expect(statuses.get(id)!.gaps).toMatchObject([{ query: "kube_pod_info", state: "open" }]);
  },
);

test.each([
  ["whose answer comes in pieces of 16 bytes", idOf(CLUSTERS - 2)],
  ["beside them", idOf(CLUSTERS - 1)],
])("a cluster %s is whole", (_name, id) => {
  expect(bridge.resultOf(round, id)).toMatchObject({ outcome: "successful", error: null });
  expect(statuses.get(id)!.gaps).toEqual([]);
});

test("of a metric with a refused series all others are stored, and each sample is accounted for", async () => {
  for (const i of REFUSED.keys()) {
    const record = await bridge.progress(idOf(i));
    const compared = compareWithExpected(collector, simulator.cluster(idOf(i)).world, record);
    expect(compared).toEqual(noDifferences(compared.samples));
    const { gaps, samples_read: read, samples_sent: sent } = record.queries["kube_pod_info"]!;
    expect(sent).toBeGreaterThan(0);
    expect(read).toBe(sent + gaps.reduce((sum, { points }) => sum + points, 0));
  }
  expect(Object.keys((await bridge.progress(idOf(0))).queries)).toEqual([...METRICS]);
});
