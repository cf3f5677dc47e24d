import { beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { OBJECTS } from "#storage/layout.ts";
import { migrate, type MigrateSettings } from "#storage/migrate.ts";
import { migrationStatus, planMigrate } from "#storage/migration-plan.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

const engine = useEngine({ migrated: false });
const FILES = [
  "0001_tables.sql",
  "0002_views.sql",
  "0003_rollups.sql",
  "0004_series_identity.sql",
  "0005_series.sql",
  "0006_time_codec.sql",
  "0007_stale_markers.sql",
];
let count = 0;
let databaseName = "";

beforeEach(() => {
  databaseName = `plan_${++count}`;
});

function settings(more: Partial<MigrateSettings["parameters"]> = {}): MigrateSettings {
  return {
    parameters: { database: databaseName, retentionDays: 30, ...more },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  };
}

/** All that is in the database: names, definitions and the number of rows. */
async function everything(): Promise<unknown> {
  return await engine.database.query(
    "SELECT name, create_table_query, total_rows FROM system.tables WHERE database = {name:String} ORDER BY name",
    { name: databaseName },
  );
}

/** The engine under another version's name. */
function ofVersion(version: string): Database {
  return {
    ...engine.database,
    query: async <Row>(sql: string, parameters?: Parameters<Database["query"]>[1], signal?: AbortSignal) =>
      sql.includes("version()") ? [{ version } as Row] : engine.database.query<Row>(sql, parameters, signal),
  };
}

test("says what would be done, and does none of it", async () => {
  const plan = await planMigrate(engine.database, settings());
  expect(plan.pending.map(({ name, statements }) => [name, statements.length])).toEqual([
    [FILES[0], 5],
    [FILES[1], 6],
    [FILES[2], 9],
    [FILES[3], 5],
    [FILES[4], 5],
    [FILES[5], 5],
    [FILES[6], 15],
  ]);
  expect(plan.pending[0]?.statements[0]).toContain(
    `CREATE TABLE IF NOT EXISTS ${databaseName}.otel_metrics_gauge`,
  );
  expect(plan.retention).toEqual([]);
  expect(plan.serverVersion).toMatch(/^\d+\.\d+\./);
  const databases = await engine.database.query(
    "SELECT name FROM system.databases WHERE name = {name:String}",
    {
      name: databaseName,
    },
  );
  expect(databases).toEqual([]);

  await migrate(engine.database, settings());
  const before = await everything();
  const changed = await planMigrate(engine.database, settings({ retentionDays: 7 }));
  expect(changed.pending).toEqual([]);
  expect(changed.retention).toHaveLength(2 * 9);
  expect(changed.retention.slice(0, 2)).toEqual([
    `ALTER TABLE ${databaseName}.otel_metrics_exponential_histogram MODIFY SETTING materialize_ttl_recalculate_only = 1`,
    `ALTER TABLE ${databaseName}.otel_metrics_exponential_histogram MODIFY TTL toDateTime(TimeUnix) + INTERVAL 7 DAY SETTINGS materialize_ttl_after_modify = 1`,
  ]);
  expect(await everything()).toEqual(before);
});

test("what was planned is what is sent", async () => {
  const plan = await planMigrate(engine.database, settings());
  const sent: string[] = [];
  const recording: Database = {
    ...engine.database,
    command: async (sql, parameters, signal) => {
      sent.push(sql);
      await engine.database.command(sql, parameters, signal);
    },
  };
  await migrate(recording, settings());
  const planned = plan.pending.flatMap((file) => file.statements);
  expect(sent.filter((sql) => planned.includes(sql))).toEqual(planned);
});

test("the status names what is applied, pending, changed and unknown", async () => {
  const empty = await migrationStatus(engine.database, settings());
  expect(empty).toMatchObject({ applied: [], pending: FILES, foreign: [], serverSupported: true });
  expect(empty.retention).toEqual([]);

  await migrate(engine.database, settings());
  const full = await migrationStatus(engine.database, settings({ retentionDays: 31 }));
  expect(full.applied.map(({ name, state }) => [name, state])).toEqual(
    FILES.map((name) => [name, "applied"]),
  );
  expect(full.applied[0]?.appliedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(full).toMatchObject({ pending: [], foreign: [] });
  expect(full.retention).toContainEqual({ table: "rollup_marks", days: 30, wantedDays: 31 });

  await engine.database.command(
    `INSERT INTO ${databaseName}.migrations (version, name, checksum) SELECT 2, '0002_views.sql', 'x' UNION ALL SELECT 9, '0009_new.sql', 'y'`,
  );
  const broken = await migrationStatus(engine.database, settings());
  expect(broken.applied.map(({ state }) => state)).toEqual([
    "applied",
    "changed",
    ...FILES.slice(2).map(() => "applied"),
    "unknown",
  ]);
  expect((await bridgeErrorOf(planMigrate(engine.database, settings()))).code).toBe("migration_conflict");
});

test("every object that the migrations make is known to the check of layouts", async () => {
  await migrate(engine.database, settings());
  const names = await engine.database.query<{ name: string }>(
    "SELECT name FROM system.tables WHERE database = {name:String} AND NOT startsWith(name, 'migration_lock_')",
    { name: databaseName },
  );
  expect(names.map((row) => row.name).toSorted()).toEqual(OBJECTS.toSorted());
});

describe("tables of others", () => {
  // The exporter's own DDL (create_schema: true), cut to what tells it apart; the older one has no ServiceName.
  const exporterTable = (service: string, table: string) => `CREATE TABLE ${databaseName}.${table} (
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)), ScopeName String CODEC(ZSTD(1)), ${service}
    MetricName String CODEC(ZSTD(1)), Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    TimeUnix DateTime64(9) CODEC(Delta, ZSTD(1)), Value Float64 CODEC(ZSTD(1)),
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1
  ) ENGINE = MergeTree PARTITION BY toDate(TimeUnix) ORDER BY (MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix))
  TTL toDateTime(TimeUnix) + toIntervalDay(3) SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1`;

  test.each([
    ["the exporter's", "ServiceName LowCardinality(String) CODEC(ZSTD(1)),"],
    ["the older exporter's", ""],
  ])("%s own tables are named and left as they are", async (_name, service) => {
    await engine.database.command(`CREATE DATABASE ${databaseName}`);
    await engine.database.command(exporterTable(service, "otel_metrics_sum"));
    await engine.database.command(exporterTable(service, "otel_metrics_gauge"));
    const before = await everything();
    for (const run of [migrate, planMigrate]) {
      const error = await bridgeErrorOf(run(engine.database, settings()));
      expect(error.code).toBe("storage_layout_unknown");
      expect(error.message).toBe(
        `the database ${databaseName} has tables of another layout: ` +
          "otel_metrics_gauge: its engine is MergeTree, not ReplacingMergeTree; otel_metrics_sum: its engine is MergeTree, not ReplacingMergeTree",
      );
      expect(error.hint).toContain("RENAME TABLE");
      expect(error.hint).toContain("CLICKHOUSE_DATABASE");
    }
    expect(await everything()).toEqual(before);
    expect((await migrationStatus(engine.database, settings())).foreign).toHaveLength(2);
    for (const table of ["gauge", "sum"]) {
      await engine.database.command(
        `RENAME TABLE ${databaseName}.otel_metrics_${table} TO ${databaseName}.old_${table}`,
      );
    }
    expect((await migrate(engine.database, settings())).applied).toEqual(FILES);
  });

  test.each([
    ["CREATE TABLE {{db}}.samples (a Int8) ENGINE = Memory", "samples: its engine is Memory, not View"],
    [
      "CREATE VIEW {{db}}.hourly_gauge AS SELECT 1 AS a",
      "hourly_gauge: it has no column series_id, hour_end, labels, last_value",
    ],
    [
      "CREATE TABLE {{db}}.migrations (version Int32, file String) ENGINE = ReplacingMergeTree ORDER BY version",
      "migrations: it has no column name, checksum",
    ],
    [
      "CREATE TABLE {{db}}.migrations (version Int32, name String, checksum String) ENGINE = ReplacingMergeTree ORDER BY name",
      "migrations: it is sorted by (name)",
    ],
  ])("%s is refused", async (sql, why) => {
    await engine.database.command(`CREATE DATABASE ${databaseName}`);
    await engine.database.command(sql.replace("{{db}}", databaseName));
    const before = await everything();
    const error = await bridgeErrorOf(migrate(engine.database, settings()));
    expect([error.code, error.message]).toEqual([
      "storage_layout_unknown",
      `the database ${databaseName} has tables of another layout: ${why}`,
    ]);
    expect(await everything()).toEqual(before);
    const status = await migrationStatus(engine.database, settings());
    expect([status.foreign, status.applied]).toEqual([[why], []]);
  });

  test("of other names are none of our business, whatever their retention", async () => {
    await engine.database.command(`CREATE DATABASE ${databaseName}`);
    await engine.database.command(exporterTable("", "otel_metrics_of_somebody"));
    await engine.database.command(`CREATE TABLE ${databaseName}.orders (a Int8) ENGINE = Memory`);
    const before = await everything();
    await migrate(engine.database, settings());
    await migrate(engine.database, settings({ retentionDays: 5 }));
    const after = (await everything()) as { name: string }[];
    expect(after.filter(({ name }) => ["orders", "otel_metrics_of_somebody"].includes(name))).toEqual(before);
  });
});

test.each(["25.7.9.1", "24.12.1.1", "", "x"])("a server of version %j is refused", async (version) => {
  for (const run of [migrate, planMigrate]) {
    const error = await bridgeErrorOf(run(ofVersion(version), settings()));
    expect([error.code, error.message]).toEqual([
      "storage_version_unsupported",
      `ClickHouse ${version} is too old: 25.8 or newer is needed`,
    ]);
  }
  const status = await migrationStatus(ofVersion(version), settings());
  expect(status).toMatchObject({ serverSupported: false, serverVersionMin: "25.8", serverVersion: version });
});

test.each(["25.8.1.1", "25.12.1.1", "26.1.1.1"])("a server of version %s is taken", async (version) => {
  expect((await planMigrate(ofVersion(version), settings())).pending).toHaveLength(FILES.length);
});

describe("on a cluster", () => {
  // No cluster of servers: the statements are read and parsed one by one instead of run.
  const cluster = "prod";

  test("each statement is made everywhere, with replicated engines, and parses", async () => {
    const plan = await planMigrate(engine.database, settings({ cluster }));
    const statements = plan.pending.flatMap((file) => file.statements);
    expect(statements).toHaveLength(50);
    for (const statement of statements) {
      await engine.database.query("SELECT formatQuery({sql:String}) AS sql", { sql: statement });
      const [, object] =
        /^CREATE (TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS \S+ ON CLUSTER prod\b/.exec(statement) ??
        /^CREATE OR REPLACE (VIEW) \S+ ON CLUSTER prod\b/.exec(statement) ??
        [];
      const isInsert = statement.startsWith("INSERT INTO");
      const isAlter = /^ALTER TABLE \S+ ON CLUSTER prod\s+MODIFY (COLUMN|QUERY)\s/.test(statement);
      expect([statement.slice(0, 80), isInsert || isAlter || object !== undefined]).toEqual([
        expect.anything(),
        true,
      ]);
      const engines = [...statement.matchAll(/^ENGINE = (\w+)/gm)].map(([, name]) => name);
      expect(engines.filter((name) => !name?.startsWith("Replicated"))).toEqual([]);
      expect(engines).toHaveLength(object === "TABLE" ? 1 : 0);
    }
  });

  test("the retention is changed everywhere", async () => {
    await migrate(engine.database, settings());
    const plan = await planMigrate(engine.database, settings({ cluster, retentionDays: 8 }));
    expect(plan.retention).toHaveLength(18);
    for (const statement of plan.retention) {
      expect(statement).toMatch(/^ALTER TABLE \S+ ON CLUSTER prod MODIFY (SETTING|TTL) /);
      await engine.database.query("SELECT formatQuery({sql:String}) AS sql", { sql: statement });
    }
  });

  test("database, lock and list are made everywhere too", async () => {
    const sent: string[] = [];
    const local: Database = {
      ...engine.database,
      command: async (sql, parameters, signal) => {
        sent.push(sql);
        // This engine has no cluster and no Keeper.
        const here = sql.replaceAll("ON CLUSTER prod", "").replaceAll(/\bReplicated(\w*MergeTree)/g, "$1");
        await engine.database.command(here, parameters, signal);
      },
    };
    await migrate(local, settings({ cluster }));
    const changes = sent.filter((sql) => !sql.startsWith("INSERT INTO"));
    expect(changes.filter((sql) => !sql.includes("ON CLUSTER prod"))).toEqual([]);
    expect(changes.filter((sql) => /CREATE DATABASE|migration_lock_|\.migrations /.test(sql))).toHaveLength(
      4,
    );
  });
});
