import { createManualClock, type ManualClock } from "./manual-clock.ts";

/** A clock that jumps to the next timer whenever nothing else is left to do. */
export interface VirtualTime {
  clock: ManualClock;
  /** Runs the work to its end, and the time with it. Only for work that waits for nothing but this clock and promises. */
  run<T>(work: Promise<T>): Promise<T>;
}

export function createVirtualTime(startMs: number): VirtualTime {
  const clock = createManualClock(startMs);
  const idle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    clock,
    run: async (work) => {
      let isDone = false;
      const ended = work.finally(() => (isDone = true));
      ended.catch(() => {});
      for (;;) {
        await idle();
        await idle();
        if (isDone) return await ended;
        const nextMs = clock.nextMs();
        if (nextMs === undefined)
          throw new Error("the work waits for something that is not a timer of this clock");
        clock.advance(nextMs);
      }
    },
  };
}
