/**
 * Shares the event loop among everything that works through remote bytes: readers ask after each chunk, and wait as soon as all of them
 * together have worked for a whole slice in the present turn of the loop. So timers, probes and other callers get their turn, however many
 * readers there are.
 */
export interface Turns {
  /** Undefined while this turn of the event loop has time left, else a promise of the reader's next slice. */
  pause(): Promise<void> | undefined;
}

/** Half of the 20 ms that the loop may be held: the slice is only looked at between chunks. */
const SLICE_MS = 8;

/** One for the process. `monotonicMs`: for tests. */
export function createTurns(monotonicMs: () => number = () => performance.now()): Turns {
  const waiting: (() => void)[] = [];
  let startedMs: number | undefined;
  // Node runs immediates that are set by immediates in the next turn of the loop, after timers and sockets.
  const begin = (): void => {
    startedMs = monotonicMs();
    setImmediate(next);
  };
  const next = (): void => {
    startedMs = undefined;
    const resume = waiting.shift();
    if (!resume) return;
    begin();
    resume();
  };
  return {
    pause: () => {
      if (startedMs === undefined) {
        begin();
        return undefined;
      }
      if (waiting.length === 0 && monotonicMs() - startedMs < SLICE_MS) return undefined;
      return new Promise((resolve) => void waiting.push(resolve));
    },
  };
}
