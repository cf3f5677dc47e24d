import { expect, test } from "vitest";
import { systemClock, type Clock } from "#lib/clock.ts";
import { windowSource, type RollupKind } from "#storage/rollup-sql.ts";
import { refreshRollups, type RefreshSettings } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeSeries, type StoredSeries } from "../helpers/stored-samples.ts";

const engine = useEngine({ migrated: true });
const impatient: Clock = { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(1, signal) };
const HOUR = 3_600_000;
// Retention must not reach the samples: begin a day ago, at midnight UTC.
const DAY = Math.floor(Date.now() / (24 * HOUR)) * 24 * HOUR - 24 * HOUR;

function refresh(more: Partial<RefreshSettings> = {}): ReturnType<typeof refreshRollups> {
  return refreshRollups(engine.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: impatient,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
    ...more,
  });
}

interface WindowRow {
  series: string;
  time_ms: string;
  count: string;
  [column: string]: unknown;
}

interface Range {
  metric: string;
  stepHours: number;
  hours: number;
  cluster?: string;
}

/** The rows of windowSource, by series and time. */
async function windows(kind: RollupKind, range: Range): Promise<WindowRow[]> {
  const values = kind === "gauge" ? "avg, min, max, last" : "last, rate";
  return await engine.database.query<WindowRow>(
    `SELECT labels['s'] AS series, time_ms, count, ${values} FROM (${windowSource("metrics", kind)}) ORDER BY series, time_ms`,
    toParameters(range),
  );
}

function toParameters({ metric, stepHours, hours, cluster = "c1" }: Range): Record<string, string> {
  const [from, to] = [String(DAY), String(DAY + hours * HOUR)];
  return { cluster, metric, from, to, step: String(stepHours * HOUR) };
}

/** The same values computed from samples: rate by the engine's own function, the rest by the definition of PromQL's *_over_time. */
async function fromSamples(kind: RollupKind, range: Range): Promise<WindowRow[]> {
  const stepSeconds = range.stepHours * 3600;
  const end = DAY / 1000 + range.hours * 3600;
  const windowEnd = `intDiv(toInt64(toUnixTimestamp64Milli(time)) + ${stepSeconds * 1000 - 1}, ${stepSeconds * 1000}) * ${stepSeconds * 1000}`;
  const where = `cluster_id = {cluster:String} AND metric_name = {metric:String}
    AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})`;
  const ignoringNan = (name: string): string =>
    `if(countIf(NOT isNaN(value)) = 0, nan, arrayReduce('${name}', arrayFilter(v -> NOT isNaN(v), groupArray(value))))`;
  if (kind === "gauge") {
    return await engine.database.query<WindowRow>(
      `SELECT labels['s'] AS series, ${windowEnd} AS time_ms, count() AS count, avg(value) AS avg,
         ${ignoringNan("min")} AS min,
         ${ignoringNan("max")} AS max, argMax(value, time) AS last
       FROM metrics.samples WHERE ${where} GROUP BY series_id, series, time_ms ORDER BY series, time_ms`,
      toParameters(range),
    );
  }
  const first = DAY / 1000 + stepSeconds;
  const grid = `timeSeriesRateToGrid(${first}, ${end}, ${stepSeconds}, ${stepSeconds})(time, value)`;
  return await engine.database.query<WindowRow>(
    `SELECT w.series AS series, w.time_ms AS time_ms, w.count AS count, w.last AS last, r.rate AS rate FROM (
       SELECT labels['s'] AS series, series_id, ${windowEnd} AS time_ms, count() AS count, argMax(value, time) AS last
       FROM metrics.samples WHERE ${where} GROUP BY series_id, series, time_ms
     ) AS w LEFT JOIN (
       SELECT series_id, rates[n] AS rate, toInt64(${first} + (n - 1) * ${stepSeconds}) * 1000 AS time_ms FROM (
         SELECT series_id, ${grid} AS rates FROM metrics.samples WHERE ${where} GROUP BY series_id
       ) ARRAY JOIN arrayEnumerate(rates) AS n
     ) AS r ON w.series_id = r.series_id AND w.time_ms = r.time_ms
     ORDER BY series, time_ms
     SETTINGS allow_experimental_time_series_aggregate_functions = 1`,
    toParameters(range),
  );
}

