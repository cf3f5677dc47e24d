import { inspectMigrations, runMigrations } from "#app/storage.ts";
import type { Config } from "#config.ts";
import type { Logger } from "#telemetry/logger.ts";

export interface MigrateContext {
  config: Config;
  logger: Logger;
  /** Resolves when the process is asked to end. */
  ended: Promise<unknown>;
  out: (text: string) => void;
}

/**
 * `npm run migrate`, `ROLE=migrate`, and the commands that only look: `migrate status` and `migrate plan` (--dry-run). Returns the exit code: 1 when
 * one of those two finds something to do. Throws BridgeError storage_* and migration_*.
 */
export async function runMigrateCommand(
  command: string,
  { config, logger, ended, out }: MigrateContext,
): Promise<number> {
  const interrupted = new AbortController();
  void ended.then(() => interrupted.abort(new Error("interrupted")));
  if (command !== "migrate status" && command !== "migrate plan") {
    await runMigrations(config, logger, interrupted.signal);
    return 0;
  }
  const what = command === "migrate plan" ? "plan" : "status";
  const { text, isUpToDate } = await inspectMigrations(config, what, logger, interrupted.signal);
  out(`${text.trimEnd()}\n`);
  return isUpToDate ? 0 : 1;
}
