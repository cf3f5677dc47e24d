import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Collection } from "./status.ts";

/** A gap between two calls agrees with the interval within this share of it: a cron fires on time, a busy machine a little later. */
const TOLERATED_SHARE = 0.2;
/** So many gaps in a row must disagree: a call that was missed, or one made by hand, is no schedule. */
const GAPS = 3;

/**
 * The collection, with a warning in its status and one line in the log while Dapr's calls come at another interval than COLLECTION_INTERVAL:
 * the program judges by that what is late, and how much a cluster may take. It measures, since only Dapr knows the cron schedule.
 */
export function withCadence<T extends Collection>(
  collection: T,
  { clock, logger }: { clock: Clock; logger: Logger },
  { intervalMs }: { intervalMs: number },
): T {
  let calledAt: number | undefined;
  let gaps: number[] = [];

  const warning = (): string | undefined => {
    const differs = (gap: number): boolean => Math.abs(gap - intervalMs) > intervalMs * TOLERATED_SHARE;
    if (gaps.length < GAPS || !gaps.every(differs)) return undefined;
    const middle = gaps.toSorted((a, b) => a - b)[Math.floor(GAPS / 2)]!;
    return `Dapr starts a round every ${inSeconds(middle)}, but COLLECTION_INTERVAL is ${inSeconds(intervalMs)}: give the cron schedule (component metrics-collection-cron; chart: collection.schedule) and COLLECTION_INTERVAL (chart: collection.interval) the same value`;
  };

  const note = (): void => {
    const before = warning();
    const nowMs = clock.monotonic();
    if (calledAt !== undefined) gaps = [...gaps, nowMs - calledAt].slice(-GAPS);
    calledAt = nowMs;
    const after = warning();
    if (after !== undefined && before === undefined) logger.warn(after);
  };

  return {
    ...collection,
    start: async (trigger) => {
      if (trigger === "dapr") note();
      return await collection.start(trigger);
    },
    status: async () => {
      const status = await collection.status();
      const text = warning();
      return text === undefined ? status : { ...status, warnings: [...status.warnings, text] };
    },
  };
}

function inSeconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
