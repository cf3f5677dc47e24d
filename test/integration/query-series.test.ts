import {
  array,
  assert,
  asyncProperty,
  constantFrom,
  double,
  integer,
  oneof,
  record,
  uniqueArray,
} from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { AGGREGATIONS, type AggregationName } from "#query/series/aggregations.ts";
import { createSeriesQuery, type SeriesRequest } from "#query/series/series.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { differences, toPoints } from "../helpers/points.ts";
import { evaluateReference, type ReferenceSeries } from "../helpers/promql-reference.ts";
import { createScenario } from "../helpers/series-scenario.ts";
import { storeMetric } from "../helpers/stored-series.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const HOUR_MS = 3_600_000;
// Old rows are deleted by their TTL, by the engine's own clock.
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 30 * HOUR_MS;
const END_MS = START_MS + 3 * HOUR_MS;
const clock = createManualClock(END_MS + HOUR_MS);

const query = (request: Omit<SeriesRequest, "clusterId">) =>
  createSeriesQuery(
    { database: engine.database, clock },
    QUERY_DEFAULTS,
  )({
    clusterId: "prod",
    ...request,
  });

const scenario = { startMs: START_MS, endMs: END_MS, seriesCount: 9 };
const METRICS: Record<string, { kind: "gauge" | "counter"; series: ReferenceSeries[] }> = {
  load: { kind: "gauge", series: createScenario({ ...scenario, kind: "gauge", seed: 1 }) },
  odd: { kind: "gauge", series: createScenario({ ...scenario, kind: "gauge", seed: 2, oddValues: true }) },
  odd_total: {
    kind: "counter",
    series: createScenario({ ...scenario, kind: "counter", seed: 4, oddValues: true }),
  },
  cpu_seconds_total: { kind: "counter", series: createScenario({ ...scenario, kind: "counter", seed: 3 }) },
};

beforeAll(async () => {
  for (const [metric, { kind, series }] of Object.entries(METRICS)) {
    await storeMetric(engine.database, { clusterId: "prod", metric, kind, series });
  }
  // Sent twice.
  await storeMetric(engine.database, { clusterId: "prod", metric: "load", ...METRICS["load"]! });
  await storeMetric(engine.database, {
    clusterId: "other",
    metric: "load",
    kind: "gauge",
    series: [{ labels: { id: "0" }, samples: [[START_MS + 1000, 1e9]] }],
  });
});

const RANGES = [
  { name: "all of it at 1 min", from: 0, to: 3 * HOUR_MS, step: 60_000 },
  { name: "37 s", from: 40 * 60_000 + 123, to: 70 * 60_000, step: 37_000 },
  { name: "97 s, from inside the series", from: 1.21 * HOUR_MS, to: 1.97 * HOUR_MS, step: 97_000 },
  { name: "10 min", from: -HOUR_MS, to: 4 * HOUR_MS, step: 600_000 },
  { name: "one point", from: 2 * HOUR_MS - 1, to: 2 * HOUR_MS, step: 60_000 },
];

/** Series as a property: samples in some minutes of half an hour, values of any size, restarts anywhere. */
const anySeries = array(
  uniqueArray(record({ at: integer({ min: 0, max: 1_800_000 }), value: anyValue() }), {
    selector: ({ at }) => at,
    maxLength: 40,
  }),
  { minLength: 1, maxLength: 5 },
);

function anyValue() {
  return oneof(
    double({ min: 0, max: 1e18, noNaN: true }),
    integer({ min: 0, max: 100 }),
    constantFrom(0, 1e17, 3.7, Infinity, Number.NaN),
  );
}

test("any series, in any window", { timeout: 300_000 }, async () => {
  let count = 0;
  const gridOf = { range: integer({ min: 60, max: 1800 }), step: integer({ min: 1, max: 400 }) };
  await assert(
    asyncProperty(
      anySeries,
      constantFrom(...AGGREGATIONS),
      record(gridOf),
      constantFrom("gauge", "counter"),
      async (drawn, aggregation, grid, drawnKind) => {
        const metric = `any_${++count}`;
        const kind = aggregation === "rate" || aggregation === "increase" ? "counter" : drawnKind;
        const series = drawn.map((samples, i) => ({
          labels: { id: String(i) },
          samples: samples
            .toSorted((a, b) => a.at - b.at)
            .map(({ at, value }) => [START_MS + at, value] as const),
        }));
        if (series.every(({ samples }) => samples.length === 0)) return;
        await storeMetric(engine.database, { clusterId: "prod", metric, kind, series });
        const stepMs = Math.min(grid.step, grid.range) * 1000;
        const startMs = Math.floor(START_MS / stepMs) * stepMs;
        const request = { metric, aggregation, startMs, endMs: startMs + grid.range * 1000, stepMs };
        for (const groupBy of [["*"], []]) {
          const answer = await query({ ...request, groupBy });
          const expected = evaluateReference(series, {
            aggregation,
            counter: kind === "counter",
            groupBy,
            firstMs: Date.parse(answer.first_point),
            lastMs: Date.parse(answer.last_point),
            stepMs,
            windowMs: answer.window_seconds * 1000,
          });
          expect(differences(expected, toPoints(answer))).toEqual([]);
        }
      },
    ),
    { numRuns: 40 },
  );
});

describe.each(Object.keys(METRICS))("%s equals a brute-force evaluation", (metric) => {
  const { kind, series } = METRICS[metric]!;
  const possible = AGGREGATIONS.filter((name) => kind === "counter" || !["rate", "increase"].includes(name));
  describe.each(RANGES)("$name", ({ from, to, step }) => {
    test.each(possible)("%s", async (aggregation: AggregationName) => {
      for (const groupBy of step === 60_000 ? [["zone", "mode"], ["*"], []] : [["zone", "mode"]]) {
        const answer = await query({
          metric,
          aggregation,
          groupBy,
          startMs: START_MS + from,
          endMs: START_MS + to,
          stepMs: step,
        });
        const expected = evaluateReference(series, {
          aggregation,
          counter: kind === "counter",
          groupBy,
          firstMs: Date.parse(answer.first_point),
          lastMs: Date.parse(answer.last_point),
          stepMs: step,
          windowMs: answer.window_seconds * 1000,
        });
        expect(differences(expected, toPoints(answer))).toEqual([]);
        expect(answer.series_total).toBe(expected.size);
        expect(expected.size).toBeGreaterThan(0);
      }
    });
  });
});
