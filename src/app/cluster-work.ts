import { Agent } from "undici";
import { createAwsSigners } from "#aws/signer.ts";
import { loadKubernetesClient } from "#clusters/kubernetes-client-config.ts";
import { createCollectCluster, type CollectCluster } from "#collect/collect-cluster.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import { openCredentials } from "#clusters/open-credentials.ts";
import type { Clock } from "#lib/clock.ts";
import { createMemoryBudget } from "#lib/memory-budget.ts";
import { createTurns } from "#lib/turns.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter } from "#otlp/exporter.ts";
import { createObservedTransport } from "#otlp/observed-transport.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { createTransport } from "#otlp/transport.ts";
import { findServices } from "#onboard/find-services.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Resolve } from "#tunnel/api-server-guard.ts";
import { createKubeClient } from "#tunnel/kube-client.ts";
import type { ClusterWork, WorkPorts } from "#workers/ports.ts";
import { createClusterDiagnosis } from "./cluster-diagnosis.ts";
import { createGuardOf } from "./guard.ts";
import { createOpenPrometheus } from "./open-prometheus.ts";
import type { WorkSettings } from "./work-settings.ts";

const DELIVERY_WAIT = { initialMs: 1000, multiplier: 2, maxMs: 15_000 };
const BATCHES_IN_FLIGHT = 2;
/** Of one answer, compressed: half a million samples or more. */
const KEPT_BYTES = 8 << 20;
/** Of MEMORY_BUDGET; the rest is for buffers that wait to be used again. */
const IN_USE_SHARE = 7 / 8;
/** Of one cluster in a round. */
const ISOLATION_REQUESTS = 400;

export interface ClusterWorkDeps {
  clock: Clock;
  random: () => number;
  logger: Logger;
  ports: WorkPorts;
  /** How the names of API servers are resolved. */
  resolve?: Resolve;
}

/** Everything that talks to clusters: tunnels, Prometheus clients, conversion, the way to the Collector. */
export async function createClusterWork(settings: WorkSettings, deps: ClusterWorkDeps): Promise<ClusterWork> {
  await loadKubernetesClient();
  const { config, queries, collector } = settings;
  const { clock, logger, ports } = deps;
  const { keyring, metrics } = ports;
  const guardOf = createGuardOf(config, deps.resolve);
  const agent = new Agent({ connections: 64, pipelining: 1 });
  const signerOf = createAwsSigners({ clock, dispatcher: agent, environment: settings.aws });
  const parts = { clock, logger, keyring, guardOf, queries, signerOf };
  const openPrometheus = createOpenPrometheus(config, { ...parts, metrics });
  const diagnosis = createClusterDiagnosis(config, { ...parts, collector });
  return {
    collect: createCollect(settings, { ...deps, openPrometheus, dispatcher: agent }),
    check: async (cluster, signal) => {
      const connection = await openPrometheus(cluster, undefined, signal);
      try {
        await connection.client.now(signal);
      } finally {
        await connection.close();
      }
    },
    diagnose: diagnosis.diagnose,
    findServices: async (cluster, signal) => {
      const guard = guardOf(cluster);
      const { kubeConfig } = await openCredentials(cluster, keyring);
      const timeoutMs = config.METRICS_COLLECTION_TIMEOUT;
      const kube = createKubeClient({ kubeConfig, clock, ...(guard ? { guard } : {}) }, { timeoutMs });
      const { namespace } = cluster.prometheus;
      return await findServices(
        kube,
        { namespace, configuredService: config.PROMETHEUS_SERVICE_NAME },
        signal,
      );
    },
    close: async () => {
      await Promise.all([agent.destroy(), diagnosis.close()]);
    },
  };
}

function createCollect(
  settings: WorkSettings,
  deps: ClusterWorkDeps & { openPrometheus: OpenPrometheus; dispatcher: Agent },
): CollectCluster {
  const { config, queries, collector, version, database } = settings;
  const { clock, logger, ports, openPrometheus, dispatcher } = deps;
  const { metrics, store } = ports;
  const single = createObservedTransport({
    clock,
    onAttempt: ({ result, ...facts }) => {
      const error = "error" in result ? { error: result.error.code } : {};
      metrics.exportFinished({ outcome: result.kind, ...facts, ...error });
    },
    transport: createTransport(
      { clock, dispatcher },
      { ...collector, compression: config.OTLP_COMPRESSION, timeoutMs: config.EXPORT_TIMEOUT },
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
  const pool = createBufferPool(config.MAX_CONCURRENT_CLUSTERS, config.MEMORY_BUDGET - inUseMax);
  const memory = createMemoryBudget(inUseMax);
  return createCollectCluster(
    { clock, logger, metrics, store, openPrometheus, exporter, pool, memory, turns: createTurns() },
    {
      queries,
      intervalMs: config.COLLECTION_INTERVAL,
      lagMs: config.COLLECTION_LAG,
      unlistedSeriesMax: config.CATALOGUE_SERIES_MAX,
      ...(config.PROOF_STRETCH > 0
        ? { proof: { stretchMs: config.PROOF_STRETCH, delayMs: config.PROOF_DELAY } }
        : {}),
      initialLookbackMs: config.INITIAL_LOOKBACK,
      maxBackfillMs: config.MAX_BACKFILL,
      windowMsMax: config.MAX_QUERY_WINDOW,
      lanes: config.QUERY_CONCURRENCY,
      batchPointsMax: config.METRICS_BATCH_SIZE,
      batchBytesMax: config.METRICS_BATCH_BYTES,
      keptBytesMax: KEPT_BYTES,
      batchesInFlightMax: BATCHES_IN_FLIGHT,
      version,
      ...(database ? { database } : {}),
    },
  );
}
