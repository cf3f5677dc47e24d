import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError, type BridgeError } from "#errors/error.ts";
import type { StateRecords } from "#state/store.ts";
import { fencedRecords } from "./fenced-records.ts";
import { recordLast } from "./last-collection.ts";
import { isLeaseLost } from "./ownership.ts";
import { openProgress } from "./progress-store.ts";
import { emptyResult } from "./round-result.ts";
import type { ClusterResult } from "./status.ts";

/** The result of a collection that ended before it could write its own, noted in the cluster's progress for the status. Never throws. */
export async function recordFailure(
  store: StateRecords,
  cluster: Cluster,
  error: BridgeError,
  facts: { nowMs: number; durationMs: number; epoch: number },
): Promise<ClusterResult> {
  const result = (reason: BridgeError): ClusterResult => ({
    ...emptyResult(cluster, isLeaseLost(reason) ? "skipped" : "failed", reason),
    duration_seconds: facts.durationMs / 1000,
  });
  try {
    if (isLeaseLost(error)) return result(error);
    const file = await openProgress(fencedRecords(store, facts.epoch), cluster.id);
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
