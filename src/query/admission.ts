import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";

export interface AdmissionLimits {
  /** Requests that run at the same time. */
  parallelMax: number;
  /** Requests that wait. One caller may hold half of the places. */
  queueMax: number;
  /** From a request's arrival to its answer, waiting included. */
  timeoutMs: number;
}

/** Retry-After of a refused request. */
const RETRY_AFTER_SECONDS = 5;

/** Lets a bounded number of requests query the database at once. */
export interface QueryAdmission {
  /**
   * Waits for a free place, runs `work` and resolves as it does. The signal that `work` gets is aborted by the limit of time or by `signal`.
   * `caller`: the key of the limit per caller, for example a token. Throws `query_busy` (`details.limit`: queue or caller) when too many wait,
   * `query_timeout` (`details.limit`: time), and the signal's reason.
   */
  run<T>(caller: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

interface Waiter {
  caller: string;
  enter: () => void;
}

/**
 * A free place goes to the oldest request of the caller with the fewest running requests, so that a caller who sends hundreds delays the
 * others by one request at most. Mimir's query scheduler treats tenants in the same way.
 */
export function createQueryAdmission(deps: { clock: Clock }, limits: AdmissionLimits): QueryAdmission {
  const { clock } = deps;
  const waiting = new Set<Waiter>();
  const running = new Map<string, number>();
  const perCallerMax = Math.max(1, Math.floor(limits.queueMax / 2));
  let free = limits.parallelMax;

  const countRunning = (caller: string, change: 1 | -1): void => {
    const count = (running.get(caller) ?? 0) + change;
    if (count === 0) running.delete(caller);
    else running.set(caller, count);
  };

  const takeNext = (): Waiter | undefined => {
    let next: Waiter | undefined;
    for (const waiter of waiting) {
      const isEarlier = next === undefined || runningOf(waiter) < runningOf(next);
      if (isEarlier) next = waiter;
    }
    return next;
  };
  const runningOf = ({ caller }: Waiter): number => running.get(caller) ?? 0;

  const refuseFull = (caller: string): void => {
    const own = [...waiting].filter((waiter) => waiter.caller === caller).length;
    if (own >= perCallerMax) throw busy("caller", `${own} queries of this caller are waiting`);
    if (waiting.size >= limits.queueMax) throw busy("queue", `${waiting.size} queries are waiting`);
  };

  const enter = async (caller: string, signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (free > 0) free--;
    else {
      refuseFull(caller);
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          waiting.delete(waiter);
          reject(signal.reason as Error);
        };
        const waiter = {
          caller,
          enter: () => {
            waiting.delete(waiter);
            signal.removeEventListener("abort", leave);
            resolve();
          },
        };
        waiting.add(waiter);
        signal.addEventListener("abort", leave, { once: true });
      });
    }
    countRunning(caller, 1);
  };

  const leave = (caller: string): void => {
    countRunning(caller, -1);
    const next = takeNext();
    if (next) next.enter();
    else free++;
  };

  return {
    run: async (caller, signal, work) => {
      const limit = deadline(clock, limits.timeoutMs, () => timeout(limits.timeoutMs), signal);
      try {
        await enter(caller, limit.signal);
        try {
          return await abortable(work(limit.signal), limit.signal);
        } finally {
          leave(caller);
        }
      } finally {
        limit.dispose();
      }
    },
  };
}

function busy(limit: "queue" | "caller", problem: string): BridgeError {
  return new BridgeError("query_busy", problem, {
    details: { limit, retry_after_seconds: RETRY_AFTER_SECONDS },
  });
}

function timeout(timeoutMs: number): BridgeError {
  return new BridgeError(
    "query_timeout",
    `waiting and running, the query took longer than ${timeoutMs / 1000} s`,
    {
      details: { limit: "time" },
    },
  );
}
