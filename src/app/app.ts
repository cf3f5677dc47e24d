import { hostname } from "node:os";
import { AWS_VARIABLES } from "#aws/identity.ts";
import { loadClustersFile, type ClusterDefaults } from "#clusters/clusters-file.ts";
import type { Cluster } from "#clusters/cluster.ts";
import type { Keyring } from "#clusters/envelope.ts";
import { withCadence } from "#collect/cadence.ts";
import { createClusterCompleteness } from "#collect/completeness.ts";
import { uncheckedWarning } from "#collect/cluster-state.ts";
import { gatedRecords } from "#collect/gated-records.ts";
import { ROUND_KEY, SharedRounds } from "#collect/shared-rounds.ts";
import type { Collection } from "#collect/status.ts";
import { createTicker } from "#collect/ticker.ts";
import { toBridgeError } from "#errors/error.ts";
import { createHttpServer, type HttpServerDeps } from "#http/server.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { createLifecycle, type Lifecycle } from "#lib/lifecycle.ts";
import { createTurns } from "#lib/turns.ts";
import { loadQueries } from "#prometheus/catalogue.ts";
import { prepareDataDirectory } from "#state/data-directory.ts";
import { countRequests } from "#state/counted-store.ts";
import type { StateStore } from "#state/store.ts";
import type { Database } from "#storage/database.ts";
import type { Logger } from "#telemetry/logger.ts";
import { createOwnMetrics, type OwnMetrics } from "#telemetry/metrics.ts";
import type { Resolve } from "#tunnel/api-server-guard.ts";
import type { Work, WorkPorts } from "#workers/ports.ts";
import { loadAccess } from "./access.ts";
import { createClusters } from "./clusters.ts";
import { createCollection, createLocalWork, startWorkerPool } from "./collection.ts";
import { workConfig, type WorkSettings } from "./work-settings.ts";
import { startKeyring, warnOfPlaintext } from "./credentials.ts";
import { createOnboarding } from "./onboarding.ts";
import { queryPorts } from "./queries.ts";
import { startReplicas } from "./replicas.ts";
import { startStateStore } from "./state.ts";
import { configuredCollector, startEmbeddedStorage, startServerStorage } from "./storage.ts";
import { variablesOf, type Config } from "#config.ts";

export const SERVICE = { name: "budcluster", version: "0.1.0" };

/** Parts that tests, the demo and the command line replace. */
export interface Overrides {
  clock?: Clock;
  random?: () => number;
  /** Instead of CLUSTERS_FILE. */
  clusters?: readonly Cluster[];
  /** Instead of Dapr's store or the file in DATA_DIR: several programs can share it. Who made it closes it. */
  store?: StateStore;
  /** How the names of API servers are resolved. */
  resolve?: Resolve;
  /** local: the work on clusters runs in this process, which a clock, random numbers or a resolver of a test's own need. */
  work?: "local";
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
  /** Of the roles that collect. */
  collection?: Collection;
}

/** Time for a running round to end before it is abandoned. Kubernetes kills after 30 s, users expect 10 s. */
const STOP_GRACE_MS = 6000;
/** Time for a start that is given up to notice it: its longest step opens the embedded engine. */
const START_END_MS = 3000;
const LAG_CLUSTERS_MAX = 500;

/** Shared by all parts of a running program. */
interface Base {
  config: Config;
  clock: Clock;
  logger: Logger;
  lifecycle: Lifecycle;
}

