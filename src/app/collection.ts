import { Agent } from "undici";
import type { ClusterRegistry } from "#clusters/cluster.ts";
import type { Keyring } from "#clusters/envelope.ts";
import { openCredentials } from "#clusters/kubernetes-client-config.ts";
import { toAuthorization } from "#clusters/prometheus-credentials.ts";
import { createCollectCluster } from "#collect/collect-cluster.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import type { CommitTarget } from "#collect/progress-store.ts";
import { createRounds, type Rounds } from "#collect/round.ts";
import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import { createMemoryBudget } from "#lib/memory-budget.ts";
import { createTurns } from "#lib/turns.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter } from "#otlp/exporter.ts";
import { createObservedTransport } from "#otlp/observed-transport.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { createTransport } from "#otlp/transport.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import { namesOfSelectors } from "#prometheus/promql.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { openTunnel } from "#tunnel/dispatcher.ts";
import type { GuardOf } from "./clusters.ts";
import type { CollectorPlace } from "./storage.ts";
import type { Config } from "#config.ts";

const DELIVERY_WAIT = { initialMs: 1000, multiplier: 2, maxMs: 15_000 };
const BATCHES_IN_FLIGHT = 2;
/** Of MEMORY_BUDGET; the rest is for buffers that wait to be used again. */
const IN_USE_SHARE = 7 / 8;
/** Of one cluster in a round. */
const ISOLATION_REQUESTS = 400;

export interface CollectionDeps {
  clock: Clock;
  random: () => number;
  logger: Logger;
  metrics: OwnMetrics;
  store: StateStore;
  registry: ClusterRegistry;
  openPrometheus: OpenPrometheus;
}

/** The rounds with everything under them: transport, exporter, tunnels, Prometheus clients. */
export function createCollection(
  config: Config,
  deps: CollectionDeps,
  parts: {
    queries: Query[];
    collector: CollectorPlace;
    version: string;
    lifecycle: Lifecycle;
    database?: CommitTarget;
  },
): Rounds {
  const { clock, logger, metrics } = deps;
  const agent = new Agent({ connections: 64, pipelining: 1 });
  parts.lifecycle.onStop("connections to the Collector", () => agent.destroy());
  const single = createObservedTransport({
    clock,
    onAttempt: ({ result, ...facts }) => {
      const error = "error" in result ? { error: result.error.code } : {};
      metrics.exportFinished({ outcome: result.kind, ...facts, ...error });
    },
    transport: createTransport(
      { clock, dispatcher: agent },
      {
        ...parts.collector,
        compression: config.OTLP_COMPRESSION,
        timeoutMs: config.EXPORT_TIMEOUT,
      },
    ),
  });
  const transport = createRetryingTransport(
    { transport: single, clock, random: deps.random },
    { ...DELIVERY_WAIT, maxElapsedMs: config.EXPORT_RETRY_MAX_ELAPSED },
  );
  const exporter = createExporter(
    { transport, single, logger },
    { isolationRequestsMax: ISOLATION_REQUESTS },
  );
  const inUseMax = Math.floor(config.MEMORY_BUDGET * IN_USE_SHARE);
  const collectCluster = createCollectCluster(
    {
      ...deps,
      exporter,
      pool: createBufferPool(config.MAX_CONCURRENT_CLUSTERS, config.MEMORY_BUDGET - inUseMax),
      memory: createMemoryBudget(inUseMax),
    },
    {
      queries: parts.queries,
      intervalMs: config.COLLECTION_INTERVAL,
      lagMs: config.COLLECTION_LAG,
      initialLookbackMs: config.INITIAL_LOOKBACK,
      maxBackfillMs: config.MAX_BACKFILL,
      windowMsMax: config.MAX_QUERY_WINDOW,
      lanes: config.QUERY_CONCURRENCY,
      batchPointsMax: config.METRICS_BATCH_SIZE,
      batchBytesMax: config.METRICS_BATCH_BYTES,
      batchesInFlightMax: BATCHES_IN_FLIGHT,
      version: parts.version,
      ...(parts.database ? { database: parts.database } : {}),
    },
  );
  return createRounds(
    { ...deps, collectCluster, logger, metrics },
    {
      enabled: config.METRICS_COLLECTION_ENABLED,
      scheduler: config.SCHEDULER,
      intervalMs: config.COLLECTION_INTERVAL,
      lagMs: config.COLLECTION_LAG,
      clustersMax: config.MAX_CONCURRENT_CLUSTERS,
      clusterDeadlineMs: config.CLUSTER_DEADLINE,
      queryNames: parts.queries.map((query) => query.name),
      warnings: [],
    },
  );
}

export interface OpenPrometheusDeps extends Pick<CollectionDeps, "clock" | "logger" | "metrics"> {
  /** Opens sealed credentials; without it they can't be. */
  keyring: Keyring | undefined;
  guardOf: GuardOf;
  queries: readonly Query[];
}

/** The only place where a cluster, its tunnel and the Prometheus client meet. */
export function createOpenPrometheus(config: Config, deps: OpenPrometheusDeps): OpenPrometheus {
  const { clock, logger, metrics } = deps;
  const timeoutMs = config.METRICS_COLLECTION_TIMEOUT;
  const turns = createTurns();
  const selectors = deps.queries.flatMap((query) => (query.kind === "selector" ? [query.selector] : []));
  const metricNames = namesOfSelectors(selectors);
  return async (cluster, pinnedPodUid, signal) => {
    try {
      const { kubeConfig, prometheus } = await openCredentials(cluster, deps.keyring);
      const { pathPrefix, ...target } = cluster.prometheus;
      const guard = deps.guardOf(cluster);
      const tunnel = await openTunnel(
        { kubeConfig, clock, logger, turns, ...(guard ? { guard } : {}) },
        {
          clusterId: cluster.id,
          target,
          lanes: config.QUERY_CONCURRENCY,
          timeoutMs,
          ...(pinnedPodUid === undefined ? {} : { pinnedPodUid }),
        },
        signal,
      );
      metrics.tunnelOpened();
      const { dispatcher, origin, pod, otherPods, nodeNames, warnings } = tunnel;
      const client = createPrometheusClient(
        { dispatcher, clock, turns },
        {
          origin,
          pathPrefix,
          timeoutMs,
          ...(metricNames ? { metricNames } : {}),
          ...(prometheus ? { authorization: toAuthorization(prometheus) } : {}),
        },
      );
      const close = async (): Promise<void> => {
        metrics.tunnelClosed();
        await tunnel.close();
      };
      return { client, pod, otherPods, nodeNames, warnings, close };
    } catch (thrown) {
      const error = toBridgeError(thrown, "cluster_api_error");
      metrics.tunnelFailed(error.code);
      throw error;
    }
  };
}
