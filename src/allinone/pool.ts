import { BridgeError } from "#errors.ts";

export interface Pool<T extends object | string> {
  /**
   * Calls `run` with an item that nobody else has meanwhile, first come first served. Throws `storage_unavailable` when too many wait or the
   * pool is closed, and the signal's reason when it is aborted before `run` was called.
   */
  use<Result>(run: (item: T) => Promise<Result>, signal?: AbortSignal): Promise<Result>;
  /** Refuses those who wait and resolves when all items are back. */
  close(): Promise<void>;
}

export function createPool<T extends object | string>(items: readonly T[], waitingMax: number): Pool<T> {
  const free = [...items];
  const waiting = new Set<{ take: (item: T) => void; refuse: (error: Error) => void }>();
  let closed: { allFree: () => void } | undefined;

  const refuse = (why: string): BridgeError =>
    new BridgeError("storage_unavailable", `the embedded ClickHouse engine ${why}`);

  const acquire = async (signal: AbortSignal | undefined): Promise<T> => {
    if (closed) throw refuse("is closed");
    signal?.throwIfAborted();
    const item = free.pop();
    if (item !== undefined) return item;
    if (waiting.size >= waitingMax) throw refuse("is busy: too many statements are waiting");
    return await new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        waiting.delete(waiter);
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter = {
        take: (next: T) => {
          leave();
          resolve(next);
        },
        refuse: (error: Error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.refuse(signal?.reason as Error);
      waiting.add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  };

  const release = (item: T): void => {
    const [next] = waiting;
    if (next) return next.take(item);
    free.push(item);
    if (free.length === items.length) closed?.allFree();
  };

  return {
    use: async (run, signal) => {
      const item = await acquire(signal);
      try {
        return await run(item);
      } finally {
        release(item);
      }
    },
    close: async () => {
      if (closed) return;
      await new Promise<void>((resolve) => {
        closed = { allFree: resolve };
        for (const waiter of waiting) waiter.refuse(refuse("is closed"));
        if (free.length === items.length) resolve();
      });
    },
  };
}
