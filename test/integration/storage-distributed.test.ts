import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createReadClusterCompleteness } from "#query/cluster-completeness.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesRequest } from "#query/series/series.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { createWorld } from "#simulator/world.ts";
import { CLUSTER_OBJECTS, SAMPLE_TABLES } from "#storage/layout.ts";
import { migrate } from "#storage/migrate.ts";
import type { MigrationParameters } from "#storage/migration-parameters.ts";
import { migrationStatus, planMigrate } from "#storage/migration-plan.ts";
import { isUpToDate } from "#storage/migration-report.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { fillSeries } from "#storage/series-fill.ts";
import { readSeriesStart } from "#storage/series.ts";
import { splitStatements } from "#storage/sql-file.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { SHARDS, useShardedEngine } from "../helpers/sharded-engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { marker, storeMetrics, storeRecord, storeWorld } from "../helpers/stored-world.ts";

// What an engine of one process can show of shards: its cluster has itself twice (test/helpers/sharded-engine.ts).

const engine = useShardedEngine();
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const AS_OF_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 30 * MINUTE_MS;
/** Their hashes are odd and even: one on each shard. */
const CLUSTERS = ["sim-1", "sim-3"] as const;
const shards = { database: "metrics_all", cluster: "shards" };
const impatient: Clock = { ...systemClock, sleep: async (_ms, signal) => systemClock.sleep(1, signal) };
const signal = new AbortController().signal;

const settings = (more: Partial<MigrationParameters> = {}) => ({
  parameters: { database: "metrics", retentionDays: 90, shards, ...more },
  clock: systemClock,
  logger: createSilentLogger(),
  signal,
});

/** The engine as the Collector's exporter is configured for shards: it inserts into the Distributed tables. */
function asCollector(database: EmbeddedDatabase): EmbeddedDatabase {
  return {
    ...database,
    insertRowBinary: (table, ...more) =>
      database.insertRowBinary(table.replace(/^metrics\./, `${shards.database}.`), ...more),
  };
}

const count = async (sql: string): Promise<number> =>
  Number((await engine.database.query<{ n: string }>(`SELECT count() AS n FROM ${sql}`))[0]?.n);

beforeAll(async () => {
  await migrate(engine.database, settings());
  for (const id of CLUSTERS) {
    const clock = createManualClock(AS_OF_MS + 10 * MINUTE_MS);
    const shape = { pods: 2, cpus: 1, gpus: 2, scrapeIntervalMs: 60_000 };
    const world = createWorld({ clock }, { shape, clusters: 3 }).cluster(id);
    const names = world.metrics
      .map(({ name }) => name)
      .filter((name) => /^(node|kube|container|DCGM)_/.test(name));
    const window = {
      fromMs: AS_OF_MS - 2.5 * HOUR_MS,
      toMs: AS_OF_MS + MINUTE_MS,
      metrics: names,
    };
    await storeWorld(asCollector(engine.database), world, window);
    for (const atMs of [AS_OF_MS - 2 * HOUR_MS, AS_OF_MS + 2 * MINUTE_MS]) {
      const watermarkMs = Math.min(atMs, AS_OF_MS);
      await storeRecord(asCollector(engine.database), id, { atMs, watermarkMs, queries: names, read: 100 });
    }
  }
}, 300_000);

test("a row goes to the shard of its cluster, once, with its series and marks", async () => {
  const [spread] = await engine.database.query<{ n: string }>(
    `SELECT uniqExact(cityHash64(arrayJoin(${JSON.stringify(CLUSTERS).replaceAll('"', "'")})) % ${SHARDS}) AS n`,
  );
  expect(Number(spread?.n)).toBe(SHARDS);
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum", "series", "rollup_marks"]) {
    const stored = await count(`metrics.${table}`);
    expect(stored).toBeGreaterThan(100);
    // Without a condition both shards are read, and both are this engine.
    expect([table, await count(`metrics_all.${table}`)]).toEqual([table, SHARDS * stored]);
    for (const id of CLUSTERS) {
      const ofOne = `WHERE cluster_id = '${id}' SETTINGS force_optimize_skip_unused_shards = 2`;
      const own = await count(`metrics.${table} WHERE cluster_id = '${id}'`);
      expect([table, id, await count(`metrics_all.${table} ${ofOne}`)]).toEqual([table, id, own]);
    }
  }
  expect(await engine.database.query("SELECT * FROM metrics_all.samples WHERE cluster_id = 'none'")).toEqual(
    [],
  );
});

