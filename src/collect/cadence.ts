import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Collection } from "./status.ts";

/** The time between two calls agrees with the interval within this share of it: a cron fires on time, a busy machine a little later. */
const TOLERATED_SHARE = 0.2;
/** This many times in a row must disagree: a missed call, or one made by hand, is no schedule. */
const SPANS = 3;

/**
 * The collection, with a warning in its status and one line in the log while Dapr's calls come at another interval than COLLECTION_INTERVAL.
 * Deadlines and lateness follow from COLLECTION_INTERVAL. Only Dapr knows the cron schedule, so the calls themselves are measured.
 */
export function withCadence(
  collection: Collection,
  { clock, logger }: { clock: Clock; logger: Logger },
  { intervalMs }: { intervalMs: number },
): Collection {
  let calledAt: number | undefined;
  let spans: number[] = [];

  const warning = (): string | undefined => {
    const differs = (span: number): boolean => Math.abs(span - intervalMs) > intervalMs * TOLERATED_SHARE;
    if (spans.length < SPANS || !spans.every(differs)) return undefined;
    const middle = spans.toSorted((a, b) => a - b)[Math.floor(SPANS / 2)]!;
    return `Dapr starts a round every ${inSeconds(middle)}, but COLLECTION_INTERVAL is ${inSeconds(intervalMs)}: give the cron schedule (component metrics-collection-cron; chart: collection.schedule) and COLLECTION_INTERVAL (chart: collection.interval) the same value`;
  };

  const note = (): void => {
    const before = warning();
    const nowMs = clock.monotonic();
    if (calledAt !== undefined) spans = [...spans, nowMs - calledAt].slice(-SPANS);
    calledAt = nowMs;
    const after = warning();
    if (after !== undefined && before === undefined) logger.warn(after);
  };

  return {
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
