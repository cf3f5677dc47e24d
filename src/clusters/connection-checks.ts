import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import type { Cluster } from "./cluster.ts";

/** Throws the BridgeError of what is wrong when the cluster can't be collected from, or the signal's reason. */
export type CheckConnection = (cluster: Cluster, signal: AbortSignal) => Promise<void>;

export interface ConnectionCheckSettings {
  /** For one check, including the wait for its turn. */
  checkTimeoutMs: number;
  checksAtOnce: number;
}

/** Runs connection checks, each within its time and only so many at once. A failure is the caller's error: it gets the status 422. */
export function createConnectionChecks(
  deps: { clock: Clock; checkConnection: CheckConnection },
  settings: ConnectionCheckSettings,
): CheckConnection {
  return createClusterCalls({ clock: deps.clock, call: deps.checkConnection }, settings, {
    what: "the check",
    failed: "the connection check failed, nothing was stored",
    hint: " (?check=false stores without a check.)",
  });
}

/** For the messages: `the check did not finish in 30 s`, `FAILED: what the cluster answered`. `hint`: after the remedy. */
interface CallWords {
  what: string;
  failed: string;
  hint?: string;
}

/** Runs calls that an administrator asked for, each within its time and only so many at once. A failure gets the status 422. */
export function createClusterCalls<T>(
  { clock, call }: { clock: Clock; call: (cluster: Cluster, signal: AbortSignal) => Promise<T> },
  { checkTimeoutMs, checksAtOnce }: ConnectionCheckSettings,
  words: CallWords,
): (cluster: Cluster, signal: AbortSignal) => Promise<T> {
  const limit = createLimiter(checksAtOnce);
  return async (cluster, signal) => {
    let hasStarted = false;
    const toTimeout = (): BridgeError => timeout(words.what, checkTimeoutMs, hasStarted);
    const limited = deadline(clock, checkTimeoutMs, toTimeout, signal);
    try {
      const result = limit(async () => {
        limited.signal.throwIfAborted();
        hasStarted = true;
        return await call(cluster, limited.signal);
      });
      // A caller that gives up does not wait for its turn.
      return await abortable(result, limited.signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof BridgeError ? failure(error, words) : error;
    } finally {
      limited.dispose();
    }
  };
}

function timeout(what: string, ms: number, hasStarted: boolean): BridgeError {
  const inTime = `in ${ms / 1000} s`;
  if (hasStarted) return new BridgeError("cluster_timeout", `${what} did not finish ${inTime}`);
  return new BridgeError("cluster_timeout", `${what} did not get its turn ${inTime}`, {
    hint: "Checks of other clusters are under way: try again when these are done.",
  });
}

function failure(error: BridgeError, { failed, hint = "" }: CallWords): BridgeError {
  return new BridgeError(error.code, `${failed}: ${error.message}`, {
    cause: error,
    hint: `${error.hint}${hint}`,
    httpStatus: 422,
    ...(error.details ? { details: error.details } : {}),
  });
}
