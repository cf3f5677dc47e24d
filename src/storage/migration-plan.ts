import { fileURLToPath } from "node:url";
import { BridgeError } from "#errors/error.ts";
import type { Database } from "./database.ts";
import { planDistributed } from "./distributed.ts";
import { findForeign, requireOwnLayout } from "./layout.ts";
import { toTemplateValues, type MigrationParameters, type TemplateValues } from "./migration-parameters.ts";
import { planRetention, readRetention, type TableRetention } from "./retention.ts";
import { isSupported, readServerVersion, requireServerVersion, VERSION_MIN } from "./server-version.ts";
import { fillTemplate, readSqlFiles, splitStatements, type SqlFile } from "./sql-file.ts";
import { clickHouseCode } from "./storage-error.ts";

export interface PlanSettings {
  parameters: MigrationParameters;
  /** Default: the folder `migrations` beside this file. */
  directory?: string;
  signal: AbortSignal;
}

/** The changes that `migrate` would make now. */
export interface MigrationPlan {
  serverVersion: string;
  /** In order, with the statements as they would be sent. */
  pending: { name: string; statements: string[] }[];
  /** Statements that change the retention of tables that exist. */
  retention: string[];
  /** Statements that make or replace Distributed tables, as far as the tables of now tell. */
  distributed: string[];
}

export interface MigrationStatus {
  serverVersion: string;
  /** False: `migrate` refuses the server; `serverVersionMin` is the oldest one it takes. */
  serverSupported: boolean;
  serverVersionMin: string;
  /** Migrations that the database lists. `changed`: the file here differs from the one that was applied. `unknown`: there is no such file here. */
  applied: { name: string; appliedAt: string; state: "applied" | "changed" | "unknown" }[];
  pending: string[];
  /** `name: why` of objects that have a name of ours and are something else. */
  foreign: string[];
  retention: TableRetention[];
  /** Distributed tables that are missing or not as they should be: the statements that `migrate` would send. */
  distributed: string[];
}

export interface AppliedRow {
  version: number;
  name: string;
  checksum: string;
  /** UTC, `2026-01-31 10:00:00.123`. */
  applied_at: string;
}

const DEFAULT_DIRECTORY = fileURLToPath(new URL("migrations", import.meta.url));
const UNKNOWN_TABLE = 60;
const UNKNOWN_DATABASE = 81;

/**
 * Returns the changes that `migrate` would make now; makes none. Throws what `migrate` throws before it changes anything: `config_invalid`,
 * `storage_version_unsupported`, `storage_layout_unknown`, `migration_conflict`, `storage_unavailable`.
 */
export async function planMigrate(database: Database, settings: PlanSettings): Promise<MigrationPlan> {
  const { parameters, signal } = settings;
  const values = toTemplateValues(parameters);
  const files = await readMigrations(settings.directory);
  const serverVersion = await requireServerVersion(database, signal);
  await requireOwnLayout(database, values.db, signal);
  const pending = planMigrations(files, await readApplied(database, values.db, signal));
  return {
    serverVersion,
    pending: pending.map((file) => ({ name: file.name, statements: statementsOf(file, values) })),
    retention: planRetention(await readRetention(database, values, signal), values),
    distributed: await planDistributed(database, parameters, signal),
  };
}

/** Compares the database with the files here; changes nothing. Conflicts are part of the result. Throws `config_invalid` and what a Database throws. */
export async function migrationStatus(database: Database, settings: PlanSettings): Promise<MigrationStatus> {
  const { parameters, signal } = settings;
  const values = toTemplateValues(parameters);
  const { db } = values;
  const files = await readMigrations(settings.directory);
  const serverVersion = await readServerVersion(database, signal);
  const foreign = await findForeign(database, db, signal);
  const isReadable = !foreign.some((text) => text.startsWith("migrations:"));
  const applied = isReadable ? await readApplied(database, db, signal) : [];
  const versions = new Set(applied.map((row) => row.version));
  return {
    serverVersion,
    serverSupported: isSupported(serverVersion),
    serverVersionMin: VERSION_MIN,
    applied: applied.map((row) => ({
      name: row.name,
      appliedAt: `${row.applied_at.replace(" ", "T")}Z`,
      state: stateOf(
        row,
        files.find((file) => file.version === row.version),
      ),
    })),
    pending: files.filter((file) => !versions.has(file.version)).map((file) => file.name),
    foreign,
    retention: await readRetention(database, values, signal),
    distributed: await planDistributed(database, parameters, signal),
  };
}

export async function readMigrations(directory = DEFAULT_DIRECTORY): Promise<SqlFile[]> {
  return await readSqlFiles(directory);
}

export function statementsOf(file: SqlFile, values: TemplateValues): string[] {
  return splitStatements(fillTemplate(file.text, values));
}

/** The migrations that the database lists; none when it has no such list, or does not exist. */
export async function readApplied(
  database: Database,
  databaseName: string,
  signal: AbortSignal,
): Promise<AppliedRow[]> {
  try {
    return await database.query<AppliedRow>(
      `SELECT version, name, checksum, applied_at FROM ${databaseName}.migrations FINAL ORDER BY version`,
      {},
      signal,
    );
  } catch (error) {
    const code = clickHouseCode(error);
    if (code === UNKNOWN_TABLE || code === UNKNOWN_DATABASE) return [];
    throw error;
  }
}

function stateOf(row: AppliedRow, file: SqlFile | undefined): "applied" | "changed" | "unknown" {
  if (file === undefined) return "unknown";
  return file.checksum === row.checksum ? "applied" : "changed";
}

/** The files that are still to apply. Throws `migration_conflict` when what was applied is not what the files say. */
export function planMigrations(files: readonly SqlFile[], applied: readonly AppliedRow[]): SqlFile[] {
  const byVersion = new Map(files.map((file) => [file.version, file]));
  for (const row of applied) {
    const file = byVersion.get(row.version);
    const state = stateOf(row, file);
    if (state === "unknown") {
      throw new BridgeError(
        "migration_conflict",
        `the database has the migration ${row.name}, unknown to this version`,
      );
    }
    if (state === "changed") {
      throw new BridgeError(
        "migration_conflict",
        `${file?.name} has changed since it was applied as ${row.name}`,
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
