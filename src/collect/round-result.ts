import { randomUUID } from "node:crypto";
import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError, toErrorBody } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { isLeaseLost } from "./ownership.ts";
import type { ClusterResult, RoundResult, RoundTrigger } from "./status.ts";

/** A round over `clusters` that begins now. Those of `busy` are skipped: an earlier round still works on them. */
export function newRound(
  trigger: RoundTrigger,
  clusters: readonly Cluster[],
  busy: readonly Cluster[],
  nowMs: number,
  id: string = randomUUID(),
): RoundResult {
  const skipped = (cluster: Cluster): ClusterResult =>
    emptyResult(
      cluster,
      "skipped",
      new BridgeError("cluster_busy", "an earlier round still works on this cluster"),
    );
  return {
    id,
    trigger,
    started_at: new Date(nowMs).toISOString(),
    finished_at: null,
    duration_seconds: null,
    total: clusters.length,
    successful: 0,
    partial: 0,
    failed: 0,
    skipped: busy.length,
    points: 0,
    bytes: 0,
    clusters: busy.map(skipped),
  };
}

/** The result of a cluster without any collected samples. */
export function emptyResult(
  cluster: Cluster,
  outcome: ClusterResult["outcome"],
  error: BridgeError,
): ClusterResult {
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    outcome,
    points: 0,
    series: 0,
    bytes: 0,
    duration_seconds: 0,
    error: toErrorBody(error),
  };
}

/** Adds the result of one of the round's clusters. */
export function addResult(round: RoundResult, result: ClusterResult): void {
  round.clusters.push(result);
  round[result.outcome]++;
  round.points += result.points;
  round.bytes += result.bytes;
  const { successful, partial, failed, skipped } = round;
  assert(successful + partial + failed + skipped === round.clusters.length, "a result has one outcome");
  assert(round.clusters.length <= round.total, "a cluster has one result in a round");
}

/** Every cluster of the round has its result. */
export function finishRound(round: RoundResult, nowMs: number, durationSeconds: number): void {
  assert(round.clusters.length === round.total, "a finished round has the result of each cluster");
  round.duration_seconds = durationSeconds;
  round.finished_at = new Date(nowMs).toISOString();
}

/** Did the round find every cluster busy, and so do nothing? */
export function isIdleRound(round: RoundResult): boolean {
  return round.total > 0 && round.skipped === round.total;
}

/** Logs and counts how one cluster of a round went. */
export function reportResult(
  round: RoundResult,
  result: ClusterResult,
  metrics: Pick<OwnMetrics, "collectionFinished" | "errorOccurred">,
  logger: Logger,
): void {
  const { error, ...facts } = result;
  const isOthers = isLeaseLost(error);
  metrics.collectionFinished({
    outcome: result.outcome,
    durationSeconds: result.duration_seconds,
    points: result.points,
    series: result.series,
    ...(error ? { error: error.code } : {}),
  });
  if (!error) {
    logger.info({ ...facts, round: round.id }, `cluster ${result.outcome}`);
    return;
  }
  // The cluster is well: another replica collects it.
  if (!isOthers) metrics.errorOccurred(error.code);
  logger[isOthers ? "info" : "warn"](
    { ...facts, round: round.id, code: error.code, hint: error.hint },
    `cluster ${result.outcome}: ${error.message}`,
  );
}

/** Logs and counts how a finished round went as a whole. */
export function reportRound(
  round: RoundResult,
  metrics: Pick<OwnMetrics, "roundFinished">,
  logger: Logger,
): void {
  const outcome = outcomeOf(round);
  metrics.roundFinished({ outcome, durationSeconds: round.duration_seconds ?? 0 });
  const { clusters: _results, ...summary } = round;
  logger.info(summary, `round ${outcome}`);
}

function outcomeOf({ successful, partial, failed }: RoundResult): "successful" | "partial" | "failed" {
  if (failed === 0 && partial === 0) return "successful";
  return successful + partial > 0 ? "partial" : "failed";
}
