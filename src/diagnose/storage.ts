import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import { planDistributed } from "#storage/distributed.ts";
import { inspectLayout, OBJECTS, type ObjectState } from "#storage/layout.ts";
import type { MigrationParameters } from "#storage/migration-parameters.ts";
import { migrationStatus } from "#storage/migration-plan.ts";
import { isSupported, readServerVersion, VERSION_MIN } from "#storage/server-version.ts";
import { clickHouseCode } from "#storage/storage-error.ts";
import { freshnessSteps } from "./storage-freshness.ts";
import { grantSteps } from "./storage-grants.ts";
import {
  createStepRunner,
  passed,
  warning,
  type Diagnosis,
  type Finding,
  type Step,
  type StepRunner,
} from "./step-runner.ts";

export interface StorageDiagnosis extends Diagnosis {
  database: string;
}

/** Looks at everything that the query role needs of ClickHouse, and changes nothing. Throws the signal's reason, and diagnosis_busy. */
export type DiagnoseStorage = (signal: AbortSignal) => Promise<StorageDiagnosis>;

export interface StorageDiagnosisSettings {
  parameters: MigrationParameters;
  stepMs: number;
  /** Newest samples older than this are a warning. */
  staleAfterMs: number;
  rollupIntervalMs: number;
}

/** UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED (ClickHouse, src/Common/ErrorCodes.cpp). */
const NOT_AUTHENTICATED = new Set([192, 193, 194, 516]);
const STEPS_IN_TURN = 3;
const DIAGNOSES_MAX = 2;

export function createDiagnoseStorage(
  deps: { database: Database; clock: Clock },
  settings: StorageDiagnosisSettings,
): DiagnoseStorage {
  let running = 0;
  return async (signal) => {
    if (running >= DIAGNOSES_MAX) throw new BridgeError("diagnosis_busy", `${running} diagnoses run already`);
    running++;
    try {
      return await diagnose(deps, settings, signal);
    } finally {
      running--;
    }
  };
}

async function diagnose(
  { database, clock }: { database: Database; clock: Clock },
  settings: StorageDiagnosisSettings,
  signal: AbortSignal,
): Promise<StorageDiagnosis> {
  const { stepMs, parameters } = settings;
  const runner = createStepRunner(clock, { stepMs, totalMs: stepMs * STEPS_IN_TURN }, signal);
  const authenticated = connectionSteps(runner, database);
  const exists = databaseStep(runner, database, parameters.database, authenticated);
  layoutSteps(runner, () => inspectLayout(database, parameters.database, signal), exists);
  migrationStep(runner, database, parameters, exists);
  grantSteps(runner, database, parameters.database, exists);
  if (parameters.shards) distributedStep(runner, database, parameters, exists);
  const databaseName = parameters.shards?.database ?? parameters.database;
  freshnessSteps(runner, { database, clock }, { ...settings, databaseName }, exists);
  return { database: parameters.database, ...(await runner.finish()) };
}

function connectionSteps(runner: StepRunner, database: Database): Step<string> {
  const reachable = runner.step<{ version: string } | { error: BridgeError }>(
    "reachable",
    "ClickHouse answers",
    [],
    async (signal) => {
      try {
        return passed({ version: await readServerVersion(database, signal) }, "it answers");
      } catch (thrown) {
        if (signal.aborted) throw signal.reason;
        const error = toBridgeError(thrown, "storage_unavailable");
        // A server that refuses the user is reachable.
        if (clickHouseCode(error) === undefined) throw error;
        return passed({ error }, "it answers");
      }
    },
  );
  const authenticated = runner.step<string>(
    "authentication",
    "ClickHouse knows the user",
    [reachable],
    async () => {
      const answer = reachable.value();
      if ("version" in answer) return passed(answer.version, "the user and password are accepted");
      const { error } = answer;
      if (!NOT_AUTHENTICATED.has(clickHouseCode(error) ?? 0)) throw error;
      throw new BridgeError(
        "storage_failed",
        "ClickHouse does not accept CLICKHOUSE_USER with this password",
        {
          hint: error.hint,
          details: error.details ?? {},
          cause: error,
        },
      );
    },
  );
  runner.step("version", "ClickHouse's version is supported", [authenticated], async () => {
    const version = authenticated.value();
    const details = { version, version_min: VERSION_MIN };
    if (isSupported(version)) return passed(undefined, version, details);
    throw new BridgeError("storage_version_unsupported", `${version} is older than ${VERSION_MIN}`, {
      details,
    });
  });
  runner.step("readonly", "The user may set limits for its queries", [authenticated], async (signal) => {
    const rows = await database.query<{ readonly: number | string }>(
      "SELECT getSetting('readonly') AS readonly",
      {},
      signal,
    );
    const readonly = Number(rows[0]?.readonly);
    if (readonly === 0 || readonly === 2) return passed(undefined, "readonly is not 1");
    throw new BridgeError("storage_failed", "the user has the setting readonly = 1", {
      hint: "Remove `readonly` from the settings or profile of CLICKHOUSE_USER; GRANT limits what it may do.",
    });
  });
  return authenticated;
}

