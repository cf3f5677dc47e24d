import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer, Wait, type StartedTestContainer } from "testcontainers";
import { parse, stringify } from "yaml";
import { startBridge, type BridgeProcess } from "./bridge-process.ts";
import { daprContainer, redisContainer } from "./dapr-sidecar.ts";
import { freePort } from "./stack.ts";

/** A state store that Dapr's sidecars share. */
export interface SharedStore {
  /** The component file, for sidecars in the host's network. */
  component: string;
  /** What Dapr asked it since its start: commands and scripts of Redis, transactions of PostgreSQL. */
  requests(): Promise<number>;
  stop(): Promise<void>;
}

const STORE = "statestore";
const POSTGRES_PASSWORD = "e2e-password";

function componentOf(type: string, version: string, metadata: Record<string, string>): string {
  return stringify({
    apiVersion: "dapr.io/v1alpha1",
    kind: "Component",
    metadata: { name: STORE },
    spec: {
      type,
      version,
      metadata: Object.entries(metadata).map(([name, value]) => ({ name, value })),
    },
    scopes: ["budcluster"],
  });
}

export async function startRedis(): Promise<SharedStore> {
  const redis = await redisContainer().start();
  const redisHost = `127.0.0.1:${redis.getMappedPort(6379)}`;
  return {
    component: componentOf("state.redis", "v1", { redisHost, redisPassword: "" }),
    requests: async () => {
      const { output } = await redis.exec(["redis-cli", "info", "commandstats"]);
      // Not what the scripts do within.
      const calls = [...output.matchAll(/^cmdstat_(?:hgetall|eval|evalsha):calls=(\d+)/gm)];
      return calls.reduce((sum, [, count]) => sum + Number(count), 0);
    },
    stop: async () => void (await redis.stop()),
  };
}

export async function startPostgres(): Promise<SharedStore> {
  const postgres = await new GenericContainer("postgres:15")
    .withEnvironment({ POSTGRES_USER: "bud", POSTGRES_PASSWORD, POSTGRES_DB: "bud" })
    .withExposedPorts(5432)
    .withWaitStrategy(Wait.forListeningPorts())
    .start();
  const connectionString = `host=127.0.0.1 port=${postgres.getMappedPort(5432)} user=bud password=${POSTGRES_PASSWORD} database=bud connect_timeout=10`;
  return {
    component: componentOf("state.postgresql", "v2", { connectionString }),
    requests: async () => {
      const query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'bud'";
      const { output } = await postgres.exec(
        ["psql", "-h", "127.0.0.1", "-U", "bud", "-d", "bud", "-Atc", query],
        {
          env: { PGPASSWORD: POSTGRES_PASSWORD },
        },
      );
      return Number(output.trim());
    },
    stop: async () => void (await postgres.stop()),
  };
}

/** A bridge with its sidecar, as a Pod has them. */
export interface Replica {
  /** Also in X-Scope-OrgID of its requests to Prometheus, and in x-replica of its deliveries. */
  name: string;
  bridge: BridgeProcess;
  /** Of its HTTP API. */
  port: number;
  daprPort: number;
  /** Starts a round of its own clusters, as the cron binding does. */
  tick(): Promise<void>;
  /** As Kubernetes ends a Pod: SIGTERM to both at once; ms until the bridge had ended. */
  terminate(): Promise<number>;
  /** Stops what still runs, at once. */
  remove(): Promise<void>;
}

export interface ReplicaSet {
  /** Without cron, nothing starts rounds but `tick`. */
  start(name: string, options?: { cron: boolean }): Promise<Replica>;
  /** Every replica that was started, also those that have ended. */
  all(): readonly Replica[];
  stop(): Promise<void>;
}

export interface ReplicaSetSettings {
  store: SharedStore;
  /** Of the simulator. */
  clustersFile: string;
  collectorUrl: string;
  intervalSeconds: number;
  environment: Record<string, string>;
}

