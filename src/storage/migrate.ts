import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { planDistributed, requireOwnDistributed } from "./distributed.ts";
import { requireOwnLayout } from "./layout.ts";
import { takeMigrationLock, type MigrationLock } from "./migration-lock.ts";
import { toTemplateValues, type TemplateValues } from "./migration-parameters.ts";
import {
  planMigrations,
  readApplied,
  readMigrations,
  statementsOf,
  type PlanSettings,
} from "./migration-plan.ts";
import { planRetention, readRetention } from "./retention.ts";
import { requireServerVersion } from "./server-version.ts";
import { fillTemplate, type SqlFile } from "./sql-file.ts";

export interface MigrateSettings extends PlanSettings {
  /** How long to wait for another process that migrates now. Default 5 minutes. */
  lockWaitMs?: number;
  /** Default: a lock table, for servers that several processes may migrate. A process that owns its database alone gives its own. */
  lock?: MigrationLock;
  clock: Clock;
  logger: Logger;
}

export interface MigrateResult {
  /** Names of the files that were applied now. */
  applied: string[];
  /** The database's version after it. */
  version: number;
}

/**
 * Brings the database to the newest version: applies the files of `directory` that `<database>.migrations` does not list yet, in order, and then
 * the retention and the Distributed tables. Several processes may run it at once; one works, the others wait and then find nothing to do. A file that failed is applied again
 * from its first statement, so its statements must be repeatable (IF NOT EXISTS).
 *
 * Throws, before anything is changed, `config_invalid` for parameters that can't be used, `storage_version_unsupported` for an old server and
 * `storage_layout_unknown` naming tables of another layout; then `migration_conflict` when an applied file has changed or is unknown here (a newer
 * program was here), `migration_failed` naming file and statement, `storage_unavailable` when ClickHouse does not answer.
 */
export async function migrate(database: Database, settings: MigrateSettings): Promise<MigrateResult> {
  const { parameters, clock, logger, signal } = settings;
  const values = toTemplateValues(parameters);
  const files = await readMigrations(settings.directory);
  await requireServerVersion(database, signal);
  await requireOwnLayout(database, values.db, signal);
  await requireOwnDistributed(database, parameters, signal);

  if ((await readApplied(database, values.db, signal)).length === 0) await settings.lock?.assertHeld();
  await database.command(`CREATE DATABASE IF NOT EXISTS ${values.db} ${values.on_cluster}`, {}, signal);
  const lock =
    settings.lock ??
    (await takeMigrationLock(database, {
      databaseName: values.db,
      onCluster: values.on_cluster,
      waitMs: settings.lockWaitMs ?? 300_000,
      clock,
      signal,
    }));
  try {
    await database.command(fillTemplate(MIGRATIONS_TABLE, values), {}, signal);
    const pending = planMigrations(files, await readApplied(database, values.db, signal));
    for (const file of pending) {
      await apply(database, file, values, lock, signal);
      await lock.assertHeld();
      await record(database, values.db, file, signal);
      logger.info({ migration: file.name }, "applied a migration");
    }
    for (const statement of planRetention(await readRetention(database, values, signal), values)) {
      await lock.assertHeld();
      await database.command(statement, {}, signal);
      logger.info({ statement }, "changed the retention");
    }
    for (const statement of await planDistributed(database, parameters, signal)) {
      await lock.assertHeld();
      await database.command(statement, {}, signal);
      logger.info({ statement }, "changed the Distributed tables");
    }
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

async function apply(
  database: Database,
  file: SqlFile,
  values: TemplateValues,
  lock: MigrationLock,
  signal: AbortSignal,
): Promise<void> {
  const statements = statementsOf(file, values);
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

async function record(database: Database, name: string, file: SqlFile, signal: AbortSignal): Promise<void> {
  await database.command(
    `INSERT INTO ${name}.migrations (version, name, checksum) SELECT {version:UInt32}, {name:String}, {checksum:String}`,
    { version: file.version, name: file.name, checksum: file.checksum },
    signal,
  );
}
