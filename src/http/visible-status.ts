import type { ClusterResult, CollectionStatus, RoundResult } from "#collect/status.ts";

/**
 * The status for a caller who may see only some clusters: these clusters, and rounds as if they had only these. Without the program's own
 * warnings, because they may name other clusters, and its replicas, which tell how many there are.
 */
export function toVisibleStatus(
  status: CollectionStatus,
  sees: (clusterId: string) => boolean,
): CollectionStatus {
  const clusters = status.clusters.filter((cluster) => sees(cluster.cluster_id));
  const underWay = clusters.filter((cluster) => cluster.collecting).map((cluster) => cluster.cluster_id);
  return {
    ...status,
    clusters,
    replicas: [],
    current_round: status.current_round && toVisibleRound(status.current_round, sees, underWay),
    last_round: status.last_round && toVisibleRound(status.last_round, sees, []),
    warnings: [],
  };
}

/** `underWay`: the visible clusters that are being collected; the round owns those that it has no result of yet. */
export function toVisibleRound(
  round: RoundResult,
  sees: (clusterId: string) => boolean,
  underWay: readonly string[],
): RoundResult {
  const clusters = round.clusters.filter((cluster) => sees(cluster.cluster_id));
  const finished = new Set(clusters.map((cluster) => cluster.cluster_id));
  const count = (outcome: ClusterResult["outcome"]): number =>
    clusters.filter((cluster) => cluster.outcome === outcome).length;
  return {
    ...round,
    total: clusters.length + underWay.filter((id) => !finished.has(id)).length,
    successful: count("successful"),
    partial: count("partial"),
    failed: count("failed"),
    skipped: count("skipped"),
    points: clusters.reduce((sum, { points }) => sum + points, 0),
    bytes: clusters.reduce((sum, { bytes }) => sum + bytes, 0),
    clusters,
  };
}
