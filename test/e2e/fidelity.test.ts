import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { AGGREGATIONS, isQuantile, type AggregationName } from "#query/series/aggregations.ts";
import type { LabelFilter } from "#query/series/matchers.ts";
import { createSeriesQuery, type SeriesQuery } from "#query/series/series.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { differences, largestDeviation, toPoints } from "../helpers/points.ts";
import { createScenario } from "../helpers/series-scenario.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import type { Sample } from "../helpers/stored-series.ts";
import { complaintsIn, deliver, type ClusterMetric } from "./delivery.ts";
import { startPrometheus, type WrittenPrometheus } from "./prometheus.ts";
import { readScraped, repeat, withGaps, type Scraped } from "./scraped.ts";
import { startStack, type Stack } from "./stack.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// The same samples in a real Prometheus (by remote write) and, through the real Collector, in ClickHouse; then every answer of the query API
// is compared, point by point, with what that Prometheus answers to the PromQL that the API says the answer equals. The samples: what the
// cluster of E2E_KUBECONFIG scraped in the last minutes, repeated to hours and to days; and random ones with values at a double's edges.

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const CLUSTER = "fidelity";
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 12 * HOUR_MS;
const END_MS = START_MS + 8 * HOUR_MS;
/** End of the scraped samples. */
const SCRAPED_END_MS = START_MS + 4 * HOUR_MS;
const DAYS_START_MS = END_MS - 9 * DAY_MS;

const SCRAPED: Record<string, string[]> = {
  DCGM_FI_DEV_GPU_UTIL: ["Hostname"],
  DCGM_FI_PROF_GR_ENGINE_ACTIVE: ["gpu"],
  container_memory_working_set_bytes: ["namespace", "node"],
  kube_pod_status_phase: ["phase"],
  node_load1: ["instance"],
  odd_values: ["q"],
  container_cpu_usage_seconds_total: ["namespace"],
  kube_pod_container_status_restarts_total: ["node"],
  node_cpu_seconds_total: ["mode"],
  DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION: ["Hostname", "namespace"],
};
/** Read over nine days, from the hours of the roll-ups; the others would be more samples than new facts. */
const BY_HOURS = [
  "DCGM_FI_DEV_GPU_UTIL",
  "node_load1",
  "odd_values",
  "container_cpu_usage_seconds_total",
  "node_cpu_seconds_total",
];
const days = (metric: string): string => `days_of_${metric}`;

const scenario = { startMs: START_MS, endMs: END_MS, seriesCount: 20 };
/** Values that only fit a double just so: sums overflow, cancel out, or vanish beside others. */
const EXTREMES = [1e308, 1.5e308, -1e308, 5e-324, 1e16, 1, -1e16, 0, -0, 1e-300];
const random = (kind: "gauge" | "counter", seed: number, oddValues: boolean): ClusterMetric["series"] =>
  createScenario({ ...scenario, kind, seed, oddValues }).map(({ labels, samples }) => ({
    labels,
    samples: [...samples],
  }));
const RANDOM: ClusterMetric[] = [
  { metric: "gauge", kind: "gauge", series: random("gauge", 11, false) },
  { metric: "odd_gauge", kind: "gauge", series: random("gauge", 12, true) },
  { metric: "counter_total", kind: "counter", series: random("counter", 13, false) },
  { metric: "odd_counter_total", kind: "counter", series: random("counter", 14, true) },
  {
    metric: "huge_gauge",
    kind: "gauge",
    series: [0, 1, 2].map((id) => ({
      labels: { id: String(id), mode: "user" },
      samples: EXTREMES.map((_value, i) => [
        START_MS + 30_000 * (i + 1),
        Math.abs(EXTREMES[(i + id) % EXTREMES.length]!),
      ]),
    })),
  },
];

let stack: Stack;
let prometheus: WrittenPrometheus;
let query: SeriesQuery;
let scraped: Scraped;
/** The stored metrics by name. */
const stored = new Map<string, ClusterMetric>();
/** The largest relative distance that was seen, by what was read and aggregation. */
const deviations = new Map<string, number>();

const refresh = () =>
  refreshRollups(stack.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });

beforeAll(async () => {
  [stack, prometheus, scraped] = await Promise.all([
    startStack(),
    startPrometheus(),
    readScraped(Object.keys(SCRAPED)),
  ]);
  await migrate(stack.database, {
    parameters: { database: "metrics", retentionDays: 90 },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  const hours = { startMs: START_MS, endMs: SCRAPED_END_MS };
  const nineDays = { startMs: DAYS_START_MS, endMs: END_MS };
  const ofHours = repeat(scraped, { ...hours, everyMs: 15_000, isThere: withGaps(START_MS, SCRAPED_END_MS) });
  const ofDays = repeat(
    { ...scraped, metrics: scraped.metrics.filter(({ metric }) => BY_HOURS.includes(metric)) },
    { ...nineDays, everyMs: 5 * MINUTE_MS, isThere: withGaps(DAYS_START_MS, END_MS) },
  ).map((each) => ({ ...each, metric: days(each.metric) }));
  const all = [...ofHours, ...ofDays, ...RANDOM];
  for (const each of all) stored.set(each.metric, each);
  const writing = prometheus.write(
    all.flatMap(({ metric, series }) =>
      series.map(({ labels, samples }) => ({ labels: { ...labels, __name__: metric }, samples })),
    ),
  );
  const cluster = { id: CLUSTER };
  // Some hours are rolled up, the later ones are not yet: an answer is made of both.
  const earlier = ([ms]: readonly [number, number]): boolean => ms <= END_MS - DAY_MS;
  const split = (is: boolean) =>
    ofDays.map((each) => ({
      ...each,
      series: each.series.map(({ labels, samples }) => ({
        labels,
        samples: samples.filter((sample) => earlier(sample) === is),
      })),
    }));
  await deliver(stack.collectorUrl, cluster, split(true));
  const { hours: rolled } = await refresh();
  if (rolled < 7 * 24) throw new Error(`only ${rolled} hours were rolled up`);
  await deliver(stack.collectorUrl, cluster, [...split(false), ...ofHours, ...RANDOM]);
  // Sent again, and of another cluster.
  await deliver(stack.collectorUrl, cluster, ofHours.slice(0, 1));
  await deliver(stack.collectorUrl, { id: "another" }, [...ofHours.slice(0, 1), ...RANDOM.slice(0, 1)]);
  await writing;
  query = createSeriesQuery({ database: stack.database, clock: systemClock }, QUERY_DEFAULTS);
  const samples = all.flatMap(({ series }) => series.map((one) => one.samples.length));
  process.stderr.write(
    `Prometheus ${await prometheus.version()}: ${samples.reduce((sum, n) => sum + n, 0)} samples of ${samples.length} series, made of ` +
      `${Math.round(scraped.spanMs / 1000)} s that Prometheus ${scraped.version} scraped\n`,
  );
}, 600_000);

afterAll(async () => {
  const lines = [...deviations].map(([what, deviation]) => `${what} ${deviation.toExponential(1)}`);
  process.stderr.write(`largest relative deviation: ${lines.join(", ")}\n`);
  await prometheus?.stop();
  await stack?.stop();
});

interface Asked {
  metric: string;
  aggregation: AggregationName;
  from: number;
  to: number;
  step: number;
  groupBy: string[];
  filters?: LabelFilter[];
}

/** Asks both, and compares all points: what is wrong. Nothing is known of a metric that the cluster does not have. */
async function problems({ from, to, step, ...asked }: Asked, storage: "raw" | "hours"): Promise<string[]> {
  if (!stored.has(asked.metric)) return [];
  const answer = await query({
    clusterId: CLUSTER,
    ...asked,
    startMs: START_MS + from,
    endMs: START_MS + to,
    stepMs: step,
  });
  const expected = await prometheus.queryRange(
    answer.promql,
    Date.parse(answer.first_point),
    Date.parse(answer.last_point),
    answer.step_seconds * 1000,
  );
  const actual = toPoints(answer);
  const what = `${answer.storage} ${asked.aggregation}`;
  deviations.set(what, Math.max(deviations.get(what) ?? 0, largestDeviation(expected, actual)));
  const found = differences(expected, actual).map((difference) => `${answer.promql}: ${difference}`);
  if (expected.size === 0) found.push(`${answer.promql}: nothing to compare`);
  // More groups than the default limit would be a comparison of a part.
  if (answer.series_total !== expected.size) found.push(`${answer.promql}: ${answer.series_total} series`);
  if (answer.storage !== storage) found.push(`${answer.promql}: read from ${answer.storage}`);
  return found;
}

test("all of it arrived, none twice though some was sent again, and the Collector had no complaint", async () => {
  const rows = await stack.database.query<{ metric: string; samples: number }>(
    `SELECT metric, toUInt32(count()) AS samples
     FROM (
       SELECT MetricName AS metric, 'gauge' AS kind FROM metrics.otel_metrics_gauge FINAL WHERE cluster_id = {cluster:String}
       UNION ALL
       SELECT MetricName AS metric, 'counter' AS kind FROM metrics.otel_metrics_sum FINAL WHERE cluster_id = {cluster:String}
     )
     GROUP BY metric, kind`,
    { cluster: CLUSTER },
  );
  const sent = [...stored].map(([metric, { series }]): [string, number] => [
    metric,
    series.reduce((sum, { samples }) => sum + samples.length, 0),
  ]);
  expect(new Map(rows.map(({ metric, samples }) => [metric, samples]))).toEqual(new Map(sent));
  expect(rows).toHaveLength(sent.length);
  expect(complaintsIn(await stack.collectorLog())).toEqual([]);
});

const possible = (isCounter: boolean): AggregationName[] =>
  AGGREGATIONS.filter((name) => isCounter || !["rate", "increase"].includes(name));
const isCounter = (metric: string): boolean => /_total$|ENERGY/.test(metric);

describe("what was scraped", () => {
  const RANGES = [
    { range: "hours at 1 min", from: 0, to: 4 * HOUR_MS, step: MINUTE_MS },
    { range: "37 s, from inside the series", from: 1.21 * HOUR_MS + 123, to: 1.9 * HOUR_MS, step: 37_000 },
    {
      range: "5 min, from before the first to after the last",
      from: -HOUR_MS,
      to: 5 * HOUR_MS,
      step: 300_000,
    },
    { range: "one point", from: 2 * HOUR_MS - 1, to: 2 * HOUR_MS, step: MINUTE_MS },
  ];
  const CASES = Object.entries(SCRAPED).flatMap(([metric, labels], m) =>
    possible(isCounter(metric)).flatMap((aggregation, a) =>
      RANGES.map((range, r) => ({
        metric,
        aggregation,
        ...range,
        groupBy: [labels, ["*"], []][(m + a + r) % 3]!,
      })),
    ),
  );
  test.each(CASES)("$aggregation of $metric by $groupBy: $range", async ({ range: _range, ...asked }) => {
    expect(await problems(asked, "raw")).toEqual([]);
  });

  test("has what makes it hard", () => {
    const { series } = stored.get("container_cpu_usage_seconds_total")!;
    const count = (is: (samples: readonly Sample[]) => boolean): number =>
      series.filter(({ samples }) => is(samples)).length;
    const appearing = count((samples) => samples[0]![0] > START_MS + HOUR_MS);
    const vanishing = count((samples) => samples.at(-1)![0] < SCRAPED_END_MS - HOUR_MS);
    const interrupted = count((samples) =>
      samples.some(([ms], i) => i > 0 && ms - samples[i - 1]![0] > 300_000),
    );
    const restarted = count((samples) => samples.some(([, value], i) => i > 0 && value < samples[i - 1]![1]));
    expect(Math.min(appearing, vanishing, interrupted)).toBeGreaterThan(0);
    // The scraped samples of another cluster are not known for these minutes.
    expect(restarted).toBeGreaterThan(process.env["E2E_CLUSTER_DIR"] === undefined ? -1 : 0);
  });
});

describe("nine days of it, from the hours of the roll-ups", () => {
  const RANGES = [
    { range: "1 h", from: -8 * DAY_MS, to: 8 * HOUR_MS, step: HOUR_MS },
    { range: "5 h, from before the first", from: -10 * DAY_MS, to: 9 * HOUR_MS, step: 5 * HOUR_MS },
  ];
  const CASES = BY_HOURS.flatMap((metric, m) =>
    possible(isCounter(metric))
      .filter((aggregation) => !isQuantile(aggregation))
      .flatMap((aggregation, a) =>
        RANGES.map((range, r) => ({
          metric,
          aggregation,
          ...range,
          groupBy: [["*"], SCRAPED[metric]!, []][(m + a + r) % 3]!,
        })),
      ),
  );
  test.each(CASES)("$aggregation of $metric by $groupBy: $range", async ({ range: _range, ...asked }) => {
    expect(await problems({ ...asked, metric: days(asked.metric) }, "hours")).toEqual([]);
  });
});

describe("random series", () => {
  const RANGES = [
    { range: "hours at 1 min", from: 0, to: 8 * HOUR_MS, step: MINUTE_MS },
    { range: "37 s", from: HOUR_MS + 123, to: 3 * HOUR_MS, step: 37_000 },
    { range: "97 s, from inside the series", from: 3.21 * HOUR_MS, to: 5.77 * HOUR_MS, step: 97_000 },
    { range: "5 min", from: -HOUR_MS, to: 9 * HOUR_MS, step: 300_000 },
    { range: "an hour", from: 0, to: 8 * HOUR_MS, step: HOUR_MS },
    { range: "the first minutes, at 1 s", from: 0, to: 6 * MINUTE_MS, step: 1000 },
  ];
  const SHAPES: { groupBy: string[]; filters: LabelFilter[] }[] = [
    { groupBy: [], filters: [] },
    { groupBy: ["mode"], filters: [] },
    { groupBy: ["zone", "mode"], filters: [{ label: "mode", op: "!=", value: "idle" }] },
    { groupBy: ["*"], filters: [] },
    { groupBy: [], filters: [{ label: "zone", op: "=~", value: "z0|" }] },
    {
      groupBy: ["id"],
      filters: [
        { label: "zone", op: "!~", value: "z[1-9]" },
        { label: "id", op: "=~", value: "\\d" },
      ],
    },
  ];
  const CASES = RANDOM.flatMap(({ metric, kind }, m) =>
    possible(kind === "counter").flatMap((aggregation, a) =>
      RANGES.map((range, r) => ({ metric, aggregation, ...range, shape: (m + a + r) % SHAPES.length })),
    ),
  ).filter(({ metric, from, step, shape }) => {
    const has = metric !== "huge_gauge" || (from <= 0 && [0, 1, 3].includes(shape));
    return has && !(metric.startsWith("odd") && step === HOUR_MS);
  });
  test.each(CASES)(
    "$aggregation of $metric, shape $shape: $range",
    async ({ range: _range, shape, ...asked }) => {
      expect(await problems({ ...asked, ...SHAPES[shape]! }, "raw")).toEqual([]);
    },
  );
});