/** Bridges that collect the clusters, share the store, and are called by the cron binding of their own sidecars. */
export async function createReplicaSet(settings: ReplicaSetSettings): Promise<ReplicaSet> {
  const directory = await mkdtemp(join(tmpdir(), "budcluster-replicas-"));
  const replicas: Replica[] = [];
  return {
    all: () => replicas,
    start: async (name, { cron } = { cron: true }) => {
      const replica = await startReplica(name, cron, directory, settings);
      replicas.push(replica);
      return replica;
    },
    stop: async () => {
      await Promise.all(replicas.map((replica) => replica.remove()));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function startReplica(
  name: string,
  cron: boolean,
  directory: string,
  { store, clustersFile: text, collectorUrl, intervalSeconds, environment }: ReplicaSetSettings,
): Promise<Replica> {
  const ports = new Set<number>();
  while (ports.size < 4) ports.add(await freePort());
  const [port = 0, daprPort = 0, grpc = 0, internalGrpc = 0] = ports;
  const clustersFile = join(directory, `${name}.yaml`);
  await writeFile(clustersFile, clustersAskedBy(name, text));
  const sidecar = await daprContainer(
    {
      "statestore.yaml": store.component,
      ...(cron ? { "cron.yaml": cronEvery(intervalSeconds) } : {}),
    },
    [
      `--app-port=${port}`,
      `--dapr-http-port=${daprPort}`,
      `--dapr-grpc-port=${grpc}`,
      `--dapr-internal-grpc-port=${internalGrpc}`,
      // As the chart has it.
      "--enable-app-health-check",
      "--app-health-check-path=/healthz",
      "--dapr-block-shutdown-duration=12s",
      "--enable-metrics=false",
    ],
  )
    .withNetworkMode("host")
    .start();
  const bridge = await startBridge(
    {
      ROLE: "bridge",
      AUTH_ENABLED: "false",
      REPLICA_NAME: name,
      DATA_DIR: join(directory, name),
      CLUSTERS_FILE: clustersFile,
      ALLOW_PRIVATE_API_SERVERS: "true",
      SCHEDULER: "dapr",
      DAPR_STATE_STORE: STORE,
      DAPR_HTTP_PORT: String(daprPort),
      OTEL_COLLECTOR_ENDPOINT: collectorUrl,
      OTLP_HEADERS: `x-replica=${name}`,
      OWN_METRICS_INTERVAL: "0",
      COLLECTION_INTERVAL: String(intervalSeconds),
      ...environment,
    },
    port,
  ).catch(async (error: unknown) => {
    await sidecar.stop({ timeout: 0 });
    throw error;
  });
  const tick = async (): Promise<void> => {
    // Of what the binding sends, this header tells who calls.
    const headers = { readtimeutc: new Date().toISOString() };
    await fetch(`http://127.0.0.1:${port}/metrics/collect-all`, { method: "POST", headers });
  };
  return { name, bridge, port, daprPort, tick, ...endsOf(bridge, sidecar) };
}

function endsOf(bridge: BridgeProcess, sidecar: StartedTestContainer): Pick<Replica, "terminate" | "remove"> {
  let isGone = false;
  return {
    terminate: async () => {
      const sinceMs = Date.now();
      const ended = bridge.kill("SIGTERM").then(() => Date.now() - sinceMs);
      await Promise.all([ended, sidecar.stop({ timeout: 30_000 })]);
      isGone = true;
      return await ended;
    },
    remove: async () => {
      // SIGKILL ends a stopped process too.
      await bridge.kill("SIGKILL");
      if (!isGone) await sidecar.stop({ timeout: 0 });
      isGone = true;
    },
  };
}

/** The clusters with a header by which the simulator tells who asks. */
function clustersAskedBy(name: string, text: string): string {
  const file = parse(text) as { clusters: { prometheus: object }[] };
  const clusters = file.clusters.map((cluster) => ({
    ...cluster,
    prometheus: { ...cluster.prometheus, headers: { "X-Scope-OrgID": name } },
  }));
  return stringify({ clusters });
}

function cronEvery(seconds: number): string {
  return stringify({
    apiVersion: "dapr.io/v1alpha1",
    kind: "Component",
    metadata: { name: "metrics-collection-cron" },
    spec: {
      type: "bindings.cron",
      version: "v1",
      metadata: [
        { name: "schedule", value: `*/${seconds} * * * * *` },
        { name: "route", value: "/metrics/collect-all" },
        { name: "direction", value: "input" },
      ],
    },
  });
}
