import { hostname } from "node:os";
import { join } from "node:path";
import { Agent } from "undici";
import { createOtlpReceiver } from "#allinone/otlp-receiver.ts";
import { openChdb } from "#allinone/chdb.ts";
import { loadClustersFile, type ClusterDefaults } from "#clusters/clusters-file.ts";
import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { toKubeConfig } from "#clusters/kube-config.ts";
import { createFileRegistry } from "#clusters/registry.ts";
import { uncheckedWarning } from "#collect/cluster-state.ts";
import { createCollectCluster } from "#collect/collect-cluster.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import { createRounds, type Rounds } from "#collect/round.ts";
import type { Collection } from "#collect/status.ts";
import { createTicker } from "#collect/ticker.ts";
import { toBridgeError } from "#errors.ts";
import { refuseOpenBind } from "#http/loopback.ts";
import type { LatestSamples } from "#http/routes/cluster-metrics.ts";
import { createHttpServer } from "#http/server.ts";
import { loadTokensFile } from "#http/tokens.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createLifecycle, type Lifecycle } from "#lib/lifecycle.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter } from "#otlp/exporter.ts";
import { createObservedTransport } from "#otlp/observed-transport.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { createTransport } from "#otlp/transport.ts";
import { loadQueries } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";
import { createLatest } from "#query/latest.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import type { StateStore } from "#state/store.ts";
import { createClickHouse } from "#storage/clickhouse.ts";
import type { Database } from "#storage/database.ts";
import { migrate } from "#storage/migrate.ts";
import type { Logger } from "#telemetry/logger.ts";
import { createOwnMetrics, type OwnMetrics } from "#telemetry/metrics.ts";
import { openTunnel } from "#tunnel/dispatcher.ts";
import type { Config } from "./config.ts";

export const SERVICE = { name: "budcluster", version: "0.1.0" };

/** What tests, the demo and the command line put in place of the program's own parts. */
export interface Overrides {
  clock?: Clock;
  random?: () => number;
  /** Instead of CLUSTERS_FILE. */
  registry?: ClusterRegistry;
}

export interface App {
  /** Starts everything; when a part fails, ends the others again and throws its BridgeError. */
  start(): Promise<RunningApp>;
  /** Ends a round within `STOP_GRACE_MS` and then everything else. Never throws; may be called at any time. */
  stop(): Promise<void>;
}

export interface RunningApp {
  /** Base URL of the HTTP API. */
  url: string;
  collection: Collection;
}

/** What a round gets to come to an end before it is abandoned. Kubernetes kills after 30 s, users expect 10 s. */
const STOP_GRACE_MS = 6000;
const DELIVERY_WAIT = { initialMs: 1000, multiplier: 2, maxMs: 15_000 };
const BATCHES_IN_FLIGHT = 2;
const ISOLATION_REQUESTS = 256;
const LAG_CLUSTERS_MAX = 500;

