import type { ClusterRegistry } from "#clusters/cluster.ts";
import type { Ownership } from "#collect/ownership.ts";
import { createRounds, type Rounds } from "#collect/round.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { Pool } from "#workers/pool.ts";
import type { Work, WorkPorts } from "#workers/ports.ts";
import { createSpawn } from "#workers/spawn.ts";
import { WORKER_LIMITS } from "#workers/worker.ts";
import type { ClusterWorkDeps } from "./cluster-work.ts";
import { workConfig, type WorkSettings } from "./work-settings.ts";
import { workerEnvironment, type Config } from "#config.ts";

const QUARANTINE = { firstMs: 5 * 60_000, maxMs: 60 * 60_000 };

/** Work in this process: for a virtual clock, and where a defect can't hurt others. */
export async function createLocalWork(settings: WorkSettings, deps: ClusterWorkDeps): Promise<Work> {
  // Its packages take memory that the main process of a pool does without.
  const { createClusterWork } = await import("./cluster-work.ts");
  return { ...(await createClusterWork(settings, deps)), forget: () => {}, problems: () => [] };
}

/** Work in COLLECTION_WORKERS processes, among which MEMORY_BUDGET is shared out. */
export async function startWorkerPool(
  config: Config,
  parts: Omit<WorkSettings, "config">,
  deps: { clock: Clock; logger: Logger; lifecycle: Lifecycle; ports: WorkPorts; metrics: OwnMetrics },
): Promise<Work> {
  const workers = config.COLLECTION_WORKERS;
  const settings: WorkSettings = {
    ...parts,
    config: { ...workConfig(config), MEMORY_BUDGET: Math.floor(config.MEMORY_BUDGET / workers) },
  };
  const memoryMax = config.WORKER_MEMORY_MAX;
  const pool = new Pool(
    { ...deps, spawn: createSpawn(workerEnvironment(), memoryMax) },
    { workers, limits: { ...WORKER_LIMITS, memoryMax }, quarantine: QUARANTINE, work: settings },
  );
  deps.metrics.observeWorkers(() => pool.facts());
  deps.lifecycle.onStop("collection workers", () => pool.close());
  await pool.started();
  return pool;
}

/** The rounds over all clusters of the registry. */
export function createCollection(
  config: Config,
  deps: {
    clock: Clock;
    logger: Logger;
    metrics: OwnMetrics;
    store: StateStore;
    registry: ClusterRegistry;
    work: Work;
    turns: Turns;
    ownership: Ownership;
  },
  queries: readonly Query[],
): Rounds {
  return createRounds(
    { ...deps, collectCluster: deps.work.collect },
    {
      enabled: config.METRICS_COLLECTION_ENABLED,
      scheduler: config.SCHEDULER,
      intervalMs: config.COLLECTION_INTERVAL,
      lagMs: config.COLLECTION_LAG,
      clustersMax: config.MAX_CONCURRENT_CLUSTERS,
      clusterDeadlineMs: config.CLUSTER_DEADLINE,
      queries,
      stretchMs: config.PROOF_STRETCH,
      warnings: [],
    },
  );
}
