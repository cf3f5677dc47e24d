import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp } from "#app/app.ts";
import { loadConfig } from "../../src/config.ts";
import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterResult, ClusterStatus, CollectionStatus, RoundResult } from "#collect/status.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import type { Simulator } from "#simulator/simulator.ts";
import { createLogger } from "#telemetry/logger.ts";
import type { Resolve } from "#tunnel/api-server-guard.ts";
import type { JumpingClock } from "./jumping-clock.ts";
import type { OtlpCollector } from "./otlp-collector.ts";
import { createSilentLogger } from "./silent-logger.ts";

/** A few metrics of every kind: counters with resets, gauges, odd texts and values, late samples. */
export const METRICS = [
  "up",
  "node_cpu_seconds_total",
  "node_load15",
  "kube_pod_info",
  "container_cpu_usage_seconds_total",
] as const;

/** A small cluster: about 60 series of METRICS, NaN and infinities among them. */
export const SMALL = { nodes: 2, pods: 4, cpus: 1, gpus: 0 } as const;

export interface TestBridge {
  url: string;
  directory: string;
  /** Lines of its log, from info on. */
  logs: Record<string, unknown>[];
  /** POST /metrics/collect-all?wait=true */
  collect(): Promise<RoundResult>;
  /** The cluster's part of a round's result. */
  resultOf(round: RoundResult, clusterId: string): ClusterResult;
  status(): Promise<CollectionStatus>;
  statusOf(clusterId: string): Promise<ClusterStatus>;
  /** Stops the program and reads its record of a cluster, or of a further shard of its Prometheus. */
  progress(clusterId: string, shard?: number): Promise<ClusterProgress>;
  /** Stops the program and starts it anew on the same DATA_DIR. */
  restart(environment?: Record<string, string>): Promise<void>;
  stop(): Promise<void>;
  /** Replaces CLUSTERS_FILE: the next start reads it. */
  writeClustersFile(text: string): void;
}

export interface TestBridgeParts {
  /** Makes CLUSTERS_FILE of the simulator's own. */
  clustersFile?: (text: string) => string;
  simulator: Simulator;
  collector: OtlpCollector;
  clock: JumpingClock;
  metrics?: readonly string[];
  environment?: Record<string, string>;
  /** How the names of API servers are resolved. */
  resolve?: Resolve;
}

/** The variables that a bridge between a simulator and a Collector needs, and the files that they name. */
export function bridgeEnvironment(
  directory: string,
  parts: Pick<TestBridgeParts, "simulator" | "collector" | "metrics" | "clustersFile">,
): Record<string, string> {
  const clustersFile = join(directory, "clusters.yaml");
  const queriesFile = join(directory, "queries.yaml");
  const text = parts.simulator.clustersFile();
  writeFileSync(clustersFile, parts.clustersFile?.(text) ?? text);
  const queries = (parts.metrics ?? METRICS).map((name) => ({ name, group: "test" }));
  writeFileSync(queriesFile, JSON.stringify({ extends: "none", queries }));
  return {
    ROLE: "bridge",
    PORT: "0",
    SCHEDULER: "dapr",
    DATA_DIR: join(directory, "data"),
    CLUSTERS_FILE: clustersFile,
    QUERIES_FILE: queriesFile,
    OTEL_COLLECTOR_ENDPOINT: parts.collector.url,
    INITIAL_LOOKBACK: "2m",
    METRICS_COLLECTION_TIMEOUT: "2",
    EXPORT_TIMEOUT: "2",
    EXPORT_RETRY_MAX_ELAPSED: "0",
    OWN_METRICS_INTERVAL: "0",
    ALLOW_PRIVATE_API_SERVERS: "true",
  };
}

/** The program in the role bridge, in this process, between a simulator and a Collector. */
export async function startTestBridge(parts: TestBridgeParts): Promise<TestBridge> {
  const directory = mkdtempSync(join(tmpdir(), "bridge-test-"));
  const environment = { ...bridgeEnvironment(directory, parts), ...parts.environment };
  const logs: Record<string, unknown>[] = [];
  const destination = {
    write: (line: string) => void logs.push(JSON.parse(line) as Record<string, unknown>),
  };
  const begin = async (more: Record<string, string> = {}) => {
    const config = loadConfig({ ...environment, ...more });
    const logger = createLogger({ level: "info", destination });
    const app = createApp(config, logger, {
      clock: parts.clock.impatient,
      random: () => 0.5,
      work: "local",
      ...(parts.resolve ? { resolve: parts.resolve } : {}),
    });
    const { url } = await app.start();
    return { app, url };
  };
  let running = await begin();
  const call = async <T>(method: string, path: string): Promise<T> => {
    const answer = await fetch(`${running.url}${path}`, { method });
    const body = await answer.text();
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${body}`);
    return JSON.parse(body) as T;
  };
  const bridge: TestBridge = {
    get url() {
      return running.url;
    },
    directory,
    logs,
    collect: async () => (await call<{ round: RoundResult }>("POST", "/metrics/collect-all?wait=true")).round,
    resultOf: (round, clusterId) => found(round.clusters, clusterId),
    status: () => call<CollectionStatus>("GET", "/metrics/status"),
    statusOf: async (clusterId) => found((await bridge.status()).clusters, clusterId),
    progress: async (clusterId, shard = 0) => {
      await running.app.stop();
      const recordId = shard === 0 ? clusterId : `${clusterId}:${shard}`;
      return await readProgressRecord(join(directory, "data"), recordId);
    },
    restart: async (more) => {
      await running.app.stop();
      running = await begin(more);
    },
    writeClustersFile: (text) => writeFileSync(join(directory, "clusters.yaml"), text),
    stop: async () => {
      await running.app.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return bridge;
}

/** The record of a cluster (`ID`, or `ID:1` of a further shard) in the state file of a program that has ended. */
export async function readProgressRecord(dataDirectory: string, recordId: string): Promise<ClusterProgress> {
  const store = createSqliteStore({
    path: join(dataDirectory, "state.sqlite"),
    logger: createSilentLogger(),
  });
  try {
    const record = await store.get<ClusterProgress>(`progress:${recordId}`);
    if (!record) throw new Error(`nothing is recorded of ${recordId}`);
    return record.value;
  } finally {
    await store.close();
  }
}

function found<T extends { cluster_id: string }>(list: readonly T[], clusterId: string): T {
  const one = list.find((each) => each.cluster_id === clusterId);
  if (!one) throw new Error(`no cluster ${clusterId} in ${JSON.stringify(list)}`);
  return one;
}
