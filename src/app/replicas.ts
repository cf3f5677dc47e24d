import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { ClusterRegistry } from "#clusters/cluster.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import { Replicas } from "#replicas/replicas.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import type { Config } from "#config.ts";

const NAME_CHARS_MAX = 128;

/** This process among the replicas of the bridge, over the state store. One alone is the same as many. */
export async function startReplicas(
  config: Config,
  base: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
  parts: { store: StateStore; registry: ClusterRegistry; metrics: OwnMetrics; version: string },
): Promise<Replicas> {
  const { registry, metrics, store, version } = parts;
  const listClusters = async (): Promise<string[]> =>
    (await registry.list()).flatMap(({ id, enabled }) => (enabled ? [id] : []));
  const replicas = new Replicas(
    {
      ...base,
      store,
      listClusters,
      isRegistered: async (id) => (await registry.isRegistered?.(id)) ?? true,
      metrics,
    },
    {
      name: config.REPLICA_NAME ?? hostReplicaName(),
      incarnation: randomUUID(),
      version,
      collects: config.METRICS_COLLECTION_ENABLED,
    },
  );
  metrics.observeReplicas(() => replicas.facts());
  // A former owner's watermark does not move any more.
  metrics.showLagOf((clusterId) => replicas.knows(clusterId));
  await replicas.start();
  base.lifecycle.onStop("replica", () => replicas.stop());
  return replicas;
}

function hostReplicaName(): string {
  return hostname().slice(0, NAME_CHARS_MAX) || "localhost";
}
