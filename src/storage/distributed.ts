import { BridgeError } from "#errors/error.ts";
import type { Database } from "./database.ts";
import { CLUSTER_OBJECTS } from "./layout.ts";
import type { MigrationParameters, ShardParameters } from "./migration-parameters.ts";
import { STALE_PREFIX } from "./stale-markers.ts";

/**
 * Settings of each statement that reads Distributed tables. Everything of a cluster_id is on one shard, so a subquery finds on its own shard all that it asks for, and a
 * statement about one cluster_id needs no other shard.
 */
export const DISTRIBUTED_SETTINGS = {
  distributed_product_mode: "local",
  optimize_skip_unused_shards: 1,
} as const;

/** A stale marker is on its cluster's shard (0007_stale_markers.sql). */
const SHARDING_KEY = `cityHash64(if(startsWith(cluster_id, '${STALE_PREFIX}'), substring(cluster_id, ${STALE_PREFIX.length + 1}), cluster_id))`;
/** The days of each shard. Nothing is inserted through it: it has no sharding key. */
const DAYS_BY_SHARD = "series_days_by_shard";
/** What readSeriesStart reads: a row if all shards have one, with the day from which on each of them is complete. */
const DAYS = "series_days";

interface ObjectRow {
  name: string;
  engine: string;
  engine_full: string;
  comment: string;
  columns: string;
}

/**
 * The statements that make the database of Distributed tables on the server, or replace those that are not as they should be: one for each table and view whose rows have
 * a cluster_id, under the same name, with the columns that it has now. None without `parameters.shards`. A view is read on its shard as a whole.
 *
 * Throws `config_invalid` when the server's configuration does not have the cluster, and what a Database throws.
 */
export async function planDistributed(
  database: Database,
  parameters: MigrationParameters,
  signal: AbortSignal,
): Promise<string[]> {
  const { shards, cluster } = parameters;
  if (shards === undefined) return [];
  const onCluster = cluster === undefined ? "" : ` ON CLUSTER ${cluster}`;
  const shardCount = await countShards(database, shards, signal);
  const sources = await readObjects(database, parameters.database, signal);
  const found = await readObjects(database, shards.database, signal);
  const statements = [...CLUSTER_OBJECTS, DAYS_BY_SHARD].flatMap((name) => {
    const source = name === DAYS_BY_SHARD ? DAYS : name;
    const key = name === DAYS_BY_SHARD ? "" : `, ${SHARDING_KEY}`;
    const engine = `Distributed('${shards.cluster}', '${parameters.database}', '${source}'${key})`;
    const own = found.get(name);
    if (own?.engine_full === engine && own.columns === sources.get(source)?.columns) return [];
    return [
      `CREATE OR REPLACE TABLE ${shards.database}.${name}${onCluster} AS ${parameters.database}.${source} ENGINE = ${engine}`,
    ];
  });
  const comment = `${shardCount} shards of ${shards.cluster}`;
  if (found.get(DAYS)?.comment !== comment) {
    statements.push(`CREATE OR REPLACE VIEW ${shards.database}.${DAYS}${onCluster} AS
SELECT max(start) AS day FROM (SELECT _shard_num, min(day) AS start FROM ${shards.database}.${DAYS_BY_SHARD} GROUP BY _shard_num)
HAVING count() = ${shardCount} COMMENT '${comment}'`);
  }
  if (statements.length > 0)
    statements.unshift(`CREATE DATABASE IF NOT EXISTS ${shards.database}${onCluster}`);
  return statements;
}

/** Throws `storage_layout_unknown` naming what is in the database of Distributed tables under a name of theirs and is something else: to replace it could lose data. */
export async function requireOwnDistributed(
  database: Database,
  { shards }: MigrationParameters,
  signal: AbortSignal,
): Promise<void> {
  if (shards === undefined) return;
  const found = await readObjects(database, shards.database, signal);
  const foreign = [...found.values()].filter(
    ({ name, engine }) => engine !== (name === DAYS ? "View" : "Distributed"),
  );
  if (foreign.length === 0) return;
  const tables = foreign.map(({ name, engine }) => `${name}: its engine is ${engine}`).toSorted();
  const message = `the database ${shards.database} has tables that are not Distributed: ${tables.join("; ")}`;
  throw new BridgeError("storage_layout_unknown", message, { details: { tables } });
}

async function countShards(
  database: Database,
  { cluster, count }: ShardParameters,
  signal: AbortSignal,
): Promise<number> {
  const [row] = await database.query<{ shards: string }>(
    "SELECT uniqExact(shard_num) AS shards FROM system.clusters WHERE cluster = {cluster:String}",
    { cluster },
    signal,
  );
  const shards = Number(row?.shards);
  if (shards > 0 && shards === (count ?? shards)) return shards;
  if (shards > 0) {
    const message = `the cluster ${cluster} has ${shards} shards, but there are ${count} CLICKHOUSE_SHARD_URLS`;
    throw new BridgeError("config_invalid", message, { hint: "Name one server of each shard." });
  }
  throw new BridgeError("config_invalid", `the ClickHouse server knows no cluster ${cluster}`, {
    hint: "Set CLICKHOUSE_DISTRIBUTED_CLUSTER to a cluster of the servers' configuration (remote_servers, the table system.clusters).",
  });
}

async function readObjects(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<Map<string, ObjectRow>> {
  const rows = await database.query<ObjectRow>(
    `SELECT t.name AS name, t.engine AS engine, t.engine_full AS engine_full, t.comment AS comment, c.columns AS columns
     FROM system.tables AS t
     LEFT JOIN (
       SELECT table, toString(arraySort(groupArray((position, name, type, default_kind, default_expression)))) AS columns
       FROM system.columns WHERE database = {database:String} GROUP BY table
     ) AS c ON c.table = t.name
     WHERE t.database = {database:String} AND has({names:Array(String)}, t.name)`,
    { database: databaseName, names: [...CLUSTER_OBJECTS, DAYS_BY_SHARD, DAYS] },
    signal,
  );
  return new Map(rows.map((row) => [row.name, row]));
}
