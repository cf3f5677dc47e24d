import type { Clock } from "#lib/clock.ts";

export interface ManualClock extends Clock {
  /** Moves the time on and runs what is due, in order. */
  advance(ms: number): void;
  /** How many timers wait. */
  pending(): number;
  /** Time until the next timer is due, ms; undefined when there is none. */
  nextMs(): number | undefined;
}

/** A clock that stands still until it is moved. */
export function createManualClock(startMs = 1_700_000_000_000): ManualClock {
  let elapsed = 0;
  const timers = new Set<{ at: number; run: () => void }>();
  const after: Clock["after"] = (ms, run) => {
    const timer = { at: elapsed + ms, run };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    after,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const abort = (): void => {
          cancel();
          reject(signal?.reason as Error);
        };
        const cancel = after(ms, () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        });
        if (signal?.aborted) abort();
        else signal?.addEventListener("abort", abort, { once: true });
      }),
    advance: (ms) => {
      const end = elapsed + ms;
      for (;;) {
        const next = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        timers.delete(next);
        elapsed = next.at;
        next.run();
      }
      elapsed = end;
    },
    pending: () => timers.size,
    nextMs: () => {
      let next: number | undefined;
      for (const { at } of timers) next = Math.min(next ?? at, at);
      return next === undefined ? undefined : Math.max(0, next - elapsed);
    },
  };
}
