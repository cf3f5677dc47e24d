import { beforeAll, describe, expect, test } from "vitest";
import { systemClock, type Clock } from "#lib/clock.ts";
import { AGGREGATIONS, type AggregationName } from "#query/series/aggregations.ts";
import type { QueryLimits } from "#query/limits.ts";
import type { LabelFilter } from "#query/series/matchers.ts";
import { createSeriesQuery, type SeriesAnswer } from "#query/series/series.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { differences, toPoints } from "../helpers/points.ts";
import { evaluateReference, type ReferenceSeries } from "../helpers/promql-reference.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeSeries } from "../helpers/stored-samples.ts";
import { storeMetric } from "../helpers/stored-series.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const impatient: Clock = { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(1, signal) };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
// Old rows are deleted by their TTL, by the engine's own clock.
const END_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS;
const START_MS = END_MS - 10 * DAY_MS;
const clock = createManualClock(END_MS + HOUR_MS);
/** A window of it is late, another is sent twice. */
const LATE = [START_MS + 3.4 * DAY_MS, START_MS + 3.6 * DAY_MS] as const;
const TWICE = [START_MS + 6 * DAY_MS, START_MS + 6.3 * DAY_MS] as const;

type Samples = ReferenceSeries["samples"];

/** Every five minutes and some: with restarts, gaps, NaN, series that appear and vanish, and samples at full hours. */
function series(kind: "gauge" | "counter"): ReferenceSeries[] {
  let state = kind === "gauge" ? 7 : 11;
  const random = (): number => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
  return Array.from({ length: 6 }, (_unused, i) => {
    const samples: [number, number][] = [];
    const fromMs = i === 1 ? START_MS + 4.3 * DAY_MS : START_MS + 1;
    const toMs = i === 2 ? START_MS + 2.7 * DAY_MS : END_MS;
    let value = 1000 * random();
    let gapUntil = 0;
    for (let ms = fromMs; ms <= toMs; ms += 300_000) {
      if (random() < 0.002) gapUntil = ms + random() * 9 * HOUR_MS;
      if (kind === "counter") value = random() < 0.01 ? random() * 3 : value + random() * 50;
      else value += (random() - 0.5) * 10;
      if (ms < gapUntil || random() < 0.02) continue;
      const at = i === 3 ? Math.ceil(ms / 300_000) * 300_000 : ms + Math.floor(random() * 60_000);
      if (at <= END_MS)
        samples.push([at, kind === "gauge" && i === 4 && random() < 0.01 ? Number.NaN : value]);
    }
    return { labels: { id: String(i), zone: `z${i % 2}` }, samples };
  });
}

const METRICS = {
  load: { kind: "gauge" as const, series: series("gauge") },
  cpu_seconds_total: { kind: "counter" as const, series: series("counter") },
};
type Metric = keyof typeof METRICS;

const within = (samples: Samples, [fromMs, toMs]: readonly [number, number], is: boolean): Samples =>
  samples.filter(([ms]) => (ms > fromMs && ms <= toMs) === is);
const store = (metric: Metric, pick: (samples: Samples) => Samples): Promise<void> =>
  storeMetric(engine.database, {
    clusterId: "prod",
    metric,
    kind: METRICS[metric].kind,
    unit: "By",
    series: METRICS[metric].series.map(({ labels, samples }) => ({ labels, samples: pick(samples) })),
  });

const refresh = () =>
  refreshRollups(engine.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: impatient,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });

interface Asked {
  metric: string;
  aggregation: AggregationName;
  stepMs?: number;
  groupBy?: string[];
  filters?: LabelFilter[];
  startMs?: number;
  endMs?: number;
}

const query = (asked: Asked, limits: QueryLimits = QUERY_DEFAULTS.limits): Promise<SeriesAnswer> =>
  createSeriesQuery(
    { database: engine.database, clock },
    { ...QUERY_DEFAULTS, limits },
  )({ clusterId: "prod", startMs: START_MS, endMs: END_MS, ...asked });

/** The storage that was read, and the differences from a brute-force evaluation. */
async function compare(
  asked: Asked & { metric: Metric },
): Promise<{ storage: string; differences: string[] }> {
  const { kind, series: all } = METRICS[asked.metric];
  const answer = await query(asked);
  const expected = evaluateReference(
    all.filter(({ labels }) => asked.filters === undefined || labels["zone"] === "z1"),
    {
      aggregation: asked.aggregation,
      counter: kind === "counter",
      groupBy: asked.groupBy ?? [],
      firstMs: Date.parse(answer.first_point),
      lastMs: Date.parse(answer.last_point),
      stepMs: answer.step_seconds * 1000,
      windowMs: answer.window_seconds * 1000,
    },
  );
  expect(expected.size).toBeGreaterThan(0);
  expect(answer.series_total).toBe(expected.size);
  return { storage: answer.storage, differences: differences(expected, toPoints(answer)) };
}

beforeAll(async () => {
  for (const metric of ["load", "cpu_seconds_total"] as const) {
    await store(metric, (samples) => within(samples, LATE, false));
  }
  await refresh();
  for (const metric of ["load", "cpu_seconds_total"] as const) {
    await store(metric, (samples) => within(samples, LATE, true));
    await store(metric, (samples) => within(samples, TWICE, true));
  }
}, 60_000);

