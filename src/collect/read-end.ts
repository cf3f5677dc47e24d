import type { BridgeError } from "#errors/error.ts";

/**
 * How the read of a window ended.
 * - done: it was read to its end.
 * - too_much: the source refused it as too many samples or too large.
 * - slow: no answer in time.
 * - cut: the connection or the answer broke off after samples had arrived, or after some time.
 * - failed: any other failure of this window.
 * - unreachable: the cluster or the Collector failed, which says nothing about the window.
 * - aborted: the end of the round cut it short.
 */
export type ReadEnd = "done" | "too_much" | "slow" | "cut" | "failed" | "unreachable" | "aborted";

/** A read that fails after this time may have failed because of it: proxies and load balancers on the path have time limits of their own. */
const LONG_READ_MS = 5000;

/** Did the read take so long that its duration may be the reason of its failure? */
export function isLongRead(tookMs: number): boolean {
  return tookMs >= LONG_READ_MS;
}

/** Classifies the failure of a read by what it says about the window. */
export function toReadEnd(
  error: BridgeError,
  read: { hasSamples: boolean; tookMs: number; isAborted: boolean },
): ReadEnd {
  if (read.isAborted) return "aborted";
  if (error.code === "prometheus_too_many_samples" || error.code === "prometheus_answer_too_large")
    return "too_much";
  if (isTimeout(error)) return "slow";
  const isAboutData = /^prometheus_(query|answer|unexpected|overloaded)/.test(error.code);
  const isCut = error.code.startsWith("tunnel_") || error.code === "prometheus_answer_truncated";
  // Before the first sample, either a proxy on the path gave up waiting, or the connection to the cluster broke: only a long wait tells them apart.
  if (isCut && (read.hasSamples || (isLongRead(read.tookMs) && error.code === "tunnel_closed"))) return "cut";
  return isAboutData ? "failed" : "unreachable";
}

function isTimeout(error: BridgeError): boolean {
  return (
    error.code === "prometheus_timeout" ||
    (error.code === "prometheus_overloaded" && /timed out|timeout/i.test(error.message))
  );
}
