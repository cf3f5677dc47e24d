import { createStoredClusters, type StoredClusters } from "#clusters/stored-clusters.ts";
import type { ClusterDefaults } from "#clusters/clusters-file.ts";
import { createCollectCluster, type CollectClusterSettings } from "#collect/collect-cluster.ts";
import { gatedRecords } from "#collect/gated-records.ts";
import type { Ownership } from "#collect/ownership.ts";
import { createRounds, type Rounds } from "#collect/round.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createExporter } from "#otlp/exporter.ts";
import { createRetryingTransport } from "#otlp/retrying-transport.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { Replicas } from "#replicas/replicas.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import type { StateRecords } from "#state/store.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { fakeDapr } from "./dapr.ts";
import { createSinkTransport } from "./sink.ts";
import { createOpenPrometheus } from "./source.ts";
import type { VirtualHost } from "./virtual-hosts.ts";
import { INTERVAL, LAG, METRICS, MINUTE, SECOND, type ChaosWorld, type Links } from "./world.ts";

export const PROOF = { stretchMs: 4 * MINUTE, delayMs: 2 * MINUTE };
const MAX_BACKFILL = 60 * MINUTE;
const INITIAL_LOOKBACK = 10 * MINUTE;
export const QUERIES = toQueries(METRICS.map((name) => ({ name, promql: name, group: "node" })));

const DEFAULTS: ClusterDefaults = {
  prometheus: { namespace: "monitoring", service: "prometheus", port: 9090, scheme: "http", pathPrefix: "" },
  validateCerts: true,
};
const GRACE_MS = 6 * SECOND;

const SETTINGS: CollectClusterSettings = {
  queries: QUERIES,
  intervalMs: INTERVAL,
  lagMs: LAG,
  initialLookbackMs: INITIAL_LOOKBACK,
  maxBackfillMs: MAX_BACKFILL,
  windowMsMax: 5 * MINUTE,
  proof: PROOF,
  lanes: 2,
  batchPointsMax: 40,
  batchBytesMax: 64 << 10,
  keptBytesMax: 64 << 10,
  batchesInFlightMax: 2,
  version: "1.2.3",
};

const LOGGER = createSilentLogger();
const UNHURRIED = { pause: () => undefined };
const METRICS_UNREAD = {
  batchStarted: () => {},
  batchFinished: () => {},
  timeLost: () => {},
  samplesRead: () => {},
  roundFinished: () => {},
  collectionFinished: () => {},
  errorOccurred: () => {},
  clusterWatermark: () => {},
  leaseChanged: () => {},
};

/** One process of the bridge: its own modules over links in virtual time. */
export interface Replica {
  host: VirtualHost;
  /** The number of its machine. */
  machine: number;
  clusters: StoredClusters;
  rounds: Rounds;
  replicas: Replicas;
  /** As at SIGTERM. */
  stop(): Promise<void>;
}

export interface Process {
  /** Of the replica: the same for each process on a machine. */
  name: string;
  /** Of this process alone. */
  process: string;
  machine: number;
}

/** What is switched off, to see that the test fails then. */
export interface ReplicaOptions {
  without?: "leases" | "fencing";
}

/** Starts a process on a machine, of the parts that src/app makes it of. */
export async function startReplica(
  world: ChaosWorld,
  { name, process, machine }: Process,
  { without }: ReplicaOptions,
): Promise<Replica> {
  const host = world.hosts.createHost(process);
  host.skewMs = world.skewsMs[machine]!;
  const links = world.links[machine]!;
  const { clock } = host;
  const sidecar = fakeDapr({ store: world.store, link: links.store, host });
  const store = await createDaprStore({ clock, ...sidecar }, { storeName: "state", port: 3500 });
  const clusters = createStoredClusters(
    { store, clock, logger: LOGGER, forget: (id) => rounds.forget(id) },
    { defaults: DEFAULTS },
  );
  const listClusters = async (): Promise<string[]> => (await clusters.list()).map(({ id }) => id);
  const replicas = new Replicas(
    {
      store,
      clock,
      logger: LOGGER,
      listClusters,
      isRegistered: (id) => clusters.isRegistered(id),
      metrics: METRICS_UNREAD,
    },
    { name, incarnation: process, version: "1.2.3", collects: true },
  );
  await replicas.start();
  const gated = gatedRecords(store, (id) => replicas.holds(id));
  const rounds = createRounds(
    {
      clock,
      logger: LOGGER,
      metrics: METRICS_UNREAD,
      store,
      turns: UNHURRIED,
      registry: clusters,
      ownership: without ? unfenced(replicas, without) : replicas,
      collectCluster: createCollect(world, host, links, recordsOf(without, store, gated)),
    },
    {
      enabled: true,
      scheduler: "dapr",
      intervalMs: INTERVAL,
      lagMs: LAG,
      clustersMax: 4,
      clusterDeadlineMs: 50 * SECOND,
      queries: QUERIES,
      stretchMs: PROOF.stretchMs,
      warnings: [],
    },
  );
  replicas.follow(rounds);
  const stop = async (): Promise<void> => {
    await rounds.stop(GRACE_MS);
    await replicas.stop();
  };
  return { host, machine, clusters, rounds, replicas, stop };
}

/** Every owner has the same epoch, so that its records say nothing; or every replica owns every cluster. */
function unfenced(replicas: Replicas, without: "leases" | "fencing"): Ownership {
  const { signal } = new AbortController();
  return {
    claim: async (ids) => {
      const leases = without === "leases" ? ids : [...(await replicas.claim(ids)).keys()];
      return new Map(leases.map((id) => [id, { epoch: 1, signal }]));
    },
    ended: () => Promise.resolve(),
    close: (id) => replicas.close(id),
    remove: (id) => replicas.remove(id),
  };
}

/** Without fencing, whoever writes last wins. */
function recordsOf(
  without: ReplicaOptions["without"],
  store: StateRecords,
  gated: StateRecords,
): StateRecords {
  if (without === undefined) return gated;
  if (without === "leases") return store;
  return {
    ...store,
    put: async (key, value) => await store.put(key, value, (await store.get(key))?.etag),
  };
}

function createCollect(world: ChaosWorld, host: VirtualHost, links: Links, store: StateRecords) {
  const { clock } = host;
  const single = createSinkTransport(host, world.sink, links.collector);
  const transport = createRetryingTransport(
    { transport: single, clock, random: world.random },
    { initialMs: 1000, multiplier: 2, maxMs: 15_000, maxElapsedMs: 30_000 },
  );
  return createCollectCluster(
    {
      clock,
      logger: LOGGER,
      metrics: METRICS_UNREAD,
      store,
      turns: UNHURRIED,
      pool: createBufferPool(4),
      exporter: createExporter({ transport, single, logger: LOGGER }, { isolationRequestsMax: 50 }),
      openPrometheus: createOpenPrometheus(host, {
        nowMs: () => world.hosts.now(),
        sourceOf: (id) => world.sources.get(id),
        linkTo: (id) => links.cluster(id),
      }),
    },
    SETTINGS,
  );
}
