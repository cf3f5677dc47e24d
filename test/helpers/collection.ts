import type { Cluster } from "#clusters/cluster.ts";
import {
  createCollectCluster,
  type CollectClusterDeps,
  type CollectClusterSettings,
} from "#collect/collect-cluster.ts";
import { readProgress } from "#collect/progress-store.ts";
import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterResult } from "#collect/status.ts";
import { createTurns } from "#lib/turns.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import type { QuerySpec } from "#prometheus/query-spec.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createFakeCollector, type FakeCollector } from "./fake-collector.ts";
import { createFakePrometheus, type FakePrometheus, type SourceSeries } from "./fake-prometheus.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { createMemoryStore, type MemoryStore } from "./memory-store.ts";

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
/** A whole minute. */
export const START = 1_700_000_040_000;
export const LAG = 90 * SECOND;

export function testCluster(id: string, change: Partial<Cluster> = {}): Cluster {
  return {
    id,
    name: `name of ${id}`,
    platform: "kind",
    enabled: true,
    source: "file",
    labels: {},
    credentials: { kind: "trusted-file", path: "/kubeconfig" },
    prometheus: {
      namespace: "monitoring",
      service: "prometheus",
      port: 9090,
      scheme: "http",
      pathPrefix: "",
    },
    validateCerts: true,
    ...change,
  };
}

const QUERIES: readonly QuerySpec[] = [
  { name: "node_cpu_seconds_total", promql: "node_cpu_seconds_total", group: "node" },
  { name: "node_load1", promql: "node_load1", group: "node" },
  { name: "kube_pod_info", promql: "kube_pod_info", group: "pod", type: "gauge", unit: "" },
];

function testSeries(): SourceSeries[] {
  const series = (metric: string, labels: Record<string, string>, offsetMs: number): SourceSeries => ({
    metric,
    labels,
    everyMs: 15 * SECOND,
    offsetMs,
  });
  return [
    series("node_cpu_seconds_total", { instance: "10.0.0.1:9100", cpu: "0" }, 0),
    series("node_cpu_seconds_total", { instance: "10.0.0.2:9100", cpu: "0" }, 1),
    series("node_load1", { instance: "10.0.0.1:9100" }, 7001),
    series("kube_pod_info", { pod: "a" }, 14_999),
  ];
}

export interface Collection {
  prometheus: FakePrometheus;
  collector: FakeCollector;
  store: MemoryStore;
  clock: ManualClock;
  /** Lines of the log, from warn on. */
  logs: Record<string, unknown>[];
  settings: CollectClusterSettings;
  deps: CollectClusterDeps;
  cluster: Cluster;
  /** One collection of the cluster. */
  run(signals?: { signal?: AbortSignal; isStopping?: () => boolean; epoch?: number }): Promise<ClusterResult>;
  progress(): Promise<ClusterProgress>;
  /** Moves the bridge's and Prometheus' time. */
  advance(ms: number): void;
}

/** One cluster's collection between a Prometheus, a Collector and a store in memory. */
export function createCollection(
  change: Partial<CollectClusterSettings> & { specs?: readonly QuerySpec[]; series?: SourceSeries[] } = {},
): Collection {
  const { specs = QUERIES, series = testSeries(), ...rest } = change;
  const clock = createManualClock(START);
  const prometheus = createFakePrometheus(START, series);
  const collector = createFakeCollector();
  const store = createMemoryStore();
  const logs: Record<string, unknown>[] = [];
  const destination = {
    write: (line: string) => void logs.push(JSON.parse(line) as Record<string, unknown>),
  };
  const settings: CollectClusterSettings = {
    queries: toQueries(specs),
    intervalMs: 5 * MINUTE,
    lagMs: LAG,
    initialLookbackMs: 15 * MINUTE,
    maxBackfillMs: 24 * HOUR,
    windowMsMax: HOUR,
    lanes: 2,
    batchPointsMax: 50,
    batchBytesMax: 256 << 10,
    keptBytesMax: 8 << 20,
    batchesInFlightMax: 2,
    version: "1.2.3",
    ...rest,
  };
  const deps: CollectClusterDeps = {
    openPrometheus: prometheus.open,
    exporter: collector.exporter,
    store,
    clock,
    logger: createLogger({ level: "warn", destination }),
    metrics: { batchStarted: () => {}, batchFinished: () => {}, timeLost: () => {}, samplesRead: () => {} },
    pool: createBufferPool(4),
    turns: createTurns(),
  };
  const cluster = testCluster("one");
  return {
    prometheus,
    collector,
    store,
    clock,
    logs,
    settings,
    deps,
    cluster,
    run: ({ signal = new AbortController().signal, isStopping = () => false, epoch = 0 } = {}) =>
      createCollectCluster(deps, settings)(cluster, { epoch, signal, isStopping }),
    progress: () => readProgress(store, cluster.id),
    advance: (ms) => {
      clock.advance(ms);
      prometheus.nowMs += ms;
    },
  };
}

/** Windows end here now. */
export function endOf(collection: Collection): number {
  return Math.floor((collection.prometheus.nowMs - collection.settings.lagMs) / SECOND) * SECOND;
}