test("a stale marker goes to the shard of its cluster, and is found there", async () => {
  for (const id of CLUSTERS) {
    const ends = [marker({ instance: "x" }, AS_OF_MS)];
    await storeMetrics(asCollector(engine.database), id, [{ name: "ended", kind: "gauge", points: ends }]);
    const skipped = "SETTINGS force_optimize_skip_unused_shards = 2";
    for (const where of [
      `= 'stale/${id}'`,
      `IN ('${id}', 'stale/${id}')`,
      `IN ('${id}', concat('stale/', '${id}'))`,
    ]) {
      const from = `otel_metrics_gauge WHERE cluster_id ${where} AND MetricName = 'ended'`;
      expect([where, await count(`metrics_all.${from} ${skipped}`)]).toEqual([where, 1]);
    }
    // Of the shard that cluster_id = 'X' asks.
    expect(await count(`metrics_all.stale_markers WHERE cluster_id = '${id}' ${skipped}`)).toBe(1);
    const [shard] = await engine.database.query<{ same: number }>(
      `SELECT uniqExact(_shard_num) = 1 AS same FROM metrics_all.otel_metrics_gauge
       WHERE cluster_id IN ('${id}', 'stale/${id}') SETTINGS optimize_skip_unused_shards = 1`,
    );
    expect(shard?.same).toBe(1);
  }
});

/** Every kind of answer about a cluster, from one of the two databases. */
function questions(databaseName: string, clusterId: string): Record<string, () => Promise<unknown>> {
  const query = { ...QUERY_DEFAULTS, databaseName };
  const deps = { database: engine.database, clock: createManualClock(AS_OF_MS + 3 * MINUTE_MS) };
  const state = createClusterState(deps, query);
  const lookup = createMetricLookup(deps, query);
  const series = createSeriesQuery(deps, query);
  const range = { startMs: AS_OF_MS - 2 * HOUR_MS, endMs: AS_OF_MS };
  const request = { clusterId, signal };
  const ask = (more: Pick<SeriesRequest, "metric" | "aggregation"> & Partial<SeriesRequest>) =>
    series({ clusterId, ...range, ...more });
  const ten = { startMs: AS_OF_MS - 10 * 24 * HOUR_MS, stepMs: HOUR_MS };
  const counter = "node_cpu_seconds_total";
  return {
    summary: () => state.summary(request),
    longSummary: () => state.summary({ ...request, fromMs: AS_OF_MS - 240 * HOUR_MS, toMs: AS_OF_MS }),
    health: () => state.health(request),
    nodes: () => state.nodes(request),
    pods: () => state.pods(request),
    gpus: () => state.gpus(request),
    metrics: () => lookup.metrics(request),
    labels: () => lookup.labels({ ...request, metric: counter }),
    latest: () => lookup.latest({ ...request, metric: "node_load1" }),
    average: () => ask({ metric: "node_load1", aggregation: "avg", groupBy: ["*"] }),
    quantile: () => ask({ metric: "node_load1", aggregation: "p95" }),
    // These read stale markers, too.
    count: () => ask({ metric: "kube_pod_info", aggregation: "count" }),
    lastByNode: () => ask({ metric: "node_load1", aggregation: "last", groupBy: ["k8s.node.name"] }),
    rate: () => ask({ metric: counter, aggregation: "rate", groupBy: ["mode"] }),
    filtered: () =>
      ask({
        metric: counter,
        aggregation: "increase",
        filters: [{ label: "mode", op: "=", value: "idle" }],
      }),
    node: () => ask({ metric: "node_load1", aggregation: "max", groupBy: ["k8s.node.name"] }),
    hours: () => ask({ metric: counter, aggregation: "rate", groupBy: ["mode"], ...ten }),
    gaugeHours: () => ask({ metric: "node_load1", aggregation: "avg", ...ten }),
    completeness: () => createReadClusterCompleteness(deps, query)(request),
  };
}

