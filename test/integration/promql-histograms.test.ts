import { beforeAll, describe, expect, it } from "vitest";
import { createEngine } from "#promql/engine.ts";
import type { FloatHistogram } from "#promql/histogram.ts";
import { Labels, METRIC_NAME } from "#promql/labels.ts";
import type { Series } from "#promql/source.ts";
import { useEngine } from "../helpers/engine.ts";
import { createMemorySource } from "../promql/memory-source.ts";
import { askEngine, differenceBetween } from "../promql/outcome.ts";
import type { QueryCase } from "../promql/query-case.ts";
import { ofDataset, type Served, startServed } from "../promql/served.ts";
import { toStored } from "../helpers/stored-histograms.ts";

// Native histograms, stored by OTLP and asked by HTTP: what the engine gives for the same samples in memory.

const MINUTE = 60_000;
const NOW_MS = Math.floor(Date.now() / MINUTE) * MINUTE;
const START = NOW_MS - 60 * MINUTE;
const COUNT = 60;
const limits = { samplesMax: 1_000_000, seriesMax: 1000 };
const database = useEngine({ migrated: true });
const memory = createMemorySource();
let served: Served;

function exponential(k: number, i: number): FloatHistogram {
  // A reset in the middle, a gap between the buckets, and sums that are no numbers.
  const n = k < 30 ? k + 1 : k - 29;
  return {
    schema: 3,
    count: 12 * n + i,
    sum: k === 50 ? Number.NaN : i === 2 ? Infinity : n * 0.1 + i,
    zeroThreshold: 2 ** -128,
    zeroCount: n + i,
    positiveSpans: [
      { offset: -3, length: 2 },
      { offset: 40, length: 1 },
    ],
    positiveBuckets: [n, 2 * n, 3 * n],
    negativeSpans: [{ offset: 5, length: 2 }],
    negativeBuckets: [4 * n, n],
    hint: "unknown",
  };
}

function custom(k: number): FloatHistogram {
  const none = { zeroThreshold: 0, zeroCount: 0, negativeSpans: [], negativeBuckets: [] };
  const spans = [
    { offset: 0, length: 1 },
    { offset: 1, length: 2 },
  ];
  const buckets = { positiveSpans: spans, positiveBuckets: [k, 2 * k, 3], customValues: [0.1, 0.5, 2.5] };
  return { schema: -53, count: 3 * k + 3, sum: k / 3, ...none, ...buckets, hint: "unknown" };
}

function seriesOf(
  name: string,
  labels: Record<string, string>,
  at: (k: number) => FloatHistogram | number | "stale",
): Series {
  const all = Array.from({ length: COUNT }, (_none, k) => at(k));
  return {
    labels: Labels.of([...Object.entries(labels), [METRIC_NAME, name]]),
    times: Float64Array.from(all, (_one, k) => START + k * MINUTE),
    values: Float64Array.from(all, (one) => (typeof one === "number" ? one : Number.NaN)),
    stale: Uint8Array.from(all, (one) => (one === "stale" ? 1 : 0)),
    histograms: all.map((one) => (typeof one === "object" ? one : undefined)),
  };
}

beforeAll(async () => {
  served = await startServed(database.database, NOW_MS, 3);
  const series = [
    ...[0, 1, 2].map((i) => seriesOf("latency", { i: String(i) }, (k) => exponential(k, i))),
    seriesOf("latency", { i: "ends" }, (k) => (k === 40 ? "stale" : exponential(k, 1))),
    seriesOf("latency", { i: "mixed" }, (k) => (k < 20 ? k : k < 25 ? "stale" : exponential(k, 4))),
    seriesOf("size", { i: "custom" }, custom),
    seriesOf("size", { i: "both" }, (k) => (k < 30 ? custom(k) : exponential(k, 0))),
    seriesOf("plain_total", {}, (k) => k),
  ];
  for (const dataset of [0, 1]) await served.store(dataset, dataset === 0 ? series : series.slice(0, 1));
  for (const each of series) memory.add(ofDataset(0, toStored(each)));
  return () => served.stop();
});

