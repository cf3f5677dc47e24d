import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { systemClock, type Clock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import type { Database } from "#storage/database.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { fillSeries, type FillResult, type FillSettings } from "#storage/series-fill.ts";
import { readSeriesStart } from "#storage/series.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const engine = useEngine({ migrated: false });
const MIGRATIONS = join(import.meta.dirname, "../../src/storage/migrations");
const DAY_MS = 86_400_000;
/** The start of the day before yesterday, UTC. */
const DAY = Math.floor(Date.now() / DAY_MS) * DAY_MS - 2 * DAY_MS;
const signal = new AbortController().signal;
let count = 0;
let databaseName = "";

beforeEach(() => {
  databaseName = `series_${++count}`;
});

/** Applies the migrations up to a number. */
async function migrateTo(version: number): Promise<void> {
  const directory = join(createTemporaryFolder(), `to-${version}`);
  mkdirSync(directory);
  for (const name of readdirSync(MIGRATIONS)) {
    if (Number(name.slice(0, 4)) <= version) cpSync(join(MIGRATIONS, name), join(directory, name));
  }
  const parameters = { database: databaseName, retentionDays: 90 };
  await migrate(engine.database, {
    directory,
    parameters,
    clock: systemClock,
    logger: createSilentLogger(),
    signal,
  });
}

const timeOf = (ms: number): string => `fromUnixTimestamp64Milli(${ms}, 'UTC')`;

interface Samples {
  metric?: string;
  instance?: string;
  cluster?: string;
  unit?: string;
  resource?: string;
  kind?: "gauge" | "sum" | "counter";
  times: readonly number[];
}

/** One INSERT. */
async function insert(samples: Samples): Promise<void> {
  const {
    metric = "m",
    instance = "a",
    cluster = "c",
    unit = "By",
    resource = "n",
    kind = "gauge",
  } = samples;
  const table = kind === "gauge" ? "gauge" : "sum";
  const own = kind === "gauge" ? ["", ""] : [", IsMonotonic", `, ${kind === "counter"}`];
  await engine.database.command(
    `INSERT INTO ${databaseName}.otel_metrics_${table} (ResourceAttributes, MetricName, MetricUnit, MetricDescription, Attributes, TimeUnix, Value${own[0]})
     SELECT map('cluster_id', '${cluster}', 'cluster_name', '${resource}'), '${metric}', '${unit}', 'Text', map('instance', '${instance}'), time, 1${own[1]}
     FROM (SELECT arrayJoin([${samples.times.map(timeOf).join(", ")}]) AS time)`,
  );
}

interface SeriesRow {
  metric_name: string;
  day: string;
  kind: string;
  unit: string;
  labels: Record<string, string>;
  resource: Record<string, string>;
  first_ms: string;
  last_ms: string;
}

/** The rows as they are after a merge. */
async function storedSeries(): Promise<SeriesRow[]> {
  return await engine.database.query<SeriesRow>(
    `SELECT metric_name, day, kind, unit, labels, resource, toUnixTimestamp64Milli(first_time) AS first_ms, toUnixTimestamp64Milli(last_time) AS last_ms
     FROM ${databaseName}.series FINAL ORDER BY metric_name, labels['instance'], day, kind, unit`,
  );
}

// Waiting for readers must not take time.
const clock: Clock = { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(0, signal) };

async function fill(
  more: Partial<FillSettings> = {},
  database: Database = engine.database,
): Promise<FillResult> {
  const settings = { databaseName, clock, logger: createSilentLogger(), signal };
  return await fillSeries(database, { ...settings, settleMs: -1000, budgetMs: 600_000, ...more });
}

const readStart = async (): Promise<number | undefined> =>
  await readSeriesStart(engine.database, databaseName, signal);

const times = (rows: readonly SeriesRow[]): number[][] =>
  rows.map((row) => [Number(row.first_ms), Number(row.last_ms)]);

test("each INSERT adds its series: one row for a series and day, whatever the order of the INSERTs", async () => {
  await migrateTo(5);
  await insert({ times: [DAY + 3000, DAY + 5000] });
  await insert({ times: [DAY + 1000, DAY + 4000] });
  await insert({ times: [DAY + 3000, DAY + 5000] });
  await insert({ times: [DAY, DAY + DAY_MS - 1, DAY + DAY_MS, DAY + DAY_MS + 7], instance: "b" });
  const rows = await storedSeries();
  expect(times(rows)).toEqual([
    [DAY + 1000, DAY + 5000],
    [DAY, DAY + DAY_MS - 1],
    [DAY + DAY_MS, DAY + DAY_MS + 7],
  ]);
  expect(rows[0]).toMatchObject({
    metric_name: "m",
    day: new Date(DAY).toISOString().slice(0, 10),
    kind: "gauge",
    unit: "By",
    labels: { instance: "a" },
    resource: { cluster_id: "c", cluster_name: "n" },
  });
  await engine.database.command(`OPTIMIZE TABLE ${databaseName}.series FINAL`);
  expect(await storedSeries()).toEqual(rows);
  const stored = await engine.database.query(`SELECT count() AS n FROM ${databaseName}.series`);
  expect(stored).toEqual([{ n: "3" }]);
});

test("a type or unit that changes within a day is a row of its own; of resources the newest counts", async () => {
  await migrateTo(5);
  await insert({ times: [DAY + 1], kind: "gauge", resource: "old" });
  await insert({ times: [DAY + 2], kind: "gauge", resource: "new" });
  await insert({ times: [DAY + 3], kind: "sum" });
  await insert({ times: [DAY + 4], kind: "counter" });
  await insert({ times: [DAY + 5], kind: "counter", unit: "s" });
  const rows = await storedSeries();
  expect(rows.map((row) => [row.kind, row.unit, row.resource["cluster_name"]])).toEqual([
    ["counter", "By", "n"],
    ["counter", "s", "n"],
    ["gauge", "By", "new"],
    ["sum", "By", "n"],
  ]);
});

test("samples without a cluster have no row", async () => {
  await migrateTo(5);
  await insert({ times: [DAY], cluster: "" });
  expect(await storedSeries()).toEqual([]);
});

test("a database without samples is complete from the beginning", async () => {
  await migrateTo(4);
  expect(await readStart()).toBeUndefined();
  await migrateTo(5);
  expect(await readStart()).toBe(0);
});

test("of a database with samples nothing is known before they are filled in", async () => {
  await migrateTo(4);
  await insert({ times: [DAY] });
  await migrateTo(5);
  expect(await readStart()).toBeUndefined();
  await insert({ times: [DAY + 1] });
  expect(times(await storedSeries())).toEqual([[DAY + 1, DAY + 1]]);
});

/** Samples in the tables of version 4, then the upgrade. Returns what the views would have written of them. */
async function storeBeforeTheViews(days: readonly number[]): Promise<SeriesRow[]> {
  const own = databaseName;
  await migrateTo(4);
  for (const cluster of ["c", "d"]) {
    const times = days.flatMap((day) => [day, day + 7_200_000, day + DAY_MS - 1]);
    await insert({ cluster, times, instance: cluster });
  }
  await insert({ times: [...days], kind: "counter", metric: "c_total" });
  await insert({ times: [DAY + 3], kind: "sum", metric: "was_gauge" });
  await insert({ times: [DAY + 1], kind: "gauge", metric: "was_gauge", resource: "later" });
  await insert({ times: [DAY + 1], cluster: "" });
  databaseName = `${own}_views`;
  await migrateTo(5);
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum"]) {
    await engine.database.command(`INSERT INTO ${databaseName}.${table} SELECT * FROM ${own}.${table}`);
  }
  const expected = await storedSeries();
  databaseName = own;
  await migrateTo(5);
  expect(await storedSeries()).toEqual([]);
  return expected;
}

