import { fileURLToPath } from "node:url";
import { BridgeError, toBridgeError } from "#errors.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { takeMigrationLock, type MigrationLock } from "./migration-lock.ts";
import { fillTemplate, readSqlFiles, splitStatements, type SqlFile } from "./sql-file.ts";

interface MigrationParameters {
  /** Of letters, digits and _. */
  database: string;
  /** Samples older than this are dropped. A change applies to what is stored from then on. */
  retentionDays: number;
  /** A cluster of the server's configuration: everything is made ON CLUSTER with replicated engines. */
  cluster?: string;
}

export interface MigrateSettings {
  parameters: MigrationParameters;
  /** Default: the folder `migrations` beside this file. */
  directory?: string;
  /** How long to wait for another process that migrates now. Default 5 minutes. */
  lockWaitMs?: number;
  clock: Clock;
  logger: Logger;
  signal: AbortSignal;
}

export interface MigrateResult {
  /** Names of the files that were applied now. */
  applied: string[];
  /** The database's version after it. */
  version: number;
}

const DEFAULT_DIRECTORY = fileURLToPath(new URL("migrations", import.meta.url));
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const RETENTION_DAYS_MAX = 36_500;

interface AppliedRow {
  version: number;
  name: string;
  checksum: string;
}

/**
 * Brings the database to the newest version: applies the files of `directory` that `<database>.migrations` does not list yet, in order.
 * Several processes may run it at once; one works, the others wait and then find nothing to do. A file that failed is applied again from its
 * first statement, so its statements must be repeatable (IF NOT EXISTS).
 *
 * Throws `migration_conflict` when an applied file has changed or is unknown here (a newer program was here), `migration_failed` naming file
 * and statement, `storage_unavailable` when ClickHouse does not answer, `config_invalid` for parameters that can't be used.
 */
export async function migrate(database: Database, settings: MigrateSettings): Promise<MigrateResult> {
  const { parameters, clock, logger, signal } = settings;
  const values = toTemplateValues(parameters);
  const files = await readSqlFiles(settings.directory ?? DEFAULT_DIRECTORY);
  const name = parameters.database;
  const onCluster = values["on_cluster"] ?? "";

  await database.command(`CREATE DATABASE IF NOT EXISTS ${name} ${onCluster}`, {}, signal);
  const lock = await takeMigrationLock(database, {
    databaseName: name,
    onCluster,
    waitMs: settings.lockWaitMs ?? 300_000,
    clock,
    signal,
  });
  try {
    await database.command(fillTemplate(MIGRATIONS_TABLE, values), {}, signal);
    const pending = planMigrations(files, await readApplied(database, name, signal));
    for (const file of pending) {
      await apply(database, file, values, lock, signal);
      await record(database, name, file, signal);
      logger.info({ migration: file.name }, "applied a migration");
    }
    await keepRetention(database, name, values, signal);
    return { applied: pending.map((file) => file.name), version: files.at(-1)?.version ?? 0 };
  } finally {
    await lock.release().catch((error: unknown) => {
      logger.warn(
        { err: error },
        "the migration lock could not be released; it ends by itself after a minute",
      );
    });
  }
}

const MIGRATIONS_TABLE = `
CREATE TABLE IF NOT EXISTS {{db}}.migrations {{on_cluster}} (
  version UInt32,
  name String,
  checksum String,
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = {{replacing_merge_tree}} ORDER BY version`;