/** The same series and windows, and numbers within 1e-12. */
async function expectEqual(kind: RollupKind, range: Range): Promise<WindowRow[]> {
  const [actual, expected] = [await windows(kind, range), await fromSamples(kind, range)];
  expect(actual.map((row) => [row.series, row.time_ms])).toEqual(
    expected.map((row) => [row.series, row.time_ms]),
  );
  const differences = expected.flatMap((row, index) =>
    Object.entries(row)
      .filter(([column, value]) => !isNear(actual[index]![column], value))
      .map(([column, value]) => [row.series, row.time_ms, column, actual[index]![column], value]),
  );
  expect(differences).toEqual([]);
  return actual;
}

function isNear(actual: unknown, expected: unknown): boolean {
  if (typeof actual !== "number" || typeof expected !== "number") return actual === expected;
  return Math.abs(actual - expected) <= 1e-12 * Math.abs(expected);
}

/** A counter every 30 s +- 5 s that falls back to 0 about every 40 samples. */
function counter(series: string, fromMs: number, toMs: number, seed: number): StoredSeries {
  let state = seed;
  const random = (): number => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
  const samples: [number, number][] = [];
  let value = random() * 1e6;
  for (let ms = fromMs + 1; ms <= toMs; ms += 25_000 + Math.floor(random() * 10_000)) {
    value = random() < 0.025 ? random() : value + random() * 10;
    samples.push([ms, value]);
  }
  return { metric: "c_total", labels: { s: series }, kind: "counter", samples };
}

test("counters: the rate over whole hours is the samples' own, before and after a refresh, with copies and late samples", async () => {
  const whole = counter("whole", DAY, DAY + 12 * HOUR, 1);
  const late = whole.samples.filter(([ms]) => ms > DAY + 5 * HOUR && ms <= DAY + 6.5 * HOUR);
  await storeSeries(
    engine.database,
    { ...whole, samples: whole.samples.filter((sample) => !late.includes(sample)) },
    counter("appears", DAY + 3.3 * HOUR, DAY + 12 * HOUR, 2),
    counter("vanishes", DAY, DAY + 4.7 * HOUR, 3),
    counter("has a gap", DAY, DAY + 3 * HOUR, 4),
    counter("has a gap", DAY + 7.2 * HOUR, DAY + 12 * HOUR, 5),
  );
  const ranges = [1, 3, 4].map((stepHours) => ({ metric: "c_total", stepHours, hours: 12 }));
  for (const range of ranges) {
    const rows = await expectEqual("counter", range);
    expect(rows.filter((row) => typeof row["rate"] === "number").length).toBeGreaterThan(8);
  }

  expect((await refresh()).hours).toBe(12);
  for (const range of ranges) await expectEqual("counter", range);
  expect((await refresh()).hours).toBe(0);

  await storeSeries(engine.database, { ...whole, samples: late });
  await storeSeries(engine.database, {
    ...whole,
    samples: whole.samples.filter(([ms]) => ms > DAY + 8 * HOUR),
  });
  for (const range of ranges) await expectEqual("counter", range);
  expect((await refresh()).hours).toBe(2 + 4);
  for (const range of ranges) await expectEqual("counter", range);
  const [rows] = await engine.database.query<{ n: string; twice: string }>(
    `SELECT count() AS n, count() - uniqExact(series_id, hour_end) AS twice FROM metrics.hourly_counter WHERE metric_name = 'c_total'`,
  );
  expect(rows).toEqual({ n: String(12 + 9 + 5 + 8), twice: "0" });
});

test("counters: resets at the edges of hours, and a sample at the full hour belongs to the hour that ends", async () => {
  const at = (minutes: number, value: number): [number, number] => [DAY + minutes * 60_000, value];
  await storeSeries(
    engine.database,
    // The reset lies between two hours.
    {
      metric: "edge_total",
      labels: { s: "between" },
      kind: "counter",
      samples: [at(10, 5), at(59, 50), at(61, 3), at(119, 8)],
    },
    // The first sample after the reset is at the full hour, and the last one before it.
    {
      metric: "edge_total",
      labels: { s: "at end" },
      kind: "counter",
      samples: [at(10, 5), at(59, 50), at(60, 3), at(119, 8)],
    },
    {
      metric: "edge_total",
      labels: { s: "before" },
      kind: "counter",
      samples: [at(10, 5), at(60, 50), at(61, 3), at(119, 8)],
    },
    { metric: "edge_total", labels: { s: "alone" }, kind: "counter", samples: [at(60, 5), at(61, 3)] },
    {
      metric: "edge_total",
      labels: { s: "stands" },
      kind: "counter",
      samples: [at(10, 7), at(50, 7), at(70, 7)],
    },
  );
  const hours = await expectEqual("counter", { metric: "edge_total", stepHours: 1, hours: 4 });
  expect(hours.filter((row) => row.series === "at end").map((row) => row.count)).toEqual(["3", "1"]);
  expect(hours.filter((row) => row.series === "alone").map((row) => row["rate"])).toEqual([null, null]);
  await refresh();
  await expectEqual("counter", { metric: "edge_total", stepHours: 1, hours: 4 });
  await expectEqual("counter", { metric: "edge_total", stepHours: 2, hours: 4 });
  const resets = await engine.database.query(
    `SELECT labels['s'] AS s, increase, resets FROM metrics.hourly_counter
     WHERE metric_name = 'edge_total' AND hour_end = fromUnixTimestamp({end:Int64}) AND s IN ('between', 'at end') ORDER BY s`,
    { end: String((DAY + HOUR) / 1000) },
  );
  expect(resets).toEqual([
    { s: "at end", increase: 48, resets: 1 },
    { s: "between", increase: 45, resets: 0 },
  ]);
});