test("what was stored before the views existed is filled in, as they would have written it", async () => {
  const expected = await storeBeforeTheViews([DAY - 2 * DAY_MS, DAY - DAY_MS, DAY]);
  expect(await fill()).toEqual({ days: 3, isComplete: true });
  expect(await storedSeries()).toEqual(expected);
  expect(await readStart()).toBe(0);
  expect(await fill()).toEqual({ days: 0, isComplete: true });
});

test("it is filled day by day, the newest first, within the time that is given", async () => {
  const expected = await storeBeforeTheViews([DAY - 2 * DAY_MS, DAY - DAY_MS, DAY]);
  let now = 0;
  const slow: Clock = { ...clock, monotonic: () => now++ };
  expect(await fill({ clock: slow, budgetMs: 2 })).toEqual({ days: 1, isComplete: false });
  expect(await readStart()).toBe(DAY);
  expect(await storedSeries()).toEqual(expected.filter((row) => Date.parse(row.day) >= DAY));
  expect(await fill({ rowsMax: 2 })).toEqual({ days: 2, isComplete: true });
  expect(await storedSeries()).toEqual(expected);
});

test("nothing is filled before the INSERTs have ended that may have begun before the views existed", async () => {
  await storeBeforeTheViews([DAY - DAY_MS, DAY]);
  expect(await fill({ settleMs: 60_000 })).toEqual({ days: 0, isComplete: false });
  expect(await readStart()).toBeUndefined();
});

