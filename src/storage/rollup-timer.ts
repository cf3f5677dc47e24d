import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Database } from "./database.ts";
import { refreshRollups } from "./rollups.ts";

/**
 * Rolls hours up now and then `intervalMs` after each end, until it is stopped. Failures are logged and retried: readers get right
 * answers meanwhile, only slower.
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

  const refresh = async (): Promise<void> => {
    try {
      const result = await refreshRollups(database, { databaseName, clock, logger, signal });
      if (result.hours > 0) logger.info(result, "rolled up hours");
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toBridgeError(thrown);
      logger.warn({ err: thrown, code: error.code }, "hours could not be rolled up");
    }
  };

  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      await refresh();
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
