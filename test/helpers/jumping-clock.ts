import { systemClock, type Clock } from "#lib/clock.ts";

/** Time that runs as the real one does, from a fixed beginning, and jumps ahead on demand. */
export interface JumpingClock extends Clock {
  jump(ms: number): void;
  /** The same time for one who sleeps no longer than a moment; what it asked for is in `naps` (ms). */
  impatient: Clock;
  naps: number[];
}

/** A whole minute. */
const BEGINNING = 1_700_000_040_000;

export function createJumpingClock(beginning: number = BEGINNING): JumpingClock {
  const startedAt = performance.now();
  let ahead = 0;
  const naps: number[] = [];
  const clock: Clock = {
    ...systemClock,
    now: () => Math.floor(beginning + performance.now() - startedAt + ahead),
  };
  return {
    ...clock,
    jump: (ms) => void (ahead += ms),
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