function databaseStep(
  runner: StepRunner,
  database: Database,
  name: string,
  needs: Step<string>,
): Step<undefined> {
  return runner.step("database", `The database ${name} is there`, [needs], async (signal) => {
    const rows = await database.query<{ name: string }>(
      "SELECT name FROM system.databases WHERE name = {name:String}",
      { name },
      signal,
    );
    if (rows.length > 0) return passed(undefined, "it is");
    throw new BridgeError("storage_failed", `there is no database ${name}, or the user may not see it`, {
      hint: "Run the role migrate (npm run migrate) with the same CLICKHOUSE_DATABASE, and grant this user SELECT on it.",
    });
  });
}

/** One look for all of them, taken by the first step that asks. */
function layoutSteps(
  runner: StepRunner,
  inspect: () => Promise<ObjectState[]>,
  exists: Step<undefined>,
): void {
  let looked: Promise<ObjectState[]> | undefined;
  for (const name of OBJECTS) {
    runner.step(`layout_${name}`, `Layout of ${name}`, [exists], async () => {
      looked ??= inspect();
      const object = (await looked).find((each) => each.name === name);
      return judgeObject(name, object);
    });
  }
}

function judgeObject(name: string, object: ObjectState | undefined): Finding<undefined> {
  if (object?.state === "ours") return passed(undefined, `the ${object.kind} is as migrated`);
  if (object?.state === "foreign") {
    throw new BridgeError("storage_layout_unknown", `${object.kind}: ${object.difference}`);
  }
  throw new BridgeError(
    "storage_failed",
    `there is no ${object?.kind ?? "object"} ${name}, or the user may not see it`,
    {
      hint: "Run the role migrate (npm run migrate), and grant this user SELECT on the database (docs/clickhouse.md).",
    },
  );
}

function distributedStep(
  runner: StepRunner,
  database: Database,
  parameters: MigrationParameters,
  exists: Step<undefined>,
): void {
  runner.step("distributed", "The Distributed tables reach all shards", [exists], async (signal) => {
    const statements = await planDistributed(database, parameters, signal);
    if (statements.length === 0) return passed(undefined, "they are as migrated");
    const hint =
      "Run the role migrate (npm run migrate) with CLICKHOUSE_SHARD_URLS naming a server of each shard.";
    throw new BridgeError("storage_failed", `${statements.length} statements of migrate are missing`, {
      hint,
    });
  });
}

function migrationStep(
  runner: StepRunner,
  database: Database,
  parameters: MigrationParameters,
  exists: Step<undefined>,
): void {
  runner.step("migrations", "Every migration is applied", [exists], async (signal) => {
    const { applied, pending, retention } = await migrationStatus(database, { parameters, signal });
    const wrong = applied.filter(({ state }) => state !== "applied");
    const details = { applied: applied.length, pending };
    if (wrong.length > 0) {
      const names = wrong.map(({ name, state }) => `${name} is ${state}`).join(", ");
      throw new BridgeError("migration_conflict", `not as in this version: ${names}`, { details });
    }
    if (pending.length > 0) {
      const hint = "Run the role migrate (npm run migrate).";
      throw new BridgeError("migration_failed", `not applied: ${pending.join(", ")}`, { hint, details });
    }
    const others = retention.filter(({ days, wantedDays }) => days !== wantedDays);
    if (others.length === 0) return passed(undefined, `${applied.length} are`, details);
    const text = `${others.length} tables keep their rows for another time than CLICKHOUSE_RETENTION, CLICKHOUSE_ROLLUP_RETENTION or CLICKHOUSE_SERIES_RETENTION says`;
    return warning(undefined, text, {
      hint: "Run the role migrate, which changes it, or correct the value.",
      details,
    });
  });
}
