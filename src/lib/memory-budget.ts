/** One limit for the bytes that all readers together keep. Nothing is refused: who reads waits while the budget is used up. */
export interface MemoryBudget {
  /**
   * `flush`: called when somebody has to wait, to hand on whatever is held only because it is not full yet. `signal`: ends every wait of the
   * account, as its reader then ends.
   */
  open(flush: () => void, signal: AbortSignal): MemoryAccount;
  /** Bytes that all accounts hold. */
  used(): number;
}

/** What one reader (a cluster's collection) holds. */
export interface MemoryAccount {
  /** Counts bytes that were taken, or, below 0, given back. Never waits: what is read already is held already. */
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
 * next one looks. No account waits for another that waits: what waiting readers hold is flushed, so it is on its way out, and comes back as the
 * receiver takes it or the time for that is over.
 */
export function createMemoryBudget(bytesMax: number): MemoryBudget {
  const accounts = new Map<MemoryAccount, { held: number; flush: () => void }>();
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
    const held = [...accounts.values()].filter((account) => account.held > 0);
    for (const account of held.sort((a, b) => b.held - a.held)) account.flush();
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
      const state = { held: 0, flush };
      const account: MemoryAccount = {
        add: (bytes) => {
          if (!accounts.has(account)) return;
          state.held += bytes;
          used += bytes;
          if (bytes < 0) wakeNext();
        },
        room: () => (used < bytesMax ? undefined : wait(account, signal)),
        close: () => {
          signal.removeEventListener("abort", onAbort);
          if (!accounts.delete(account)) return;
          used -= state.held;
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
