import { BridgeError } from "#errors/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { LOSS_TEXTS, type Loss } from "./progress.ts";
import type { ReadTotals } from "./window-ledger.ts";

const QUERIES_LOGGED_MAX = 20;

/** The error that a collection ends with: its first failure, else the refused points, else the lost time. Undefined: a success. */
export function outcomeError(totals: ReadTotals): BridgeError | undefined {
  return totals.failures[0]?.error ?? refusal(totals) ?? lossError(totals.losses);
}

/** One line for each kind of failure, with the queries that had it. */
export function logFailures({ failures }: ReadTotals, logger: Logger): void {
  for (const [code, same] of Map.groupBy(failures, ({ error }) => error.code)) {
    const queries = [...new Set(same.map(({ query }) => query))].slice(0, QUERIES_LOGGED_MAX);
    logger.warn({ code, queries, windows: same.length }, `not collected: ${same[0]!.error.message}`);
  }
}

/** Refused points are on record and their windows are committed, but the collection is no success. */
function refusal({ refusedPoints, refusedSeries }: ReadTotals): BridgeError | undefined {
  if (refusedPoints === 0) return refusedSeries;
  return new BridgeError(
    "collector_refused",
    `the Collector refused ${refusedPoints} points for good: see gaps in the status`,
  );
}

/** Lost time is on record and will not be read any more, but the collection is no success. */
function lossError(losses: readonly Loss[]): BridgeError | undefined {
  if (losses.length === 0) return undefined;
  return new BridgeError("samples_lost", `samples can't be collected any more: ${lossText(losses)}`);
}

/** Logs and counts lost time. */
export function reportLosses(
  losses: readonly Loss[],
  metrics: Pick<OwnMetrics, "timeLost">,
  logger: Logger,
): void {
  for (const [reason, same] of Map.groupBy(losses, (loss) => loss.reason)) {
    const queries = [...new Set(same.map(({ query }) => query))].slice(0, QUERIES_LOGGED_MAX);
    logger.error({ code: "samples_lost", reason, queries }, `lost: ${lossText(same)}`);
    metrics.timeLost(reason, same.reduce((sum, { from, to }) => sum + to - from, 0) / 1000);
  }
}

/** For example `2 queries between … and … (older than MAX_BACKFILL)`. */
export function lossText(losses: readonly Loss[]): string {
  const queries = new Set(losses.map(({ query }) => query)).size;
  const from = losses.reduce((earliest, loss) => Math.min(earliest, loss.from), Infinity);
  const to = losses.reduce((latest, loss) => Math.max(latest, loss.to), -Infinity);
  const reasons = [...new Set(losses.map(({ reason }) => LOSS_TEXTS[reason]))].join("; ");
  const between = `between ${new Date(from).toISOString()} and ${new Date(to).toISOString()}`;
  return `${queries} ${queries === 1 ? "query" : "queries"} ${between} (${reasons})`;
}