test(
  "a process that is killed at any statement leaves work that the next one ends",
  { timeout: 300_000 },
  async () => {
    const expected = await storeBeforeTheViews([DAY - DAY_MS, DAY]);
    for (let statement = 1; ; statement++) {
      for (const isDone of [false, true]) {
        for (const table of ["series", "series_days"]) {
          await engine.database.command(`TRUNCATE TABLE ${databaseName}.${table}`);
        }
        let commands = 0;
        const killed: Database = {
          ...engine.database,
          command: async (...call) => {
            const isFatal = ++commands === statement;
            if (!isFatal || isDone) await engine.database.command(...call);
            if (isFatal) throw new Error("killed");
          },
        };
        const ended = await fill({}, killed).catch(() => "killed");
        const start = await readStart();
        // Whatever a reader takes as complete must be.
        const known = expected.filter((row) => start !== undefined && Date.parse(row.day) >= start);
        expect(await storedSeries()).toEqual(expect.arrayContaining(known));
        await fill();
        expect(await storedSeries()).toEqual(expected);
        expect(await readStart()).toBe(0);
        if (ended === "killed") continue;
        expect(statement).toBeGreaterThan(7);
        return;
      }
    }
  },
);

test("two at once give what one gives", async () => {
  const expected = await storeBeforeTheViews([DAY - DAY_MS, DAY]);
  const results = await Promise.all([fill(), fill()]);
  expect(results.every(({ isComplete }) => isComplete)).toBe(true);
  expect(await storedSeries()).toEqual(expected);
});

test("rows that are missing for samples are added when their hours are rolled up", async () => {
  await migrateTo(5);
  const hour = 3_600_000;
  await insert({ times: [DAY + 1, DAY + 5 * hour] });
  await insert({ times: [DAY + 2 * hour + 7], instance: "b", kind: "counter", metric: "c_total" });
  await insert({ times: [DAY + DAY_MS], instance: "midnight" });
  const expected = await storedSeries();
  await engine.database.command(`TRUNCATE TABLE ${databaseName}.series`);
  await insert({ times: [DAY + 3] });
  await refreshRollups(engine.database, {
    databaseName,
    settleMs: -1000,
    clock,
    logger: createSilentLogger(),
    signal,
  });
  expect(await storedSeries()).toEqual(expected);
});

test("times come back as they were under the codec of 0006_time_codec.sql, in old parts and in new ones", async () => {
  await migrateTo(5);
  const table = `${databaseName}.otel_metrics_gauge`;
  // Aligned, jittered, with nanoseconds, and one alone.
  const offsets = [
    "number * 15000000000",
    "number * 30000000000 + (cityHash64(number) % 400) * 1000000",
    "cityHash64(number) % 3600000000000",
    "7",
  ];
  const insertAll = async (instance: string): Promise<void> => {
    for (const [n, offset] of offsets.entries()) {
      await engine.database.command(
        `INSERT INTO ${table} (ResourceAttributes, MetricName, Attributes, TimeUnix, Value)
         SELECT map('cluster_id', 'c'), 'm', map('instance', '${instance} ${n}'), fromUnixTimestamp64Nano(toInt64(${DAY}) * 1000000 + toInt64(${offset}), 'UTC'), ${offset}
         FROM numbers(${n === 3 ? 1 : 2000}) WHERE ${offset} < 86400000000000`,
      );
    }
  };
  await insertAll("old");
  await migrateTo(6);
  await insertAll("new");
  const wrong = `SELECT countIf(toUnixTimestamp64Nano(TimeUnix) - toInt64(${DAY}) * 1000000 != toInt64(Value)) AS wrong, count() AS n FROM ${table}`;
  const before = await engine.database.query<{ wrong: string; n: string }>(wrong);
  expect(before[0]?.wrong).toBe("0");
  await engine.database.command(`OPTIMIZE TABLE ${table} FINAL`);
  expect(await engine.database.query(wrong)).toEqual(before);
  const [column] = await engine.database.query<{ codec: string }>(
    "SELECT compression_codec AS codec FROM system.columns WHERE database = {name:String} AND table = 'otel_metrics_gauge' AND name = 'TimeUnix'",
    { name: databaseName },
  );
  expect(column?.codec).toBe("CODEC(GCD, Delta(8), ZSTD(1, 20))");
});
