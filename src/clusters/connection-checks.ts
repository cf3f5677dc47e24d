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
  { checkTimeoutMs, checksAtOnce }: ConnectionCheckSettings,
): CheckConnection {
  const limit = createLimiter(checksAtOnce);
  return async (cluster, signal) => {
    let hasStarted = false;
    const toTimeout = (): BridgeError => checkTimeout(checkTimeoutMs, hasStarted);
    const limited = deadline(deps.clock, checkTimeoutMs, toTimeout, signal);
    try {
      const check = limit(async () => {
        limited.signal.throwIfAborted();
        hasStarted = true;
        await deps.checkConnection(cluster, limited.signal);
      });
      // A caller that gives up does not wait for its turn.
      await abortable(check, limited.signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error instanceof BridgeError ? checkFailed(error) : error;
    } finally {
      limited.dispose();
    }
  };
}

function checkTimeout(ms: number, hasStarted: boolean): BridgeError {
  const inTime = `in ${ms / 1000} s`;
  if (hasStarted) return new BridgeError("cluster_timeout", `the check did not finish ${inTime}`);
  return new BridgeError("cluster_timeout", `the check did not get its turn ${inTime}`, {
    hint: "Checks of other clusters are under way: try again when these are done.",
  });
}

function checkFailed(error: BridgeError): BridgeError {
  return new BridgeError(error.code, `the connection check failed, nothing was stored: ${error.message}`, {
    cause: error,
    hint: `${error.hint} (?check=false stores without a check.)`,
    httpStatus: 422,
    ...(error.details ? { details: error.details } : {}),
  });
}
