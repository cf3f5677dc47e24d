/** One limit for the bytes that all readers together keep. Nothing is refused: readers wait while the budget is used up. */
export interface MemoryBudget {
  /**
   * `flush`: called when a reader has to wait; hands on batches that are held only because they are not full yet. `signal`: ends every wait
   * of the account.
   */
  open(flush: () => void, signal: AbortSignal): MemoryAccount;
  /** Bytes that all accounts hold. */
  used(): number;
}

/** The bytes that one reader (a cluster's collection) holds. */
export interface MemoryAccount {
  /** Counts bytes that were taken, or, below 0, given back. Never waits: the bytes are in memory already. */
  add(bytes: number): void;
  /** Undefined while there is room, else a promise of it. Asked before each further piece that is read. */
  room(): Promise<void> | undefined;
  /** Gives everything back. */
  close(): void;
}

interface Waiter {
  account: MemoryAccount;
  wake: () => void;
}

/**
 * Accounts wait in the order in which they asked, and go on one for each turn of the event loop, so that the first can take its bytes before the
 * next one looks. No account waits for another that waits: the batches of waiting readers are flushed, so their bytes come back when the
 * receiver takes them or the time for that is over.
 */
export function createMemoryBudget(bytesMax: number): MemoryBudget {
  const accounts = new Map<MemoryAccount, { bytes: number; flush: () => void }>();
  const waiting: Waiter[] = [];
  let used = 0;
  let isWaking = false;

  const wakeNext = (): void => {
    if (isWaking || waiting.length === 0 || used >= bytesMax) return;
    isWaking = true;
    waiting.shift()!.wake();
    setImmediate(() => {
      isWaking = false;
      wakeNext();
    });
  };

  /** The largest first: the others may then not have to. */
  const flushAll = (): void => {
    const holding = [...accounts.values()].filter((account) => account.bytes > 0);
    for (const account of holding.sort((a, b) => b.bytes - a.bytes)) account.flush();
  };

  const wait = async (account: MemoryAccount, signal: AbortSignal): Promise<void> => {
    flushAll();
    while (used >= bytesMax && !signal.aborted)
      await new Promise<void>((wake) => void waiting.push({ account, wake }));
  };

  /** Lets those of one account go, whatever the room. */
  const dismiss = (account: MemoryAccount): void => {
    for (const waiter of waiting.filter((each) => each.account === account)) {
      waiting.splice(waiting.indexOf(waiter), 1);
      waiter.wake();
    }
  };

  return {
    used: () => used,
    open: (flush, signal) => {
      const state = { bytes: 0, flush };
      const account: MemoryAccount = {
        add: (bytes) => {
          if (!accounts.has(account)) return;
          state.bytes += bytes;
          used += bytes;
          if (bytes < 0) wakeNext();
        },
        room: () => (used < bytesMax ? undefined : wait(account, signal)),
        close: () => {
          signal.removeEventListener("abort", onAbort);
          if (!accounts.delete(account)) return;
          used -= state.bytes;
          dismiss(account);
          wakeNext();
        },
      };
      const onAbort = (): void => dismiss(account);
      signal.addEventListener("abort", onAbort, { once: true });
      accounts.set(account, state);
      return account;
    },
  };
}