/** The files that are still to apply. Throws `migration_conflict` when what was applied is not what the files say. */
function planMigrations(files: readonly SqlFile[], applied: readonly AppliedRow[]): SqlFile[] {
  const byVersion = new Map(files.map((file) => [file.version, file]));
  for (const row of applied) {
    const file = byVersion.get(row.version);
    if (file === undefined) {
      throw new BridgeError(
        "migration_conflict",
        `the database has the migration ${row.name}, unknown to this version`,
      );
    }
    if (file.checksum !== row.checksum) {
      throw new BridgeError(
        "migration_conflict",
        `${file.name} has changed since it was applied as ${row.name}`,
        {
          hint: "An applied migration must stay as it is: restore the file and put the change into a new one.",
        },
      );
    }
  }
  const newest = Math.max(0, ...applied.map((row) => row.version));
  const versions = new Set(applied.map((row) => row.version));
  const pending = files.filter((file) => !versions.has(file.version));
  const skipped = pending.find((file) => file.version < newest);
  if (skipped) {
    throw new BridgeError(
      "migration_conflict",
      `${skipped.name} was never applied, but a later migration was`,
    );
  }
  return pending;
}

function toTemplateValues(parameters: MigrationParameters): Record<string, string> {
  const { database, retentionDays, cluster } = parameters;
  if (!IDENTIFIER.test(database)) {
    throw new BridgeError("config_invalid", "the database's name must consist of letters, digits and _");
  }
  if (cluster !== undefined && !IDENTIFIER.test(cluster)) {
    throw new BridgeError("config_invalid", "the cluster's name must consist of letters, digits and _");
  }
  if (!Number.isInteger(retentionDays) || retentionDays < 1 || retentionDays > RETENTION_DAYS_MAX) {
    throw new BridgeError("config_invalid", `the retention must be 1 to ${RETENTION_DAYS_MAX} whole days`);
  }
  return {
    db: database,
    ttl_days: String(retentionDays),
    on_cluster: cluster === undefined ? "" : `ON CLUSTER ${cluster}`,
    replicated: cluster === undefined ? "" : "Replicated",
    replacing_merge_tree: cluster === undefined ? "ReplacingMergeTree" : "ReplicatedReplacingMergeTree",
  };
}

async function readApplied(database: Database, name: string, signal: AbortSignal): Promise<AppliedRow[]> {
  return await database.query<AppliedRow>(
    `SELECT version, name, checksum FROM ${name}.migrations FINAL ORDER BY version`,
    {},
    signal,
  );
}

async function apply(
  database: Database,
  file: SqlFile,
  values: Record<string, string>,
  lock: MigrationLock,
  signal: AbortSignal,
): Promise<void> {
  const statements = splitStatements(fillTemplate(file.text, values));
  for (const [index, statement] of statements.entries()) {
    await lock.assertHeld();
    try {
      await database.command(statement, {}, signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      const failure = toBridgeError(error, "storage_failed");
      if (failure.code === "storage_unavailable") throw failure;
      const words = failure.cause instanceof Error ? failure.cause.message : failure.message;
      const where = `${file.name}, statement ${index + 1} of ${statements.length}`;
      throw new BridgeError("migration_failed", `${where}: ${words}`, {
        cause: error,
        details: { file: file.name, statement: index + 1, ...failure.details },
      });
    }
  }
}

/** Gives the sample tables the retention asked for, where it is another one. */
async function keepRetention(
  database: Database,
  name: string,
  values: Record<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const others = await database.query<{ name: string }>(
    `SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, 'otel_metrics_')
     AND position(engine_full, {ttl:String}) = 0 ORDER BY name`,
    { database: name, ttl: `TTL toDateTime(TimeUnix) + toIntervalDay(${values["ttl_days"]})` },
    signal,
  );
  for (const table of others) {
    // What is stored keeps the date it was given: giving it another would rewrite all of it.
    const statement = `ALTER TABLE {{db}}.${table.name} {{on_cluster}}
      MODIFY TTL toDateTime(TimeUnix) + INTERVAL {{ttl_days}} DAY SETTINGS materialize_ttl_after_modify = 0`;
    await database.command(fillTemplate(statement, values), {}, signal);
  }
}

async function record(database: Database, name: string, file: SqlFile, signal: AbortSignal): Promise<void> {
  await database.command(
    `INSERT INTO ${name}.migrations (version, name, checksum) SELECT {version:UInt32}, {name:String}, {checksum:String}`,
    { version: file.version, name: file.name, checksum: file.checksum },
    signal,
  );
}
