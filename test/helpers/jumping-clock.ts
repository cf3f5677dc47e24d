import { systemClock, type Clock } from "#lib/clock.ts";

/** Wall time that stands still and jumps ahead on demand, so that windows and their samples are the same in every run. Timers are real. */
export interface JumpingClock extends Clock {
  jump(ms: number): void;
  /** The same time for one who sleeps no longer than a moment; what it asked for is in `naps` (ms). */
  impatient: Clock;
  naps: number[];
}

/** A whole minute. */
const BEGINNING = 1_700_000_040_000;

export function createJumpingClock(beginning: number = BEGINNING): JumpingClock {
  let now = beginning;
  const naps: number[] = [];
  const clock: Clock = { ...systemClock, now: () => now };
  return {
    ...clock,
    jump: (ms) => void (now += ms),
    naps,
    impatient: {
      ...clock,
      sleep: async (ms, signal) => {
        naps.push(ms);
        await systemClock.sleep(1, signal);
      },
    },
  };
}