/** What reads the hours of the roll-ups. */
const HOURS = ["longSummary", "hours", "gaugeHours"];

async function compareAnswers(id: string, names?: readonly string[]): Promise<void> {
  const ofTables = questions("metrics", id);
  const ofShards = questions(shards.database, id);
  for (const name of names ?? Object.keys(ofTables)) {
    const expected = await ofTables[name]?.();
    expect({ [name]: await ofShards[name]?.() }).toEqual({ [name]: expected });
    expect(JSON.stringify(expected)).toContain(name === "latest" ? "node_load1" : id);
  }
}

test(
  "all answers are those of the tables themselves, also when hours are rolled up in each shard's own tables",
  { timeout: 300_000 },
  async () => {
    await compareAnswers(CLUSTERS[0], HOURS);
    const refreshed = await refreshRollups(engine.database, {
      databaseName: "metrics",
      settleMs: -1000,
      clock: impatient,
      logger: createSilentLogger(),
      signal,
    });
    expect(refreshed.hours).toBeGreaterThan(5);
    await compareAnswers(CLUSTERS[1]);
  },
);

test("the table series is complete as far as that of each shard is", async () => {
  const start = () => readSeriesStart(engine.database, shards.database, signal);
  expect(await start()).toBe(0);
  await engine.database.command("TRUNCATE TABLE metrics.series_days");
  expect(await start()).toBeUndefined();
  const filled = await fillSeries(engine.database, {
    databaseName: "metrics",
    settleMs: -1000,
    budgetMs: 60_000,
    clock: impatient,
    logger: createSilentLogger(),
    signal,
  });
  expect(filled.isComplete).toBe(true);
  expect(await start()).toBe(0);
});

test("copying a shard's foreign rows as docs/clickhouse.md says makes the same rows", async () => {
  const text = readFileSync("docs/clickhouse.md", "utf8");
  const block = /```sql\n\s*-- on shard 1 of 2, to all other shards\n([\s\S]*?)```/.exec(text)?.[1] ?? "";
  const statements = splitStatements(block).filter((sql) => sql.startsWith("INSERT"));
  const tables = [...SAMPLE_TABLES, "rollup_gauge", "rollup_counter", "series"];
  expect(statements.map((sql) => /INTO metrics_all\.(\w+) SELECT/.exec(sql)?.[1])).toEqual(tables);
  const all = async () => {
    const rows: unknown[] = [];
    for (const table of tables) {
      // But for the time at which a roll-up was computed.
      const columns = table.startsWith("rollup_") ? "* EXCEPT rolled_at" : "*, cluster_id, series_id";
      const sql = `SELECT count() AS n, sum(cityHash64(toString(tuple(${columns})))) AS hash FROM metrics.${table} FINAL`;
      rows.push(...(await engine.database.query(sql)));
    }
    return rows;
  };
  const before = await all();
  const [{ n } = { n: "0" }] = await engine.database.query<{ n: string }>(
    "SELECT count() AS n FROM metrics.otel_metrics_sum WHERE cityHash64(ResourceAttributes['cluster_id']) % 2 != 0",
  );
  expect(Number(n)).toBeGreaterThan(100);
  for (const statement of statements) await engine.database.command(statement);
  expect(await all()).toEqual(before);
});

