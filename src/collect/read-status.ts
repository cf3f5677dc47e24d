import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import { createLimiter } from "#lib/limit.ts";
import type { StateStore } from "#state/store.ts";
import { toClusterStatus, toDamagedStatus, uncheckedWarning, type StatusFacts } from "./cluster-state.ts";
import { readProgress } from "./progress-store.ts";
import type { ClusterStatus, CollectionStatus, RoundResult } from "./status.ts";

/** Progress records that one status reads at once: the store may be a sidecar behind HTTP. */
const READS_AT_ONCE = 16;
const UNCHECKED_NAMED_MAX = 10;

export interface StatusSettings {
  enabled: boolean;
  scheduler: "dapr" | "internal";
  intervalMs: number;
  /** Warnings about the configuration. */
  warnings: readonly string[];
}

/** The status of one cluster, from its progress record. Throws BridgeError `state_unavailable`. */
export async function readClusterStatus(
  store: StateStore,
  cluster: Cluster,
  facts: StatusFacts,
): Promise<ClusterStatus> {
  try {
    return toClusterStatus(cluster, await readProgress(store, cluster.id), facts);
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
    return toDamagedStatus(cluster, error, facts);
  }
}

/** The status of all clusters of the registry, each as `statusOf` gives it. Throws the errors of the registry and of `statusOf`. */
export async function readCollectionStatus(
  registry: ClusterRegistry,
  statusOf: (cluster: Cluster) => Promise<ClusterStatus>,
  rounds: { current: RoundResult | null; last: RoundResult | null },
  settings: StatusSettings,
): Promise<CollectionStatus> {
  const clusters = await registry.list();
  const limit = createLimiter(READS_AT_ONCE);
  const unchecked = clusters.filter((cluster) => !cluster.validateCerts).map((cluster) => cluster.id);
  const named = unchecked.slice(0, UNCHECKED_NAMED_MAX).join(", ");
  return {
    enabled: settings.enabled,
    scheduler: settings.scheduler,
    interval_seconds: settings.intervalMs / 1000,
    current_round: rounds.current,
    last_round: rounds.last,
    clusters: await Promise.all(clusters.map((cluster) => limit(() => statusOf(cluster)))),
    warnings: [
      ...settings.warnings,
      ...(registry.warnings?.() ?? []),
      ...(unchecked.length > 0 ? [`${named}: ${uncheckedWarning}`] : []),
    ],
  };
}
