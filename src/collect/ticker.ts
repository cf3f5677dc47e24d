import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Collection } from "./status.ts";

const EARLY_SHARE = 0.01;

/** Starts a round at once and then at every multiple of the interval (SCHEDULER=internal). */
export function createTicker(
  deps: { collection: Pick<Collection, "start">; clock: Clock; logger: Logger },
  settings: { intervalMs: number },
): { start(): void; stop(): Promise<void> } {
  const { clock, logger } = deps;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;

  const tick = async (): Promise<void> => {
    try {
      await deps.collection.start("ticker");
    } catch (thrown) {
      const error = toBridgeError(thrown);
      logger.error({ err: thrown, code: error.code }, "a round could not be started");
    }
  };

  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await tick();
      const wait = settings.intervalMs - (clock.now() % settings.intervalMs);
      // A timer may fire a little before its time by the wall clock: that was this multiple's round.
      const isEarly = wait <= settings.intervalMs * EARLY_SHARE;
      await clock.sleep(isEarly ? wait + settings.intervalMs : wait, stopping.signal).catch(() => {});
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
