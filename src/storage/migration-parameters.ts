import { BridgeError } from "#errors/error.ts";

export interface MigrationParameters {
  /** Of letters, digits and _. */
  database: string;
  /** Samples older than this are dropped, also those that are stored already. */
  retentionDays: number;
  /** The same for the hours of the roll-ups. Default: as samples. Not shorter, because answers about long ranges read hours. */
  rollupRetentionDays?: number;
  /** The same for the table of names and labels. Default: as hours. Not shorter. */
  seriesRetentionDays?: number;
  /** A cluster of the server's configuration: everything is made ON CLUSTER with replicated engines. */
  cluster?: string;
  /** Several shards, each of them with all tables in `database`: another database with Distributed tables over them. */
  shards?: ShardParameters;
}

export interface ShardParameters {
  /** Of the Distributed tables; not that of the tables. */
  database: string;
  /** A cluster of the servers' configuration (remote_servers) that lists all shards. */
  cluster: string;
  /** Of the servers that are migrated, one for each shard. Default: not compared with the cluster. */
  count?: number;
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const RETENTION_DAYS_MAX = 36_500;

/** The values of the `{{names}}` in SQL files. */
export interface TemplateValues extends Record<string, string> {
  db: string;
  ttl_days: string;
  /** Of roll-ups and of the table series: planRetention gives it to tables that were made with `ttl_days`. */
  rollup_ttl_days: string;
  series_ttl_days: string;
  /** `ON CLUSTER ...` or nothing. */
  on_cluster: string;
  /** The beginning of an engine's name: `Replicated` or nothing. */
  replicated: string;
  replacing_merge_tree: string;
}

/** Throws `config_invalid` for what can't be put into a statement as it is. */
export function toTemplateValues(parameters: MigrationParameters): TemplateValues {
  const { database, retentionDays, cluster, shards } = parameters;
  requireIdentifiers("database", [database, shards?.database]);
  requireIdentifiers("cluster", [cluster, shards?.cluster]);
  if (shards?.database === database) {
    throw new BridgeError("config_invalid", "the Distributed tables need a database of their own", {
      hint: "Set CLICKHOUSE_DISTRIBUTED_DATABASE to another name than CLICKHOUSE_DATABASE.",
    });
  }
  const { rollupRetentionDays = retentionDays } = parameters;
  const { seriesRetentionDays = rollupRetentionDays } = parameters;
  for (const days of [retentionDays, rollupRetentionDays, seriesRetentionDays]) {
    if (Number.isInteger(days) && days >= 1 && days <= RETENTION_DAYS_MAX) continue;
    throw new BridgeError("config_invalid", `the retention must be 1 to ${RETENTION_DAYS_MAX} whole days`);
  }
  if (rollupRetentionDays < retentionDays || seriesRetentionDays < rollupRetentionDays) {
    throw new BridgeError(
      "config_invalid",
      "roll-ups must be kept as long as samples, and the table series as long as roll-ups",
      {
        hint: "Raise CLICKHOUSE_ROLLUP_RETENTION or CLICKHOUSE_SERIES_RETENTION, or lower CLICKHOUSE_RETENTION.",
      },
    );
  }
  const replicated = cluster === undefined ? "" : "Replicated";
  return {
    db: database,
    ttl_days: String(retentionDays),
    rollup_ttl_days: String(rollupRetentionDays),
    series_ttl_days: String(seriesRetentionDays),
    on_cluster: cluster === undefined ? "" : `ON CLUSTER ${cluster}`,
    replicated,
    replacing_merge_tree: `${replicated}ReplacingMergeTree`,
  };
}

function requireIdentifiers(what: string, names: readonly (string | undefined)[]): void {
  if (names.every((name) => name === undefined || IDENTIFIER.test(name))) return;
  throw new BridgeError("config_invalid", `the ${what}'s name must consist of letters, digits and _`);
}
