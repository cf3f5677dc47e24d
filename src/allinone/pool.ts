import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";

/** ordinary: all items but the reserved ones; preferred: any item, and the next one that is free. */
export type Lane = "ordinary" | "preferred";

export interface PoolLimits {
  /** Of each lane, how many may wait. */
  waitingMax: number;
  /** Items that the ordinary lane leaves to the preferred one. Default 0. */
  reserved?: number;
}

export interface Pool<T extends object | string> {
  /**
   * Calls `run` with an item that no other caller has meanwhile, first come first served in each lane. Throws `storage_unavailable` when too many
   * wait in the lane or the pool is closed, and the signal's reason when it is aborted before `run` was called.
   */
  use<Result>(run: (item: T) => Promise<Result>, signal?: AbortSignal, lane?: Lane): Promise<Result>;
  /** Refuses those who wait and resolves when all items are back. */
  close(): Promise<void>;
}

interface Waiter<T> {
  take: (item: T) => void;
  refuse: (error: Error) => void;
}

export function createPool<T extends object | string>(items: readonly T[], limits: PoolLimits): Pool<T> {
  const free = [...items];
  const waiting: Record<Lane, Set<Waiter<T>>> = { ordinary: new Set(), preferred: new Set() };
  const ordinaryMax = items.length - (limits.reserved ?? 0);
  let ordinaryInUse = 0;
  let closed: { allFree: () => void } | undefined;

  const refuse = (why: string): BridgeError =>
    new BridgeError("storage_unavailable", `the embedded ClickHouse engine ${why}`);

  const mayTake = (lane: Lane): boolean => lane === "preferred" || ordinaryInUse < ordinaryMax;

  const acquire = async (lane: Lane, signal: AbortSignal | undefined): Promise<T> => {
    if (closed) throw refuse("is closed");
    signal?.throwIfAborted();
    const item = mayTake(lane) ? free.pop() : undefined;
    if (item !== undefined) {
      if (lane === "ordinary") ordinaryInUse++;
      return item;
    }
    if (waiting[lane].size >= limits.waitingMax) throw refuse("is busy: too many statements are waiting");
    return await new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        waiting[lane].delete(waiter);
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter = {
        take: (next: T) => {
          leave();
          if (lane === "ordinary") ordinaryInUse++;
          resolve(next);
        },
        refuse: (error: Error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.refuse(signal?.reason as Error);
      waiting[lane].add(waiter);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  };

  const release = (item: T, lane: Lane): void => {
    if (lane === "ordinary") ordinaryInUse--;
    assert(ordinaryInUse >= 0 && !free.includes(item), "an item is released once");
    const [preferred] = waiting.preferred;
    const [ordinary] = waiting.ordinary;
    const next = preferred ?? (mayTake("ordinary") ? ordinary : undefined);
    if (next) return next.take(item);
    free.push(item);
    if (free.length === items.length) closed?.allFree();
  };

  return {
    use: async (run, signal, lane = "ordinary") => {
      const item = await acquire(lane, signal);
      try {
        return await run(item);
      } finally {
        release(item, lane);
      }
    },
    close: async () => {
      if (closed) return;
      await new Promise<void>((resolve) => {
        closed = { allFree: resolve };
        for (const waiter of [...waiting.preferred, ...waiting.ordinary]) waiter.refuse(refuse("is closed"));
        if (free.length === items.length) resolve();
      });
    },
  };
}
