import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError, type BridgeError } from "#errors/error.ts";
import type { StateRecords } from "#state/store.ts";
import { recordLast } from "./last-collection.ts";
import { openProgress } from "./progress-store.ts";
import { emptyResult } from "./round-result.ts";
import type { ClusterResult } from "./status.ts";

/** The result of a collection that ended before it could write its own, noted in the cluster's progress for the status. Never throws. */
export async function recordFailure(
  store: StateRecords,
  cluster: Cluster,
  error: BridgeError,
  facts: { nowMs: number; durationMs: number },
): Promise<ClusterResult> {
  const result = (reason: BridgeError): ClusterResult => ({
    ...emptyResult(cluster, "failed", reason),
    duration_seconds: facts.durationMs / 1000,
  });
  try {
    const file = await openProgress(store, cluster.id);
    recordLast(file.progress, result(error), {
      totals: undefined,
      skewMs: undefined,
      queries: [],
      nowMs: facts.nowMs,
    });
    await file.save();
    return result(error);
  } catch (thrown) {
    return result(toBridgeError(thrown, "state_unavailable"));
  }
}