test("gauges, with NaN, infinities, copies and late samples, and sums that may fall", async () => {
  const minute = (n: number): number => DAY + n * 60_000;
  const values = [Number.NaN, Infinity, -3, 1e300, 0.1, -0.1, 7];
  const samples = Array.from({ length: 240 }, (_, n) => [minute(n + 1), values[(n * n + n) % 7]!] as const);
  const tame = samples.map(([ms], n) => [ms, Math.sin(n) * 100] as const);
  await storeSeries(
    engine.database,
    { metric: "g", labels: { s: "odd" }, kind: "gauge", samples },
    { metric: "g", labels: { s: "tame" }, kind: "gauge", samples: tame.slice(0, 200) },
    { metric: "g", labels: { s: "only NaN" }, kind: "gauge", samples: [[minute(5), Number.NaN]] },
    { metric: "f", labels: { s: "falls" }, kind: "sum", samples: tame },
  );
  await refresh();
  await storeSeries(
    engine.database,
    { metric: "g", labels: { s: "tame" }, kind: "gauge", samples: tame.slice(150, 240) },
    { metric: "g", labels: { s: "late" }, kind: "gauge", samples: [[minute(60), 1]] },
  );
  for (const stepHours of [1, 2]) {
    await expectEqual("gauge", { metric: "g", stepHours, hours: 4 });
    await expectEqual("gauge", { metric: "f", stepHours, hours: 4 });
  }
  await refresh();
  const rows = await expectEqual("gauge", { metric: "g", stepHours: 1, hours: 4 });
  expect(rows.map((row) => row.series)).toEqual([
    "late",
    ...Array(4).fill("odd"),
    "only NaN",
    ...Array(4).fill("tame"),
  ]);
});

test("work is cut into days and into slices of series, and other clusters' hours are not touched", async () => {
  const many = Array.from({ length: 7 }, (_, n) => ({
    ...counter(`n${n}`, DAY, DAY + 3 * HOUR, 10 + n),
    metric: "many_total",
    cluster: "c2",
  }));
  await storeSeries(engine.database, ...many, { ...many[0]!, cluster: "c3" });
  expect((await refresh({ rowsMax: 200 })).hours).toBe(6);
  await expectEqual("counter", { metric: "many_total", stepHours: 1, hours: 3, cluster: "c2" });
  await expectEqual("counter", { metric: "many_total", stepHours: 1, hours: 3, cluster: "c3" });
});

test("an hour that has just been written to is left alone, and nobody sees a difference", async () => {
  await storeSeries(engine.database, { ...counter("new", DAY, DAY + 2 * HOUR, 20), metric: "young_total" });
  expect((await refresh({ settleMs: 60_000 })).hours).toBe(0);
  await expectEqual("counter", { metric: "young_total", stepHours: 1, hours: 3 });
});

test("two at once give what one gives", async () => {
  await storeSeries(engine.database, { ...counter("x", DAY, DAY + 2 * HOUR, 30), metric: "both_total" });
  await Promise.all([refresh(), refresh()]);
  await expectEqual("counter", { metric: "both_total", stepHours: 1, hours: 2 });
  expect((await refresh()).hours).toBe(0);
});

test("an abort ends it", async () => {
  const reason = new Error("stop");
  await expect(refresh({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("samples without a cluster are not rolled up", async () => {
  await storeSeries(engine.database, { ...counter("x", DAY, DAY + HOUR, 40), cluster: "" });
  expect((await refresh()).hours).toBe(0);
});
