import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
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
  expect(await readSeriesStart(engine.database, databaseName, signal)).toBeUndefined();
  await migrateTo(5);
  expect(await readSeriesStart(engine.database, databaseName, signal)).toBe(0);
});

test("of a database with samples nothing is known before they are filled in", async () => {
  await migrateTo(4);
  await insert({ times: [DAY] });
  await migrateTo(5);
  expect(await readSeriesStart(engine.database, databaseName, signal)).toBeUndefined();
  await insert({ times: [DAY + 1] });
  expect(times(await storedSeries())).toEqual([[DAY + 1, DAY + 1]]);
});
