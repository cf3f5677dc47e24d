import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { systemClock, type Clock } from "#lib/clock.ts";
import { migrate, type MigrateSettings } from "#storage/migrate.ts";
import { migrationStatus } from "#storage/migration-plan.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const engine = useEngine({ migrated: false });
const folder = createTemporaryFolder();
// Waiting for a lock must not wait for real.
const impatient: Clock = { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(1, signal) };
let count = 0;
let databaseName = "";

beforeEach(() => {
  databaseName = `test_${++count}`;
});

function settings(more: Partial<MigrateSettings> = {}): MigrateSettings {
  return {
    parameters: { database: databaseName, retentionDays: 30 },
    clock: impatient,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
    ...more,
  };
}

function writeMigrations(files: Record<string, string>): string {
  const directory = join(folder, `migrations-${count}`);
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

async function tableNames(): Promise<string[]> {
  const sql = "SELECT name FROM system.tables WHERE database = {name:String} ORDER BY name";
  const rows = await engine.database.query<{ name: string }>(sql, { name: databaseName });
  return rows.map((row) => row.name).filter((name) => !name.startsWith("migration"));
}

const TABLES = ["exponential_histogram", "gauge", "histogram", "sum", "summary"].map(
  (kind) => `otel_metrics_${kind}`,
);
const ROLLUPS = ["counter", "gauge", "marks", "marks_gauge", "marks_sum"].map((name) => `rollup_${name}`);
const VIEWS = ["samples", "samples_gauge", "samples_sum"];
const SERIES = ["series", "series_days", "series_gauge", "series_sum"];
const HOURLY = ["hourly_counter", "hourly_gauge"];
const FILES = [
  "0001_tables.sql",
  "0002_views.sql",
  "0003_rollups.sql",
  "0004_series_identity.sql",
  "0005_series.sql",
  "0006_time_codec.sql",
  "0007_stale_markers.sql",
];

test("makes tables and views once, with the retention asked for", async () => {
  const first = await migrate(engine.database, settings());
  expect(first).toEqual({ applied: FILES, version: 7 });
  const names = [
    "exponential_histograms",
    "histograms",
    ...HOURLY,
    ...TABLES,
    ...ROLLUPS,
    ...VIEWS,
    ...SERIES,
    "stale_markers",
    "summaries",
  ];
  expect(await tableNames()).toEqual(names);
  const [table] = await engine.database.query<{ engine_full: string; primary_key: string }>(
    "SELECT engine_full, primary_key FROM system.tables WHERE database = {name:String} AND name = 'otel_metrics_sum'",
    { name: databaseName },
  );
  expect(table?.engine_full).toContain("ReplacingMergeTree");
  expect(table?.engine_full).toContain("toIntervalDay(30)");
  expect(table?.primary_key).toBe("cluster_id, MetricName, toStartOfHour(TimeUnix), series_id");
  expect(await migrate(engine.database, settings())).toEqual({ applied: [], version: 7 });
});

test("a retention that is changed later reaches the tables that exist, and what is stored in them", async () => {
  await migrate(engine.database, settings());
  const daysAgo = [1, 10, 20].map((days) => `now64(9, 'UTC') - INTERVAL ${days} DAY`);
  await engine.database.command(
    `INSERT INTO ${databaseName}.otel_metrics_gauge (ResourceAttributes, MetricName, TimeUnix, Value)
     SELECT map('cluster_id', 'c'), 'm', arrayJoin([${daysAgo.join(", ")}]), 1`,
  );
  await migrate(engine.database, settings({ parameters: { database: databaseName, retentionDays: 15 } }));
  const plan = {
    parameters: { database: databaseName, retentionDays: 15 },
    signal: new AbortController().signal,
  };
  const { retention } = await migrationStatus(engine.database, plan);
  expect(retention.map(({ days }) => days)).toEqual(Array(9).fill(15));
  const left = `SELECT count() AS n, (
      SELECT countIf(NOT is_done) FROM system.mutations WHERE database = {name:String}
    ) AS waiting FROM ${databaseName}.otel_metrics_gauge`;
  await expect
    .poll(() => engine.database.query(left, { name: databaseName }), { timeout: 20_000, interval: 50 })
    .toEqual([{ n: "2", waiting: "0" }]);
  const marks = await engine.database.query(`SELECT count() AS n FROM ${databaseName}.rollup_marks`);
  expect(marks).toEqual([{ n: "3" }]);

  await migrate(engine.database, settings({ parameters: { database: databaseName, retentionDays: 400 } }));
  const newDates = `SELECT DISTINCT dateDiff('day', max_time, delete_ttl_info_max) AS days FROM system.parts
    WHERE database = {name:String} AND table = 'otel_metrics_gauge' AND active AND rows > 0`;
  await expect
    .poll(() => engine.database.query(newDates, { name: databaseName }), { timeout: 20_000, interval: 50 })
    .toEqual([{ days: "400" }]);
});

test("each family has its own retention, from the first migration on, and a later one leaves it", async () => {
  const parameters = {
    database: databaseName,
    retentionDays: 30,
    rollupRetentionDays: 60,
    seriesRetentionDays: 90,
  };
  const wanted = { otel: 30, rollup: 60, series: 90 };
  const retention = async () =>
    (await migrationStatus(engine.database, { parameters, signal: new AbortController().signal })).retention;
  for (const _run of ["first", "later"]) {
    await migrate(engine.database, settings({ parameters }));
    for (const { table, days } of await retention()) {
      expect([table, days]).toEqual([table, wanted[table.split("_")[0] as keyof typeof wanted]]);
    }
    expect(await retention()).toHaveLength(9);
  }
});

test("several at once apply everything exactly once", async () => {
  const results = await Promise.all(Array.from({ length: 4 }, () => migrate(engine.database, settings())));
  expect(results.flatMap((result) => result.applied)).toEqual(FILES);
  const rows = await engine.database.query(`SELECT version FROM ${databaseName}.migrations ORDER BY version`);
  expect(rows).toEqual([1, 2, 3, 4, 5, 6, 7].map((version) => ({ version })));
  // Only the newest generation of the lock is left.
  const locks = await engine.database.query(
    "SELECT name FROM system.tables WHERE database = {name:String} AND startsWith(name, 'migration_lock_')",
    { name: databaseName },
  );
  expect(locks).toHaveLength(1);
});

test("takes a lock over from a process that died, but not from one that lives", async () => {
  const directory = writeMigrations({ "0001_a.sql": "CREATE TABLE {{db}}.a (x Int8) ENGINE = Memory" });
  const hold = async (until: string): Promise<void> => {
    await engine.database.command(`CREATE DATABASE IF NOT EXISTS ${databaseName}`);
    const now = await engine.database.query<{ ms: string }>(
      `SELECT toUnixTimestamp64Milli(now64(3) ${until}) AS ms`,
    );
    await engine.database.command(
      `CREATE TABLE ${databaseName}.migration_lock_000007 (nothing UInt8) ENGINE = MergeTree ORDER BY tuple() COMMENT 'somebody ${now[0]?.ms}'`,
    );
  };
  await hold("+ INTERVAL 30 SECOND");
  const error = await bridgeErrorOf(migrate(engine.database, settings({ directory, lockWaitMs: 50 })));
  expect([error.code, error.message]).toEqual([
    "migration_failed",
    "another process is migrating this database",
  ]);
  await engine.database.command(`DROP TABLE ${databaseName}.migration_lock_000007 SYNC`);
  await hold("- INTERVAL 1 SECOND");
  expect((await migrate(engine.database, settings({ directory }))).applied).toEqual(["0001_a.sql"]);
});

test("goes on from where an older version of the files ended", async () => {
  const directory = writeMigrations({ "0001_a.sql": "CREATE TABLE {{db}}.a (x Int8) ENGINE = Memory" });
  await migrate(engine.database, settings({ directory }));
  writeMigrations({ "0002_b.sql": "ALTER TABLE {{db}}.a ADD COLUMN IF NOT EXISTS y Int8" });
  expect((await migrate(engine.database, settings({ directory }))).applied).toEqual(["0002_b.sql"]);
});

test("names file and statement that failed, and does it again from the first statement", async () => {
  const good = "CREATE TABLE IF NOT EXISTS {{db}}.a (x Int8) ENGINE = Memory; -- first; of two\n";
  const directory = writeMigrations({ "0001_a.sql": `${good}INSERT INTO {{db}}.missing SELECT 1;` });
  const error = await bridgeErrorOf(migrate(engine.database, settings({ directory })));
  expect(error.code).toBe("migration_failed");
  expect(error.message).toContain("0001_a.sql, statement 2 of 2: ");
  expect(error.message).toContain("UNKNOWN_TABLE");
  expect(error.details).toMatchObject({ file: "0001_a.sql", statement: 2, clickhouse_code: 60 });
  writeMigrations({ "0001_a.sql": good });
  expect((await migrate(engine.database, settings({ directory }))).applied).toEqual(["0001_a.sql"]);
});

test("refuses a database that other files have made", async () => {
  const a = "CREATE TABLE IF NOT EXISTS {{db}}.a (x Int8) ENGINE = Memory;";
  const directory = writeMigrations({ "0001_a.sql": a, "0003_c.sql": a });
  await migrate(engine.database, settings({ directory }));

  const older = join(folder, "older");
  cpSync(join(directory, "0001_a.sql"), join(older, "0001_a.sql"));
  const newer = await bridgeErrorOf(migrate(engine.database, settings({ directory: older })));
  expect([newer.code, newer.message]).toEqual([
    "migration_conflict",
    "the database has the migration 0003_c.sql, unknown to this version",
  ]);

  writeMigrations({ "0002_b.sql": a });
  const skipped = await bridgeErrorOf(migrate(engine.database, settings({ directory })));
  expect([skipped.code, skipped.message]).toEqual([
    "migration_conflict",
    "0002_b.sql was never applied, but a later migration was",
  ]);

  writeMigrations({ "0001_a.sql": `${a} ` });
  const changed = await bridgeErrorOf(migrate(engine.database, settings({ directory })));
  expect([changed.code, changed.message]).toEqual([
    "migration_conflict",
    "0001_a.sql has changed since it was applied as 0001_a.sql",
  ]);
});

test.each([
  { database: "a; DROP TABLE x", retentionDays: 1 },
  { database: "ok", retentionDays: 0 },
  { database: "ok", retentionDays: 1.5 },
  { database: "ok", retentionDays: 2, rollupRetentionDays: 1 },
  { database: "ok", retentionDays: 2, seriesRetentionDays: 1 },
  { database: "ok", retentionDays: 2, rollupRetentionDays: 4, seriesRetentionDays: 3 },
  { database: "ok", retentionDays: 1, cluster: "a b" },
])("refuses the parameters %j", async (parameters) => {
  expect((await bridgeErrorOf(migrate(engine.database, settings({ parameters })))).code).toBe(
    "config_invalid",
  );
});

test("an abort ends the waiting for the lock", async () => {
  await migrate(engine.database, settings());
  const reason = new Error("stop");
  await expect(migrate(engine.database, settings({ signal: AbortSignal.abort(reason) }))).rejects.toBe(
    reason,
  );
});
