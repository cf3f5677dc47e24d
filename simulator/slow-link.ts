import type { Clock } from "#lib/clock.ts";

/** A link with a speed and a round trip, shared by all that passes through it. */
export interface SlowLink {
  /** Calls `arrive` when the bytes have passed, in the order of the calls. */
  pass(bytes: number, arrive: () => void): void;
  /** Bytes that are under way. */
  waitingBytes(): number;
}

export function createSlowLink(
  clock: Clock,
  { bytesPerSecond, roundTripMs }: { bytesPerSecond: number; roundTripMs: number },
): SlowLink {
  const queue: { at: number; bytes: number; arrive: () => void }[] = [];
  let freeAt = 0;
  let waiting = 0;

  /** One timer for the first in the queue: timers of their own could overtake each other. */
  const wait = (): void => {
    const [first] = queue;
    if (!first) return;
    clock.after(Math.max(0, first.at - clock.monotonic()), () => {
      while (queue[0] && queue[0].at <= clock.monotonic()) {
        const { bytes, arrive } = queue.shift()!;
        waiting -= bytes;
        arrive();
      }
      wait();
    });
  };
  return {
    waitingBytes: () => waiting,
    pass: (bytes, arrive) => {
      freeAt = Math.max(freeAt, clock.monotonic()) + (bytes / bytesPerSecond) * 1000;
      waiting += bytes;
      queue.push({ at: freeAt + roundTripMs / 2, bytes, arrive });
      if (queue.length === 1) wait();
    },
  };
}
