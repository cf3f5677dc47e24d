import { assert } from "./assert.ts";

/** One limit for the bytes that all readers together keep. Nothing fails for want of memory: what has not begun yet waits. */
export interface MemoryBudget {
  /** `flush`: called when a read has to wait; hands on batches that are held only because they are not full yet. */
  open(flush: () => void): MemoryAccount;
  /** Bytes that all accounts hold, reserved ones included. */
  used(): number;
}

/** The bytes that one cluster's collection holds. */
export interface MemoryAccount {
  /** Counts bytes that were taken, or, below 0, given back. Never waits: the bytes are in memory already. */
  add(bytes: number): void;
  /**
   * Reserves bytes for one read before it begins. Reads wait in the order in which they asked; while nothing is in use, the first one gets what it asks
   * for, however large that is. Rejects with the signal's reason. `isEnough`: the read will not need more; what it takes beyond that is never refused.
   */
  reserve(bytes: number, isEnough: boolean, signal: AbortSignal): Promise<Reservation>;
  /** Is a read waiting, of this account or another one? */
  isShort(): boolean;
  /** Bytes that the account holds. */
  held(): number;
  /** Gives everything back. */
  close(): void;
}

/** The bytes that one read may take. */
export interface Reservation {
  /** Takes bytes, beyond what is reserved if the budget has room for them. False: it has none, and nothing was taken. Never waits. */
  take(bytes: number): boolean;
  give(bytes: number): void;
  /** Ends the reservation. What is still in use counts until it is given back. */
  release(): void;
}

interface Account {
  bytes: number;
  flush: () => void;
}

interface Waiter {
  bytes: number;
  grant: () => void;
}

/**
 * Nobody who holds bytes waits for others: a read that finds no room gives up what it has, and begins again with a reservation that is enough. So
 * those who hold bytes come to an end, and those who wait get theirs.
 */
export function createMemoryBudget(bytesMax: number): MemoryBudget {
  const accounts = new Set<Account>();
  const waiting: Waiter[] = [];
  let used = 0;

  const add = (account: Account, bytes: number): void => {
    if (!accounts.has(account)) return;
    account.bytes += bytes;
    used += bytes;
    assert(account.bytes >= 0, "an account gives back what it took");
    if (bytes < 0) grantNext();
  };

  const fits = (bytes: number): boolean => used === 0 || used + bytes <= bytesMax;

  const grantNext = (): void => {
    while (waiting[0] && fits(waiting[0].bytes)) waiting.shift()!.grant();
  };

  /** The largest first: the others may then not have to. */
  const flushAll = (): void => {
    const holding = [...accounts].filter((account) => account.bytes > 0);
    for (const account of holding.sort((a, b) => b.bytes - a.bytes)) account.flush();
  };

  /** Resolves when the bytes are counted. */
  const wait = async (account: Account, bytes: number, signal: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter = {
      bytes,
      grant: () => {
        add(account, bytes);
        resolve();
      },
    };
    const abort = (): void => {
      const at = waiting.indexOf(waiter);
      if (at < 0) return;
      waiting.splice(at, 1);
      reject(signal.reason);
      // The one behind it may need less.
      grantNext();
    };
    waiting.push(waiter);
    signal.addEventListener("abort", abort, { once: true });
    flushAll();
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  };

  const openReservation = (account: Account, bytes: number, isEnough: boolean): Reservation => {
    let reserved = bytes;
    let inUse = 0;
    let isReleased = false;
    const trim = (): void => {
      add(account, inUse - reserved);
      reserved = inUse;
    };
    return {
      take: (taken) => {
        assert(!isReleased, "a read that ended takes nothing");
        const more = Math.max(0, inUse + taken - reserved);
        if (more > 0 && !isEnough && used + more > bytesMax) return false;
        inUse += taken;
        reserved += more;
        add(account, more);
        return true;
      },
      give: (given) => {
        inUse -= given;
        assert(inUse >= 0, "a read gives back what it took");
        if (isReleased) trim();
      },
      release: () => {
        isReleased = true;
        trim();
      },
    };
  };

  return {
    used: () => used,
    open: (flush) => {
      const account: Account = { bytes: 0, flush };
      accounts.add(account);
      return {
        add: (bytes) => add(account, bytes),
        reserve: async (bytes, isEnough, signal) => {
          signal.throwIfAborted();
          if (waiting.length === 0 && fits(bytes)) add(account, bytes);
          else await wait(account, bytes, signal);
          return openReservation(account, bytes, isEnough);
        },
        isShort: () => waiting.length > 0,
        held: () => account.bytes,
        close: () => {
          if (!accounts.delete(account)) return;
          used -= account.bytes;
          grantNext();
        },
      };
    },
  };
}
