import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { AGGREGATIONS } from "#query/aggregations.ts";
import { QUERY_LIMITS } from "#query/limits.ts";
import type { LabelFilter } from "#query/matchers.ts";
import { createSeriesQuery, type SeriesQuery } from "#query/series.ts";
import { migrate } from "#storage/migrate.ts";
import { differences, toPoints } from "../helpers/points.ts";
import { createScenario } from "../helpers/series-scenario.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeMetric, type StoredMetric } from "../helpers/stored-series.ts";
import { startPrometheus, type WrittenPrometheus } from "./prometheus.ts";
import { startStack, type Stack } from "./stack.ts";

// The same samples in a real Prometheus and in ClickHouse; then every answer of the query API is compared, point by point, with what that
// Prometheus answers to the PromQL that the API says the answer equals.

const HOUR_MS = 3_600_000;
const CLUSTER = "fidelity";
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 12 * HOUR_MS;
const END_MS = START_MS + 8 * HOUR_MS;

let stack: Stack;
let prometheus: WrittenPrometheus;
let query: SeriesQuery;

const scenario = { startMs: START_MS, endMs: END_MS, seriesCount: 20 };
/** Values that only fit a double just so: sums overflow, cancel out, or vanish beside others. */
const EXTREMES = [1e308, 1.5e308, -1e308, 5e-324, 1e16, 1, -1e16, 0, -0, 1e-300];
const METRICS: Pick<StoredMetric, "metric" | "kind" | "series">[] = [
  { metric: "gauge", kind: "gauge", series: createScenario({ ...scenario, kind: "gauge", seed: 11 }) },
  {
    metric: "odd_gauge",
    kind: "gauge",
    series: createScenario({ ...scenario, kind: "gauge", seed: 12, oddValues: true }),
  },
  {
    metric: "counter_total",
    kind: "counter",
    series: createScenario({ ...scenario, kind: "counter", seed: 13 }),
  },
  {
    metric: "odd_counter_total",
    kind: "counter",
    series: createScenario({ ...scenario, kind: "counter", seed: 14, oddValues: true }),
  },
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

beforeAll(async () => {
  [stack, prometheus] = await Promise.all([startStack(), startPrometheus()]);
  await migrate(stack.database, {
    parameters: { database: "metrics", retentionDays: 90 },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  for (const metric of METRICS) {
    await storeMetric(stack.database, { clusterId: CLUSTER, ...metric });
    await storeMetric(stack.database, { clusterId: "another", ...metric });
  }
  await prometheus.write(
    METRICS.flatMap(({ metric, series }) =>
      series.map(({ labels, samples }) => ({ labels: { ...labels, __name__: metric }, samples })),
    ),
  );
  query = createSeriesQuery(
    { database: stack.database, clock: systemClock },
    { databaseName: "metrics", limits: QUERY_LIMITS },
  );
  process.stderr.write(`Prometheus ${await prometheus.version()}\n`);
});

afterAll(async () => {
  await prometheus?.stop();
  await stack?.stop();
});

const RANGES = [
  { range: "hours at 1 min", from: 0, to: 8 * HOUR_MS, step: 60_000 },
  { range: "37 s", from: HOUR_MS + 123, to: 3 * HOUR_MS, step: 37_000 },
  { range: "97 s, from inside the series", from: 3.21 * HOUR_MS, to: 5.77 * HOUR_MS, step: 97_000 },
  { range: "5 min", from: -HOUR_MS, to: 9 * HOUR_MS, step: 300_000 },
  { range: "an hour", from: 0, to: 8 * HOUR_MS, step: HOUR_MS },
  { range: "one point", from: 2 * HOUR_MS - 1, to: 2 * HOUR_MS, step: 60_000 },
  { range: "the first minutes, at 1 s", from: 0, to: 6 * 60_000, step: 1000 },
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

const CASES = METRICS.flatMap(({ metric, kind, series }) =>
  RANGES.flatMap((range) =>
    AGGREGATIONS.filter((name) => kind === "counter" || !["rate", "increase"].includes(name)).map(
      (aggregation) => ({ metric, series, aggregation, ...range }),
    ),
  ),
).filter(({ metric, from, step }) => {
  if (metric === "huge_gauge") return from <= 0;
  return !metric.startsWith("odd") || step < HOUR_MS;
});

describe("what the query API answers is what Prometheus answers", () => {
  test.each(CASES)(
    "$aggregation of $metric: $range",
    async ({ metric, series, aggregation, from, to, step }) => {
      const labels = new Set(series.flatMap((one) => Object.keys(one.labels)));
      for (const { groupBy, filters } of SHAPES) {
        const used = [...groupBy.filter((label) => label !== "*"), ...filters.map(({ label }) => label)];
        if (!used.every((label) => labels.has(label))) continue;
        const answer = await query({
          clusterId: CLUSTER,
          metric,
          aggregation,
          groupBy,
          filters,
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
        expect({ promql: answer.promql, differences: differences(expected, actual) }).toEqual({
          promql: answer.promql,
          differences: [],
        });
        // More groups than the default limit would be a comparison of a part.
        expect(answer.series_total).toBe(expected.size);
        expect(expected.size).toBeGreaterThan(0);
      }
    },
  );
});