const possible = (metric: Metric): AggregationName[] =>
  AGGREGATIONS.filter((name) => METRICS[metric].kind === "counter" || !["rate", "increase"].includes(name));

describe.each(["load", "cpu_seconds_total"] as const)("ten days of %s", (metric) => {
  test.each(possible(metric))("%s", async (aggregation) => {
    const storage = /^p\d/.test(aggregation) ? "raw" : "hours";
    expect(await compare({ metric, aggregation, stepMs: HOUR_MS, groupBy: ["*"] })).toEqual({
      storage: storage,
      differences: [],
    });
    expect(await compare({ metric, aggregation, stepMs: 6 * HOUR_MS, groupBy: ["zone"] })).toEqual({
      storage: storage,
      differences: [],
    });
  });

  test("with a filter, of the whole cluster, and from inside of an hour", async () => {
    const filters: LabelFilter[] = [{ label: "zone", op: "=", value: "z1" }];
    expect(await compare({ metric, aggregation: "sum", stepMs: 2 * HOUR_MS, filters })).toEqual({
      storage: "hours",
      differences: [],
    });
    expect(await compare({ metric, aggregation: "max", startMs: START_MS + 1.3 * HOUR_MS })).toEqual({
      storage: "hours",
      differences: [],
    });
  });

  test("the rest of the answer is as from the samples", async () => {
    const hours = await query({ metric, aggregation: "avg", stepMs: HOUR_MS });
    const raw = await query({ metric, aggregation: "p50", stepMs: HOUR_MS });
    expect([hours.storage, raw.storage]).toEqual(["hours", "raw"]);
    for (const field of ["type", "unit", "as_of", "first_point", "last_point", "window_seconds"] as const) {
      expect(hours[field]).toBe(raw[field]);
    }
  });

  test("an unknown label is refused", async () => {
    await expect(query({ metric, aggregation: "avg", groupBy: ["zoen"] })).rejects.toThrow("zoen");
  });
});

test.each(["load", "cpu_seconds_total"] as const)(
  "hours and samples give the same points of %s",
  { timeout: 300_000 },
  async (metric) => {
    for (const aggregation of possible(metric).filter((name) => !/^p\d/.test(name))) {
      const asked = { metric, aggregation, groupBy: ["*"], stepMs: 2 * HOUR_MS };
      const long = toPoints(await query(asked));
      const endMs = START_MS + 6 * DAY_MS;
      const short = await query({ ...asked, endMs });
      expect(short.storage).toBe("raw");
      const first = [...long].map(
        ([key, points]) => [key, new Map([...points].filter(([ms]) => ms <= endMs))] as const,
      );
      expect(differences(toPoints(short), new Map(first))).toEqual([]);
    }
  },
);

test("which storage is read: hours by default over a week, samples for parts of hours and for shorter ranges", async () => {
  const ask = async (more: Partial<Asked>): Promise<[string, number]> => {
    const answer = await query({ metric: "load", aggregation: "avg", ...more });
    return [answer.storage, answer.step_seconds];
  };
  expect(await ask({})).toEqual(["hours", 3600]);
  expect(await ask({ stepMs: HOUR_MS / 2 })).toEqual(["raw", 1800]);
  expect(await ask({ startMs: END_MS - 7 * DAY_MS })).toEqual(["raw", 900]);
  expect(await ask({ startMs: END_MS - 7 * DAY_MS, stepMs: HOUR_MS })).toEqual(["raw", 3600]);
});

test("a metric whose type changed is read from its samples, one that only may fall keeps its type", async () => {
  const samples = METRICS.load.series[0]!.samples;
  const half = samples.length / 2;
  const one = { cluster: "prod", labels: { id: "0" } };
  await storeSeries(
    engine.database,
    { ...one, metric: "changed", kind: "gauge", samples: samples.slice(0, half) },
    { ...one, metric: "changed", kind: "counter", samples: samples.slice(half - 10) },
    { ...one, metric: "falls", kind: "sum", samples },
  );
  const changed = await query({ metric: "changed", aggregation: "rate" });
  expect([changed.storage, changed.type]).toEqual(["raw", "counter"]);
  const falls = await query({ metric: "falls", aggregation: "avg" });
  expect([falls.storage, falls.type]).toEqual(["hours", "sum"]);
  const earlier = await query({
    metric: "falls",
    aggregation: "avg",
    startMs: START_MS - 20 * DAY_MS,
    endMs: START_MS - 10 * DAY_MS,
  });
  expect(earlier).toMatchObject({ type: "sum", as_of: null, storage: "hours", series: [] });
});

test("once all is rolled up, hours are read and not the samples behind them", async () => {
  await refresh();
  const few = { ...QUERY_DEFAULTS.limits, rowsReadMax: 10_000 };
  const asked = { metric: "cpu_seconds_total" as const, groupBy: ["*"], stepMs: HOUR_MS };
  const answer = await query({ ...asked, aggregation: "rate" }, few);
  expect([answer.storage, answer.series_total]).toEqual(["hours", 6]);
  await expect(query({ ...asked, aggregation: "p50" }, few)).rejects.toThrow("rows");
  expect(await compare({ ...asked, aggregation: "rate" })).toEqual({ storage: "hours", differences: [] });
});
