import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import { createLimiter } from "#lib/limit.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateStore } from "#state/store.ts";
import {
  toClusterStatus,
  toDamagedStatus,
  uncheckedWarning,
  watermarkOfShards,
  type StatusFacts,
} from "./cluster-state.ts";
import { readCollectionRecords, summarize } from "./completeness.ts";
import { readShards } from "./progress-store.ts";
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

/** The status of one cluster, from its records. Throws BridgeError `state_unavailable`. */
export async function readClusterStatus(
  { store, turns }: { store: StateStore; turns: Turns },
  cluster: Cluster,
  facts: Omit<StatusFacts, "queries" | "completeness">,
  { queries, stretchMs }: { queries: readonly Query[]; stretchMs: number },
): Promise<ClusterStatus> {
  const names = queries.map(({ name }) => name);
  try {
    const records = await readCollectionRecords(store, cluster.id, stretchMs);
    const completeness = await summarize(queries, records, facts.nowMs, turns);
    const shards = records.map(({ progress }) => progress);
    return toClusterStatus(cluster, records[0].progress, { ...facts, queries: names, completeness }, shards);
  } catch (error) {
    if (!isDamaged(error)) throw error;
    const completeness = await summarize([], [], facts.nowMs, turns);
    return toDamagedStatus(cluster, error, { ...facts, queries: names, completeness });
  }
}

/** The watermark of a cluster, ms; null: nothing was ever committed, or it can't be known. Throws BridgeError `state_unavailable`. */
export async function readWatermark(
  store: StateStore,
  clusterId: string,
  queries: readonly Query[],
): Promise<number | null> {
  const names = queries.map(({ name }) => name);
  try {
    return watermarkOfShards(
      (await readShards(store, clusterId)).map(({ progress }) => progress),
      names,
    );
  } catch (error) {
    if (!isDamaged(error)) throw error;
    return null;
  }
}

function isDamaged(error: unknown): error is BridgeError {
  return error instanceof BridgeError && error.code === "state_record_damaged";
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
    replicas: [],
    clusters: await Promise.all(clusters.map((cluster) => limit(() => statusOf(cluster)))),
    warnings: [
      ...settings.warnings,
      ...(registry.warnings?.() ?? []),
      ...(unchecked.length > 0 ? [`${named}: ${uncheckedWarning}`] : []),
    ],
  };
}
