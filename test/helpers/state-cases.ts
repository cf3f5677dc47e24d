import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import {
  createClusterState,
  type ClusterState,
  type ClusterStateSettings,
} from "#query/state/cluster-state.ts";
import { createManualClock } from "./manual-clock.ts";
import type { TestMetric } from "./otlp-request.ts";
import { point, storeMetrics, storeRecord, type StoredRecord } from "./stored-world.ts";
import { QUERY_DEFAULTS } from "./query-defaults.ts";

export const MINUTE_MS = 60_000;
export const GIB = 2 ** 30;
/** The whole minute in which the tests began: storage drops what is older than its retention. */
export const NOW_MS = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
/** Up to here clusters are collected. */
export const AS_OF_MS = NOW_MS - 2 * MINUTE_MS;
/** The catalogue of the clusters. */
export const QUERIES = [
  "kube_node_info",
  "kube_node_status_condition",
  "node_cpu_seconds_total",
  "node_memory_MemTotal_bytes",
  "node_memory_MemAvailable_bytes",
  "node_filesystem_size_bytes",
  "node_filesystem_avail_bytes",
  "node_load1",
  "DCGM_FI_DEV_GPU_UTIL",
  "DCGM_FI_DEV_XID_ERRORS",
];

export interface StateCases {
  /** Stores a cluster of its own, and what its collections reported; its id. */
  cluster: (
    metrics: readonly TestMetric[],
    records?: readonly Partial<StoredRecord>[],
    sentBy?: "now" | "before",
  ) => Promise<string>;
  /** The answers at a time. */
  state: (nowMs?: number, settings?: Partial<ClusterStateSettings>) => ClusterState;
}

export function createStateCases(engine: { readonly database: EmbeddedDatabase }): StateCases {
  let clusters = 0;
  return {
    cluster: async (metrics, records = [{}], sentBy = "now") => {
      const id = `case-${++clusters}`;
      await storeMetrics(engine.database, id, metrics, sentBy);
      for (const record of records) {
        await storeRecord(engine.database, id, {
          atMs: NOW_MS - MINUTE_MS,
          watermarkMs: AS_OF_MS,
          queries: QUERIES,
          ...record,
        });
      }
      return id;
    },
    state: (nowMs = NOW_MS, settings = {}) =>
      createClusterState(
        { database: engine.database, clock: createManualClock(nowMs) },
        { ...QUERY_DEFAULTS, ...settings },
      ),
  };
}

export const gauge = (name: string, points: TestMetric["points"]): TestMetric => ({
  name,
  kind: "gauge",
  points,
});
/** A sample that is as new as any. */
export const now = (labels: Record<string, string>, value: number) => point(labels, AS_OF_MS - 1000, value);

/** A node as node_exporter and kube-state-metrics show it, busy to the given percents. */
export function node(
  name: string,
  used: { cpu?: number; memory?: number; disk?: number; load?: number; ready?: boolean },
) {
  const { cpu = 10, memory = 10, disk = 10, load = 1, ready = true } = used;
  const at = { instance: `${name}:9100`, "k8s.node.name": name };
  const file = { ...at, device: "/dev/sda1", fstype: "ext4", mountpoint: "/" };
  const seconds = (mode: string, share: number) =>
    [15, 10, 5, 0].map((minutes) =>
      point({ ...at, cpu: "0", mode }, AS_OF_MS - minutes * MINUTE_MS - 1000, (15 - minutes) * 60 * share),
    );
  const condition = (status: string, value: number) =>
    now({ node: name, instance: "ksm:8080", condition: "Ready", status }, value);
  return {
    info: now({ node: name, instance: "ksm:8080", internal_ip: `ip-${name}` }, 1),
    conditions: [
      condition("true", ready ? 1 : 0),
      condition("false", 0),
      condition("unknown", ready ? 0 : 1),
    ],
    cpu: [...seconds("idle", 1 - cpu / 100), ...seconds("user", cpu / 100)],
    memory: { total: now(at, 100 * GIB), available: now(at, (100 - memory) * GIB) },
    disk: { size: now(file, 1000), available: now(file, 1000 - disk * 10) },
    load: now(at, load),
  };
}

export function toMetrics(nodes: ReturnType<typeof node>[]): TestMetric[] {
  return [
    gauge(
      "kube_node_info",
      nodes.map(({ info }) => info),
    ),
    gauge(
      "kube_node_status_condition",
      nodes.flatMap(({ conditions }) => conditions),
    ),
    { name: "node_cpu_seconds_total", kind: "sum", points: nodes.flatMap(({ cpu }) => cpu) },
    gauge(
      "node_memory_MemTotal_bytes",
      nodes.map(({ memory }) => memory.total),
    ),
    gauge(
      "node_memory_MemAvailable_bytes",
      nodes.map(({ memory }) => memory.available),
    ),
    gauge(
      "node_filesystem_size_bytes",
      nodes.map(({ disk }) => disk.size),
    ),
    gauge(
      "node_filesystem_avail_bytes",
      nodes.map(({ disk }) => disk.available),
    ),
    gauge(
      "node_load1",
      nodes.map(({ load }) => load),
    ),
  ];
}