/** The roles bridge and all-in-one: everything that collects. */
export function createApp(config: Config, logger: Logger, overrides: Overrides = {}): App {
  const clock = overrides.clock ?? systemClock;
  const lifecycle = createLifecycle((part, error) =>
    logger.error({ err: error, part }, "a part did not end well"),
  );

  const start = async (): Promise<RunningApp> => {
    const queries = await loadQueries(config.QUERIES_FILE);
    const tokens = config.API_TOKENS_FILE === undefined ? [] : await loadTokensFile(config.API_TOKENS_FILE);
    refuseOpenBind(config.HOST, tokens.length > 0 || config.APP_API_TOKEN !== undefined);
    const registry = overrides.registry ?? createFileRegistry(await loadClusters(config, logger));
    const store = createSqliteStore({ path: join(config.DATA_DIR, "state.sqlite"), logger });
    lifecycle.onStop("state store", () => store.close());
    const storage =
      config.ROLE === "all-in-one" ? await startStorage(config, { clock, logger, lifecycle }) : undefined;
    const collectorUrl = storage?.collectorUrl ?? config.OTEL_COLLECTOR_ENDPOINT.href;
    const metrics = createOwnMetrics({ clock, logger }, ownMetricsSettings(config, collectorUrl));
    metrics.start();
    lifecycle.onStop("own metrics", () => metrics.stop());

    const deps = { clock, random: overrides.random ?? Math.random, logger, metrics, store, registry };
    const rounds = createCollection(config, deps, { queries, collectorUrl, lifecycle });
    lifecycle.onStop("collection", () => rounds.stop(STOP_GRACE_MS));
    const server = createHttpServer(
      {
        logger,
        clock,
        ownMetrics: metrics,
        collection: rounds,
        clusters: registry,
        readiness: () => checkStore(store),
        ...(storage ? { latest: storage.latest } : {}),
      },
      {
        host: config.HOST,
        port: config.PORT,
        service: SERVICE,
        access: { tokens, ...(config.APP_API_TOKEN ? { daprToken: config.APP_API_TOKEN } : {}) },
      },
    );
    await warnOfUnverified(registry, logger);
    const { url } = await server.start();
    lifecycle.onStop("HTTP server", () => server.stop());
    if (config.SCHEDULER === "internal" && config.METRICS_COLLECTION_ENABLED) {
      const ticker = createTicker(
        { collection: rounds, clock, logger },
        { intervalMs: config.COLLECTION_INTERVAL },
      );
      ticker.start();
      lifecycle.onStop("ticker", () => ticker.stop());
    }
    logger.info(
      { url, role: config.ROLE, scheduler: config.SCHEDULER, queries: queries.length },
      "listening",
    );
    return { url, collection: rounds };
  };

  return {
    stop: () => lifecycle.stop(),
    start: async () => {
      try {
        return await start();
      } catch (error) {
        await lifecycle.stop();
        throw toBridgeError(error);
      }
    },
  };
}

/** The role migrate: brings ClickHouse's tables up to date. */
export async function runMigrations(config: Config, logger: Logger, signal: AbortSignal): Promise<void> {
  const database = createClickHouse({
    url: config.CLICKHOUSE_URL.href,
    user: config.CLICKHOUSE_USER,
    password: config.CLICKHOUSE_PASSWORD,
    timeoutMs: config.CLICKHOUSE_TIMEOUT,
    logger,
  });
  try {
    await migrateTables(config, database, { clock: systemClock, logger }, signal);
  } finally {
    await database.close();
  }
}

async function migrateTables(
  config: Config,
  database: Database,
  deps: { clock: Clock; logger: Logger },
  signal: AbortSignal,
): Promise<void> {
  const retentionDays = Math.max(1, Math.round(config.CLICKHOUSE_RETENTION / 86_400_000));
  const parameters = { database: config.CLICKHOUSE_DATABASE, retentionDays };
  await migrate(database, { parameters, ...deps, signal });
}

/** Defaults that the configuration gives every cluster. */
export function clusterDefaults(config: Config): ClusterDefaults {
  return {
    prometheus: {
      namespace: config.PROMETHEUS_NAMESPACE,
      service: config.PROMETHEUS_SERVICE_NAME,
      port: config.PROMETHEUS_PORT,
      scheme: "http",
      pathPrefix: "",
    },
    validateCerts: config.VALIDATE_CERTS,
  };
}

async function warnOfUnverified(registry: ClusterRegistry, logger: Logger): Promise<void> {
  for (const cluster of await registry.list()) {
    if (!cluster.validateCerts) logger.warn({ cluster_id: cluster.id }, uncheckedWarning);
  }
}

async function loadClusters(config: Config, logger: Logger): Promise<Cluster[]> {
  if (config.CLUSTERS_FILE === undefined) {
    logger.warn("no cluster is known: set CLUSTERS_FILE, or start with --kubeconfig FILE");
    return [];
  }
  return await loadClustersFile(config.CLUSTERS_FILE, clusterDefaults(config));
}