/** The roles that run until they are stopped: bridge, query and all-in-one. */
export function createApp(config: Config, logger: Logger, overrides: Overrides = {}): App {
  const clock = overrides.clock ?? systemClock;
  const lifecycle = createLifecycle((part, error) =>
    logger.error({ err: error, part }, `shutdown of ${part} failed`),
  );
  const base: Base = { config, clock, logger, lifecycle };

  const start = async (): Promise<RunningApp> => {
    const access = await loadAccess(config, base);
    const { ports, collection, ownMetrics, facts } =
      config.ROLE === "query" ? startQuery(base) : await startCollecting(base, overrides);
    const server = createHttpServer(
      {
        logger,
        clock,
        ownMetrics,
        ...ports,
        warnings: () => [...access.warnings(), ...(ports.warnings?.() ?? [])],
      },
      {
        host: config.HOST,
        port: config.PORT,
        service: SERVICE,
        access: access.settings,
        ...(config.PAGE_ENABLED
          ? { page: { role: config.ROLE, bridgeUrl: config.PAGE_BRIDGE_URL?.href ?? null } }
          : {}),
      },
    );
    const { url } = await server.start();
    access.follow(server);
    // Together: requests that wait must not delay the end of the round, nor the round the end of the requests.
    lifecycle.onStop("HTTP server and collection", async () => {
      await Promise.all([server.stop(), collection?.stop(STOP_GRACE_MS)]);
    });
    if (collection && config.SCHEDULER === "internal" && config.METRICS_COLLECTION_ENABLED) {
      const ticker = createTicker({ collection, clock, logger }, { intervalMs: config.COLLECTION_INTERVAL });
      ticker.start();
      lifecycle.onStop("ticker", () => ticker.stop());
    }
    logger.info({ url, role: config.ROLE, ...facts }, "listening");
    return { url, ...(collection ? { collection } : {}) };
  };

  let starting: Promise<unknown> = Promise.resolve();
  return {
    stop: async () => {
      await lifecycle.stop();
      // A start under way ends when it registers its next part; it may also wait for somebody who never comes.
      const settled = new AbortController();
      await Promise.race([starting, clock.sleep(START_END_MS, settled.signal).catch(() => {})]);
      settled.abort(new Error("the start has ended"));
      await lifecycle.stop();
    },
    start: async () => {
      const running = start();
      starting = running.catch(() => {});
      try {
        return await running;
      } catch (error) {
        await lifecycle.stop();
        throw toBridgeError(error);
      }
    },
  };
}

/** The parts that a role gives the HTTP server. */
interface Started {
  ports: Omit<HttpServerDeps, "logger" | "clock" | "ownMetrics">;
  ownMetrics: OwnMetrics;
  collection?: Collection & { stop(graceMs: number): Promise<void> };
  /** For the log. */
  facts: Record<string, unknown>;
}

/** The role query: answers from the ClickHouse server, and knows nothing else. */
function startQuery(base: Base): Started {
  const { config } = base;
  const database = startServerStorage(config, base);
  return {
    ports: { ...queryPorts(config, database, base.clock), readiness: () => checkStorage(database) },
    ownMetrics: startOwnMetrics(base, undefined),
    facts: { clickhouse: config.CLICKHOUSE_URL.host },
  };
}

/** The roles bridge and all-in-one: everything that collects. */
async function startCollecting(base: Base, overrides: Overrides): Promise<Started> {
  const { config, clock, logger, lifecycle } = base;
  // Before anything is put into it.
  if (config.ROLE === "all-in-one" || config.DAPR_STATE_STORE === undefined) {
    prepareDataDirectory(config.DATA_DIR, logger);
  }
  const queries = await loadQueries(config.QUERIES_FILE, config.CATALOGUE);
  const keyring = await startKeyring(config, base);
  const fixed = overrides.clusters ?? (await loadClusters(config, keyring));
  warnOfUnverified(fixed, logger);
  warnOfPlaintext(fixed, logger);
  const { store, counts } = countRequests(overrides.store ?? (await startStateStore(config, base)));
  const clusters = createClusters(config, base, {
    fixed,
    defaults: clusterDefaults(config),
    store,
    keyring,
    ...(overrides.resolve ? { resolve: overrides.resolve } : {}),
  });
  const { registry } = clusters;
  const storage =
    config.ROLE === "all-in-one" ? await startEmbeddedStorage(config, { ...base, store }) : undefined;
  const collector = storage?.collector ?? configuredCollector(config);
  // The embedded receiver is for the clusters' metrics; the program's own are at GET /metrics.
  const metrics = startOwnMetrics(base, storage ? undefined : collector.url);
  metrics.observeStateRequests(counts);
  const replicas = await startReplicas(config, base, {
    store,
    registry,
    metrics,
    version: SERVICE.version,
  });
  const work = await startWork(
    { ...base, metrics },
    {
      queries,
      collector,
      version: SERVICE.version,
      aws: variablesOf(AWS_VARIABLES),
      ...(storage ? { database: storage.identity } : {}),
    },
    { store: gatedRecords(store, (clusterId) => replicas.holds(clusterId)), keyring, metrics },
    overrides,
  );
  const turns = createTurns();
  const rounds = createCollection(
    config,
    { clock, logger, metrics, store, registry, work, turns, ownership: replicas },
    queries,
  );
  const { random = Math.random } = overrides;
  const shared = new SharedRounds({ local: rounds, fleet: replicas, store, clock, logger, random });
  replicas.follow(rounds, { key: ROUND_KEY, note: (value) => void shared.noteRound(value) });
  lifecycle.onStop("collection", () => rounds.stop(STOP_GRACE_MS));
  const clusterAdmin = clusters.open({
    check: (cluster, signal) => work.check(cluster, signal),
    forget: async (clusterId) => {
      await rounds.forget(clusterId);
      work.forget(clusterId);
    },
  });
  return {
    ports: {
      collection: withCadence(shared, base, { intervalMs: config.COLLECTION_INTERVAL }),
      liveRounds: rounds.live,
      completeness: createClusterCompleteness(
        { registry, store, turns },
        { queries, stretchMs: config.PROOF_STRETCH },
      ),
      clusters: registry,
      clusterAdmin,
      diagnoseCluster: work.diagnose,
      onboarding: createOnboarding(config, {
        clock,
        clusterAdmin,
        work,
        ...(overrides.resolve ? { resolve: overrides.resolve } : {}),
      }),
      readiness: async () => [...(await checkStore(store)), ...replicas.problems(), ...work.problems()],
      ...(keyring ? { warnings: () => keyring.warnings() } : {}),
      ...(storage ? queryPorts(config, storage.database, clock) : {}),
    },
    ownMetrics: metrics,
    collection: {
      start: (trigger) => shared.start(trigger),
      status: () => shared.status(),
      stop: async (graceMs) => {
        shared.stop();
        await rounds.stop(graceMs);
      },
    },
    facts: { scheduler: config.SCHEDULER, queries: queries.length },
  };
}

