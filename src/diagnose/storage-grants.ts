import { BridgeError } from "#errors/error.ts";
import type { Database } from "#storage/database.ts";
import { OBJECTS } from "#storage/layout.ts";
import { clickHouseCode } from "#storage/storage-error.ts";
import { passed, type Finding, type Step, type StepRunner } from "./step-runner.ts";

/** Tables that the query role writes (docs/clickhouse.md, Users and grants). */
const WRITTEN = ["rollup_gauge", "rollup_counter", "rollup_marks", "series", "series_days"];
/** Filled by inserts, never read by name. */
const NOT_READ = new Set(["rollup_marks_gauge", "rollup_marks_sum", "series_gauge", "series_sum"]);
/** READONLY and ACCESS_DENIED (ClickHouse, src/Common/ErrorCodes.cpp). */
const REFUSED = new Set([164, 497]);
/** UNKNOWN_TABLE: the layout's own step names it. */
const UNKNOWN_TABLE = 60;

/**
 * A step for each grant of the query role. Each is tried on no rows, because every version checks it then: CHECK GRANT is newer than the oldest
 * server that is supported, and takes no FORMAT.
 */
export function grantSteps(
  runner: StepRunner,
  database: Database,
  databaseName: string,
  exists: Step<undefined>,
): void {
  runner.step("grant_select", "Grant to read", [exists], async (signal) => {
    const names = OBJECTS.filter((name) => !NOT_READ.has(name));
    const attempt = (name: string): Promise<unknown> =>
      database.query(`SELECT * FROM ${databaseName}.${name} WHERE false`, {}, signal);
    const missing = await refusedOf(names, attempt);
    return judge("SELECT", `${databaseName}.*`, missing);
  });
  for (const name of WRITTEN) {
    runner.step(`grant_insert_${name}`, `Grant to write ${name}`, [exists], async (signal) => {
      const table = `${databaseName}.${name}`;
      const attempt = (): Promise<void> =>
        database.command(`INSERT INTO ${table} SELECT * FROM ${table} WHERE false`, {}, signal);
      return judge("INSERT", table, await refusedOf([name], attempt));
    });
  }
}

async function refusedOf(
  names: readonly string[],
  attempt: (name: string) => Promise<unknown>,
): Promise<string[]> {
  const refused: string[] = [];
  for (const name of names) {
    try {
      await attempt(name);
    } catch (error) {
      const code = clickHouseCode(error) ?? 0;
      if (REFUSED.has(code)) refused.push(name);
      else if (code !== UNKNOWN_TABLE) throw error;
    }
  }
  return refused;
}

function judge(privilege: string, target: string, missing: readonly string[]): Finding<undefined> {
  if (missing.length === 0) return passed(undefined, `${privilege} on ${target}`);
  throw new BridgeError("storage_failed", `no ${privilege} on ${missing.join(", ")}`, {
    hint: `GRANT ${privilege} ON ${target} TO the user of CLICKHOUSE_USER.`,
    details: { privilege, missing },
  });
}
