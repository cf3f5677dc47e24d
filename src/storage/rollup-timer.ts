import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { refreshRollups } from "./rollups.ts";
import { fillSeries } from "./series-fill.ts";

/**
 * Rolls hours up and fills the table `series` now and then `intervalMs` after each end, until it is stopped. While series of stored days are missing it works on without a
 * pause, in turn with the hours. Failures are logged and retried: readers get right answers meanwhile, only slower.
 */
export function createRollupTimer(
  deps: { database: Database; clock: Clock; logger: Logger },
  settings: { databaseName: string; intervalMs: number },
): { start(): void; stop(): Promise<void> } {
  const { database, clock, logger } = deps;
  const { databaseName, intervalMs } = settings;
  const stopping = new AbortController();
  const { signal } = stopping;
  let running: Promise<void> | undefined;

  const attempt = async <T>(work: () => Promise<T>, failed: string): Promise<T | undefined> => {
    try {
      return await work();
    } catch (thrown) {
      if (signal.aborted) return undefined;
      const error = toBridgeError(thrown);
      logger.warn({ err: thrown, code: error.code }, failed);
      return undefined;
    }
  };

  /** Returns true when there is more to do at once. */
  const refresh = async (): Promise<boolean> => {
    const shared = { databaseName, clock, logger, signal };
    const rolled = await attempt(() => refreshRollups(database, shared), "hours could not be rolled up");
    if (rolled !== undefined && rolled.hours > 0) logger.info(rolled, "rolled up hours");
    const filled = await attempt(
      () => fillSeries(database, { ...shared, budgetMs: intervalMs }),
      "the table series could not be filled",
    );
    return filled !== undefined && filled.days > 0 && !filled.isComplete;
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      if (await refresh()) continue;
      await clock.sleep(intervalMs, signal).catch(() => {});
    }
  };

  return {
    start: () => {
      running ??= run();
    },
    stop: async () => {
      stopping.abort(new Error("stopping"));
      await running;
    },
  };
}