/** The work on clusters: in worker processes, or in this one for tests with a clock or a resolver of their own. */
async function startWork(
  base: Base & { metrics: OwnMetrics },
  parts: Omit<WorkSettings, "config">,
  ports: WorkPorts,
  overrides: Overrides,
): Promise<Work> {
  const { config, lifecycle } = base;
  if (overrides.work !== "local") return await startWorkerPool(config, parts, { ...base, ports });
  const settings = { ...parts, config: workConfig(config) };
  const { random = Math.random, resolve } = overrides;
  const work = await createLocalWork(settings, { ...base, random, ports, ...(resolve ? { resolve } : {}) });
  lifecycle.onStop("connections to clusters", () => work.close());
  return work;
}

async function checkStorage(database: Database): Promise<string[]> {
  try {
    await database.query("SELECT 1 AS ok");
    return [];
  } catch (error) {
    return [toBridgeError(error, "storage_unavailable").message];
  }
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

function warnOfUnverified(clusters: readonly Cluster[], logger: Logger): void {
  for (const cluster of clusters) {
    if (!cluster.validateCerts) logger.warn({ cluster_id: cluster.id }, uncheckedWarning);
  }
}

async function loadClusters(config: Config, keyring: Keyring | undefined): Promise<Cluster[]> {
  if (config.CLUSTERS_FILE === undefined) return [];
  return await loadClustersFile(config.CLUSTERS_FILE, clusterDefaults(config), keyring);
}

async function checkStore(store: StateStore): Promise<string[]> {
  try {
    await store.check();
    return [];
  } catch (error) {
    return [toBridgeError(error, "state_unavailable").message];
  }
}

function startOwnMetrics(
  { config, clock, logger, lifecycle }: Base,
  pushUrl: string | undefined,
): OwnMetrics {
  const headers = Object.fromEntries(
    Object.entries(config.OTLP_HEADERS).map(([name, value]) => [name, value.expose()]),
  );
  const push = { intervalMs: config.OWN_METRICS_INTERVAL, timeoutMs: config.EXPORT_TIMEOUT, headers };
  const metrics = createOwnMetrics(
    { clock, logger },
    {
      serviceName: SERVICE.name,
      serviceVersion: SERVICE.version,
      instanceId: hostname(),
      lagClustersMax: LAG_CLUSTERS_MAX,
      ...(config.OWN_METRICS_INTERVAL > 0 && pushUrl !== undefined
        ? { push: { url: pushUrl, ...push } }
        : {}),
    },
  );
  metrics.start();
  lifecycle.onStop("own metrics", () => metrics.stop());
  return metrics;
}