const QUERIES = [
  "latency",
  "size",
  "latency[10m]",
  "rate(latency[5m])",
  "increase(size[7m])",
  "sum(rate(latency[5m]))",
  "sum by (i) (latency)",
  "histogram_quantile(0.9, sum(rate(latency{i!='mixed'}[5m])))",
  "histogram_quantile(0.5, size)",
  "histogram_count(latency)",
  "histogram_sum(rate(size{i='custom'}[10m]))",
  "histogram_fraction(0, 1, latency)",
  "histogram_avg(latency)",
  "count_over_time({__name__=~'latency|size|plain_total'}[10m])",
  "resets(latency[20m])",
  "last_over_time(latency[3m])",
  "timestamp(latency)",
  "absent(latency)",
  "plain_total",
];

describe("stored native histograms", () => {
  it.each(QUERIES)("%s", async (query) => {
    const engine = createEngine({ source: memory }, { limits });
    const range = { startMs: START + 2 * MINUTE, endMs: START + 59 * MINUTE };
    const cases: QueryCase[] = [11, 22, 35, 42, 52].map((k) => ({
      query,
      times: { startMs: START + k * MINUTE, endMs: START + k * MINUTE },
    }));
    // By samples, and with what ClickHouse may compute.
    if (!query.endsWith("]")) {
      cases.push(
        { query, times: { ...range, stepMs: 17_000 } },
        { query, times: { ...range, stepMs: 120_000 } },
      );
    }
    for (const asked of cases) {
      const [wanted, ours] = [await askEngine(engine, asked), await served.ask(0, asked)];
      expect([asked.times, differenceBetween(wanted, ours, { tolerance: 1e-12 })]).toEqual([
        asked.times,
        undefined,
      ]);
    }
  });

  it("keeps every number of a histogram", async () => {
    const timeMs = START + 10 * MINUTE;
    const asked = { query: "latency{i='0'}", times: { startMs: timeMs, endMs: timeMs } };
    const answer = await served.ask(0, asked);
    if (!("series" in answer)) throw new Error("no series");
    const [count, sum, ...buckets] = answer.series[0]!.histograms[0]!.numbers;
    expect([count, sum, buckets.length / 4]).toEqual([132, 11 * 0.1, 6]);
    expect(buckets.filter((_number, k) => k % 4 === 3)).toEqual([11, 44, 11, 11, 22, 33]);
  });

  it("shows a caller the histograms of its own clusters only", async () => {
    const times = { startMs: START + 10 * MINUTE, endMs: START + 10 * MINUTE };
    const seen = async (dataset: number, query: string) => {
      const answer = await served.ask(dataset, { query, times });
      return "series" in answer ? answer.series.map(({ labels }) => labels.get("cluster_id")) : answer;
    };
    expect(await seen(1, "latency")).toEqual(["set-1"]);
    expect(await seen(1, "{cluster_id=~'.*', __name__=~'.+'}")).toEqual(["set-1"]);
    expect(await seen(2, "{__name__=~'.+'}")).toEqual([]);
  });

  it("lists their series, labels and values", async () => {
    const list = async (path: string) => await served.list(0, path);
    const range = `start=${START / 1000}&end=${NOW_MS / 1000}`;
    expect(await list(`label/__name__/values?${range}`)).toEqual(["latency", "plain_total", "size"]);
    expect(await list(`label/i/values?match[]=size&${range}`)).toEqual(["both", "custom"]);
    expect(await list(`labels?match[]=size&${range}`)).toEqual(["__name__", "cluster", "cluster_id", "i"]);
    expect(await list(`series?match[]=size&${range}`)).toHaveLength(2);
    expect(await served.list(1, `label/i/values?${range}`)).toEqual(["0"]);
  });
});
