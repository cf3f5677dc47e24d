import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const engine = useEngine({ migrated: false });
const MIGRATIONS = join(import.meta.dirname, "../../src/storage/migrations");
const TABLES = ["gauge", "sum", "histogram", "exponential_histogram", "summary"].map(
  (kind) => `otel_metrics_${kind}`,
);
/** The scope attributes of a bridge of today, and of one before the schema had a version. */
const NEW = { "budcluster.schema_version": "2" };
const OLD = {};
let count = 0;
let databaseName = "";

beforeEach(() => {
  databaseName = `identity_${++count}`;
});

/** Applies the migrations up to a number. */
async function migrateTo(version: number): Promise<void> {
  const directory = join(createTemporaryFolder(), `to-${version}`);
  mkdirSync(directory);
  for (const name of readdirSync(MIGRATIONS)) {
    if (Number(name.slice(0, 4)) <= version) cpSync(join(MIGRATIONS, name), join(directory, name));
  }
  await migrate(engine.database, {
    directory,
    parameters: { database: databaseName, retentionDays: 90 },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
}

const TIME = new Date(Date.now() - 3_600_000).toISOString().replace("T", " ").replace("Z", "");

interface Row {
  labels: Record<string, string>;
  scope: Record<string, string>;
  resource?: Record<string, string>;
  value?: number;
}

const map = (entries: Record<string, string>): string =>
  `CAST(map(${Object.entries(entries)
    .flat()
    .map((text) => `'${text}'`)
    .join(", ")}), 'Map(LowCardinality(String), String)')`;

/** Inserts one row, all of them at the same time. */
async function insert(row: Row, table = "otel_metrics_gauge"): Promise<void> {
  const { labels, scope, resource = { cluster_id: "c" }, value } = row;
  const own = value === undefined ? "" : ", Value";
  await engine.database.command(
    `INSERT INTO ${databaseName}.${table} (ResourceAttributes, ScopeAttributes, MetricName, Attributes, TimeUnix${own})
     SELECT ${map(resource)}, ${map(scope)}, 'm', ${map(labels)}, toDateTime64('${TIME}', 9, 'UTC')${value === undefined ? "" : `, ${value}`}`,
  );
}

/** Not the rows: copies of one merge at any time. */
async function ids(table = "otel_metrics_gauge"): Promise<Set<string>> {
  const rows = await engine.database.query<{ id: string }>(
    `SELECT DISTINCT toString(series_id) AS id FROM ${databaseName}.${table}`,
  );
  return new Set(rows.map(({ id }) => id));
}

async function values(): Promise<number[]> {
  const rows = await engine.database.query<{ value: number }>(
    `SELECT value FROM ${databaseName}.samples ORDER BY value`,
  );
  return rows.map(({ value }) => value);
}

const plain = { instance: "10.0.0.1:9100", job: "node" };
const derived = { ...plain, "k8s.node.name": "node-a" };

test("a series has one identity, whichever version sent it to whichever tables", async () => {
  await migrateTo(3);
  for (const table of TABLES) {
    await insert({ labels: derived, scope: OLD }, table);
    await insert({ labels: plain, scope: OLD }, table);
    await insert({ labels: plain, scope: NEW }, table);
  }
  await migrateTo(4);
  for (const table of TABLES) {
    await insert({ labels: derived, scope: OLD }, table);
    await insert({ labels: plain, scope: OLD }, table);
    await insert({ labels: plain, scope: NEW }, table);
    // The order in which labels arrive is no part of it.
    await insert({ labels: { job: "node", instance: "10.0.0.1:9100" }, scope: NEW }, table);
    expect([table, (await ids(table)).size]).toEqual([table, 1]);
  }
});

test("a label k8s.node.name of the source tells series apart in every table", async () => {
  await migrateTo(4);
  for (const table of TABLES) {
    await insert({ labels: { ...plain, "k8s.node.name": "a" }, scope: NEW }, table);
    await insert({ labels: { ...plain, "k8s.node.name": "b" }, scope: NEW }, table);
    await insert({ labels: plain, scope: NEW }, table);
    expect([table, (await ids(table)).size]).toEqual([table, 3]);
  }
});

test("rows without a cluster_id keep their rule, and all labels count in it", async () => {
  const rows = [derived, plain].map((labels) => ({ labels, resource: { host: "h" } }));
  await migrateTo(3);
  for (const table of TABLES) for (const row of rows) await insert({ ...row, scope: OLD }, table);
  await migrateTo(4);
  for (const table of TABLES) {
    const before = await ids(table);
    for (const row of rows) await insert({ ...row, scope: NEW }, table);
    for (const row of rows) await insert({ ...row, scope: OLD }, table);
    expect([table, before.size]).toEqual([table, 2]);
    expect(await ids(table)).toEqual(before);
  }
});

test("rows that are stored keep their identity and are not rewritten", async () => {
  await migrateTo(3);
  await insert({ labels: { ...plain, "k8s.node.name": "a" }, scope: OLD, value: 1 });
  await insert({ labels: { ...plain, "k8s.node.name": "b" }, scope: OLD, value: 2 });
  const before = await ids();
  await migrateTo(4);
  expect(await ids()).toEqual(before);
  const mutations = await engine.database.query(
    "SELECT mutation_id FROM system.mutations WHERE database = {name:String}",
    { name: databaseName },
  );
  expect(mutations).toEqual([]);
  await engine.database.command(`OPTIMIZE TABLE ${databaseName}.otel_metrics_gauge FINAL`);
  expect(await ids()).toEqual(before);
  const [column] = await engine.database.query<{ codec: string }>(
    "SELECT compression_codec AS codec FROM system.columns WHERE database = {name:String} AND table = 'otel_metrics_gauge' AND name = 'series_id'",
    { name: databaseName },
  );
  expect(column?.codec).toBe("CODEC(ZSTD(1))");
});

test("what was sent before the upgrade and is sent again after it is one row, before and after parts merge", async () => {
  await migrateTo(3);
  await insert({ labels: derived, scope: OLD, value: 1 });
  await migrateTo(4);
  await insert({ labels: plain, scope: NEW, value: 1 });
  expect(await values()).toEqual([1]);
  await engine.database.command(`OPTIMIZE TABLE ${databaseName}.otel_metrics_gauge FINAL`);
  const rows = await engine.database.query(`SELECT count() AS n FROM ${databaseName}.otel_metrics_gauge`);
  expect(rows).toEqual([{ n: "1" }]);
  // The other way round: an older bridge comes back.
  await insert({ labels: derived, scope: OLD, value: 1 });
  expect(await values()).toEqual([1]);
});

test("an older bridge on the new tables stores what it stored before, collisions included", async () => {
  await migrateTo(4);
  await insert({ labels: { ...plain, "k8s.node.name": "a" }, scope: OLD, value: 1 });
  await insert({ labels: { ...plain, "k8s.node.name": "b" }, scope: OLD, value: 2 });
  await insert({ labels: { ...plain, job: "other", "k8s.node.name": "b" }, scope: OLD, value: 3 });
  expect(await values()).toEqual([2, 3]);
});

test("a bridge of today on the old tables loses nothing but what collides there", async () => {
  await migrateTo(3);
  await insert({ labels: { ...plain, "k8s.node.name": "a" }, scope: NEW, value: 1 });
  await insert({ labels: { ...plain, "k8s.node.name": "b" }, scope: NEW, value: 2 });
  await insert({ labels: { ...plain, job: "other", cluster_id: "theirs" }, scope: NEW, value: 3 });
  await insert({ labels: { ...plain, job: "other", cluster_id: "ours" }, scope: NEW, value: 4 });
  expect(await values()).toEqual([2, 3, 4]);
});

test("the rule of schema version 2 is that of later ones, too; whatever is no such version is old", async () => {
  await migrateTo(4);
  const versions = { "1": 1, "": 1, "2": 2, "3": 2, "10": 2, "2.0": 1, new: 1 };
  const found: Record<string, number> = {};
  for (const version of Object.keys(versions)) {
    const scope = { "budcluster.schema_version": version };
    for (const node of ["a", "b"]) {
      await insert({ labels: { version, "k8s.node.name": node }, scope, value: 1 });
    }
    const rows = await engine.database.query<{ series: string }>(
      `SELECT uniqExact(series_id) AS series FROM ${databaseName}.samples WHERE labels['version'] = {version:String}`,
      { version },
    );
    found[version] = Number(rows[0]?.series);
  }
  expect(found).toEqual(versions);
});

test("labels that are called like the resource's attributes are labels", async () => {
  await migrateTo(4);
  const names = ["cluster_id", "cluster_name", "cluster_platform", "k8s.cluster.name", "service.name"];
  for (const [i, name] of names.entries()) {
    await insert({ labels: { ...plain, [name]: "a" }, scope: NEW, value: i * 2 });
    await insert({ labels: { ...plain, [name]: "b" }, scope: NEW, value: i * 2 + 1 });
  }
  expect(await values()).toEqual(Array.from({ length: 10 }, (_, i) => i));
  const rows = await engine.database.query(
    `SELECT DISTINCT cluster_id FROM ${databaseName}.samples WHERE labels['cluster_id'] != ''`,
  );
  expect(rows).toEqual([{ cluster_id: "c" }]);
});