describe("migrate", () => {
  const upToDate = async () => isUpToDate(await migrationStatus(engine.database, settings()));

  test("makes a Distributed table of everything with a cluster_id, and has nothing to do then", async () => {
    const tables = await engine.database.query<{ name: string; engine: string }>(
      "SELECT name, engine FROM system.tables WHERE database = 'metrics_all' AND engine = 'Distributed'",
    );
    expect(tables.map(({ name }) => name).toSorted()).toEqual(
      [...CLUSTER_OBJECTS, "series_days_by_shard"].toSorted(),
    );
    expect((await planMigrate(engine.database, settings())).distributed).toEqual([]);
    expect(await upToDate()).toBe(true);
  });

  test("brings in the columns that a table has got since, and what was dropped", async () => {
    await engine.database.command("ALTER TABLE metrics.otel_metrics_sum ADD COLUMN more String");
    await engine.database.command("DROP TABLE metrics_all.samples SYNC");
    expect(await upToDate()).toBe(false);
    const { distributed } = await planMigrate(engine.database, settings());
    expect(distributed.map((sql) => sql.split(" AS ")[0])).toEqual([
      "CREATE DATABASE IF NOT EXISTS metrics_all",
      "CREATE OR REPLACE TABLE metrics_all.otel_metrics_sum",
      "CREATE OR REPLACE TABLE metrics_all.samples",
    ]);
    await migrate(engine.database, settings());
    expect(await upToDate()).toBe(true);
    expect(await engine.database.query("SELECT more FROM metrics_all.otel_metrics_sum LIMIT 0")).toEqual([]);
    await engine.database.command("ALTER TABLE metrics.otel_metrics_sum DROP COLUMN more");
    await migrate(engine.database, settings());
  });

  test("refuses a cluster that the server does not know, another number of servers, and tables that are not Distributed", async () => {
    const attempt = async (more: Partial<MigrationParameters>) => {
      const error = await bridgeErrorOf(migrate(engine.database, settings(more)));
      return [error.code, error.message];
    };
    expect(await attempt({ shards: { ...shards, cluster: "nobody" } })).toEqual([
      "config_invalid",
      "the ClickHouse server knows no cluster nobody",
    ]);
    expect(await attempt({ shards: { ...shards, count: 3 } })).toEqual([
      "config_invalid",
      "the cluster shards has 2 shards, but there are 3 CLICKHOUSE_SHARD_URLS",
    ]);
    expect(await attempt({ shards: { ...shards, database: "metrics" } })).toEqual([
      "config_invalid",
      "the Distributed tables need a database of their own",
    ]);
    await engine.database.command("CREATE DATABASE other");
    await engine.database.command("CREATE TABLE other.samples (x Int8) ENGINE = Memory");
    expect(await attempt({ shards: { ...shards, database: "other" } })).toEqual([
      "storage_layout_unknown",
      "the database other has tables that are not Distributed: samples: its engine is Memory",
    ]);
  });

  // Neither servers nor Keeper are here: the engine's own parser reads what would be sent.
  test.each([
    { name: "one server", more: { shards: undefined } },
    { name: "replicas", more: { shards: undefined, cluster: "replicas" } },
    { name: "shards", more: {} },
    { name: "shards with replicas", more: { cluster: "replicas" } },
  ])("sends statements that ClickHouse parses: $name", async ({ more }) => {
    const { shards: wanted, ...rest } = { shards: { ...shards, database: "fresh_all" }, ...more };
    const parameters = {
      database: "fresh",
      retentionDays: 90,
      ...rest,
      ...(wanted ? { shards: wanted } : {}),
    };
    const plan = await planMigrate(engine.database, { parameters, signal });
    const made = plan.pending.flatMap((file) => file.statements);
    expect(made).toHaveLength(50);
    expect(plan.distributed).toHaveLength(wanted ? CLUSTER_OBJECTS.length + 3 : 0);
    for (const statement of [...made, ...plan.distributed]) {
      const [row] = await engine.database.query<{ sql: string }>(
        "SELECT formatQuerySingleLine({sql:String}) AS sql",
        { sql: statement },
      );
      const onCluster = statement.startsWith("INSERT") ? false : "cluster" in more;
      expect([statement, / ON CLUSTER replicas\b/.test(row?.sql ?? "")]).toEqual([statement, onCluster]);
    }
  });
});