/** The all-in-one role's own ClickHouse engine behind an OTLP receiver, in this process. */
async function startStorage(
  config: Config,
  deps: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): Promise<{ collectorUrl: string; latest: LatestSamples }> {
  const { clock, logger, lifecycle } = deps;
  const path = join(config.DATA_DIR, "clickhouse");
  const database = await openChdb({ path, logger, memoryBytesMax: config.EMBEDDED_MEMORY_MAX });
  lifecycle.onStop("embedded ClickHouse", () => database.close());
  await migrateTables(config, database, { clock, logger }, new AbortController().signal);
  const receiver = createOtlpReceiver({ database, databaseName: config.CLICKHOUSE_DATABASE, clock, logger });
  const { url } = await receiver.start("127.0.0.1", 0);
  lifecycle.onStop("OTLP receiver", () => receiver.stop());
  const latest = createLatest(database, { databaseName: config.CLICKHOUSE_DATABASE });
  return { collectorUrl: `${url}/v1/metrics`, latest };
}

interface CollectionDeps {
  clock: Clock;
  random: () => number;
  logger: Logger;
  metrics: OwnMetrics;
  store: StateStore;
  registry: ClusterRegistry;
}

function createCollection(
  config: Config,
  deps: CollectionDeps,
  parts: { queries: Awaited<ReturnType<typeof loadQueries>>; collectorUrl: string; lifecycle: Lifecycle },
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
        url: parts.collectorUrl,
        headers: config.OTLP_HEADERS,
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
  const collectCluster = createCollectCluster(
    {
      ...deps,
      exporter,
      openPrometheus: openPrometheusBy(config, deps),
      pool: createBufferPool(config.MAX_CONCURRENT_CLUSTERS),
    },
    {
      queries: parts.queries,
      lagMs: config.COLLECTION_LAG,
      initialLookbackMs: config.INITIAL_LOOKBACK,
      maxBackfillMs: config.MAX_BACKFILL,
      windowMsMax: config.MAX_QUERY_WINDOW,
      lanes: config.QUERY_CONCURRENCY,
      batchPointsMax: config.METRICS_BATCH_SIZE,
      batchBytesMax: config.METRICS_BATCH_BYTES,
      batchesInFlightMax: BATCHES_IN_FLIGHT,
      version: SERVICE.version,
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

/** The only place where a cluster, its tunnel and the Prometheus client meet. */
function openPrometheusBy(config: Config, deps: CollectionDeps): OpenPrometheus {
  const { clock, logger, metrics } = deps;
  const timeoutMs = config.METRICS_COLLECTION_TIMEOUT;
  return async (cluster, pinnedPodUid, signal) => {
    try {
      const kubeConfig = await toKubeConfig(cluster.credentials, cluster.validateCerts);
      const { pathPrefix, ...target } = cluster.prometheus;
      const tunnel = await openTunnel(
        { kubeConfig, clock, logger },
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
      const { dispatcher, origin, pod, nodeNames, warnings } = tunnel;
      const client = createPrometheusClient({ dispatcher, clock }, { origin, pathPrefix, timeoutMs });
      const close = async (): Promise<void> => {
        metrics.tunnelClosed();
        await tunnel.close();
      };
      return { client, pod, nodeNames, warnings, close };
    } catch (thrown) {
      const error = toBridgeError(thrown, "cluster_api_error");
      metrics.tunnelFailed(error.code);
      throw error;
    }
  };
}

async function checkStore(store: StateStore): Promise<string[]> {
  try {
    await store.keys("ready:");
    return [];
  } catch (error) {
    return [toBridgeError(error, "state_unavailable").message];
  }
}

function ownMetricsSettings(config: Config, collectorUrl: string): Parameters<typeof createOwnMetrics>[1] {
  const headers = Object.fromEntries(
    Object.entries(config.OTLP_HEADERS).map(([name, value]) => [name, value.expose()]),
  );
  const push = {
    url: collectorUrl,
    intervalMs: config.OWN_METRICS_INTERVAL,
    timeoutMs: config.EXPORT_TIMEOUT,
    headers,
  };
  return {
    serviceName: SERVICE.name,
    serviceVersion: SERVICE.version,
    instanceId: hostname(),
    lagClustersMax: LAG_CLUSTERS_MAX,
    // The embedded receiver is for the clusters' metrics; the program's own are at GET /metrics.
    ...(config.OWN_METRICS_INTERVAL > 0 && config.ROLE === "bridge" ? { push } : {}),
  };
}
