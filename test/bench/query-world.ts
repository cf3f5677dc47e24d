import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { storeRecord } from "../helpers/stored-world.ts";

// Clusters for the query benchmark, made inside ClickHouse: 200 series each, 36 of them (18 %) constant, of the metrics that summary and health read.

export const SERIES_PER_CLUSTER = 200;
export const CONSTANT_SERIES_PER_CLUSTER = 36;

export interface StoredClusters {
  clusters: readonly string[];
  /** A multiple of a day after the first sample; ms. */
  endMs: number;
  days: number;
  scrapeSeconds: number;
}

interface Series {
  kind: "gauge" | "sum";
  metric: string;
  unit: string;
  labels: Record<string, string>;
  base: number;
  /** Of counters, per second. */
  slope: number;
  /** Of gauges: height of a wave of a day, and width of the noise on it. */
  swing: number;
  noise: number;
  /** Values are its multiples. */
  grain: number;
}

const NODES = [0, 1, 2, 3];
const PODS = Array.from({ length: 20 }, (_, i) => i);
const GIB = 2 ** 30;
const DAY_MS = 86_400_000;

const gauge = (
  metric: string,
  unit: string,
  labels: Record<string, string>,
  shape: { base: number; swing?: number; noise?: number; grain?: number },
): Series => ({ kind: "gauge", metric, unit, labels, slope: 0, swing: 0, noise: 0, grain: 1, ...shape });

const counter = (
  metric: string,
  unit: string,
  labels: Record<string, string>,
  shape: { slope: number; grain?: number },
): Series => ({ kind: "sum", metric, unit, labels, base: 0, swing: 0, noise: 0, grain: 1, ...shape });

function seriesOfNode(i: number): Series[] {
  const node = {
    container: "node-exporter",
    endpoint: "http-metrics",
    instance: `10.0.0.${i + 1}:9100`,
    job: "node-exporter",
    namespace: "bud-system",
    pod: `bud-metrics-prometheus-node-exporter-${i}`,
    service: "bud-metrics-prometheus-node-exporter",
    "k8s.node.name": `node-${i}`,
  };
  const kube = { job: "kube-state-metrics", namespace: "bud-system", node: `node-${i}` };
  const disk = { ...node, device: "/dev/nvme0n1p1", fstype: "ext4", mountpoint: "/" };
  const modes = { idle: 0.7, user: 0.2, system: 0.08, iowait: 0.02 };
  return [
    ...["0", "1"].flatMap((cpu) =>
      Object.entries(modes).map(([mode, slope]) =>
        counter("node_cpu_seconds_total", "s", { ...node, cpu, mode }, { slope, grain: 0.01 }),
      ),
    ),
    gauge("node_memory_MemTotal_bytes", "By", node, { base: 64 * GIB }),
    gauge("node_memory_MemAvailable_bytes", "By", node, {
      base: 36 * GIB,
      swing: 6 * GIB,
      noise: GIB / 4,
      grain: 4096,
    }),
    ...["1", "5", "15"].map((minutes) =>
      gauge(`node_load${minutes}`, "", node, { base: 2, swing: 1, noise: 2 / Number(minutes), grain: 0.01 }),
    ),
    gauge("node_filesystem_size_bytes", "By", disk, { base: 900 * GIB }),
    gauge("node_filesystem_avail_bytes", "By", disk, {
      base: 400 * GIB,
      swing: 9 * GIB,
      noise: GIB / 64,
      grain: 4096,
    }),
    ...["receive", "transmit"].map((way) =>
      counter(`node_network_${way}_bytes_total`, "By", { ...node, device: "eth0" }, { slope: 2e6 }),
    ),
    ...["read", "written"].map((way) =>
      counter(
        `node_disk_${way}_bytes_total`,
        "By",
        { ...node, device: "nvme0n1" },
        { slope: 5e5, grain: 512 },
      ),
    ),
    gauge(
      "kube_node_info",
      "",
      { ...kube, internal_ip: `10.0.0.${i + 1}`, os_image: "Ubuntu 24.04" },
      { base: 1 },
    ),
    gauge("kube_node_status_condition", "", { ...kube, condition: "Ready", status: "true" }, { base: 1 }),
    ...["0", "1"].flatMap((gpu) => seriesOfGpu(i, gpu)),
  ];
}

function seriesOfGpu(node: number, gpu: string): Series[] {
  const labels = {
    UUID: `GPU-${node}-${gpu}`,
    gpu,
    Hostname: `node-${node}`,
    modelName: "NVIDIA H200",
    namespace: "team-a",
    pod: `trainer-${node}`,
    container: "main",
  };
  return [
    gauge("DCGM_FI_DEV_GPU_UTIL", "%", labels, { base: 60, swing: 25, noise: 20 }),
    gauge("DCGM_FI_DEV_FB_USED", "MiBy", labels, { base: 80_000, swing: 20_000, noise: 500 }),
    gauge("DCGM_FI_DEV_FB_FREE", "MiBy", labels, { base: 60_000, swing: -20_000, noise: 500 }),
    gauge("DCGM_FI_DEV_POWER_USAGE", "W", labels, { base: 420, swing: 150, noise: 60, grain: 0.001 }),
    gauge("DCGM_FI_DEV_GPU_TEMP", "Cel", labels, { base: 58, swing: 10, noise: 4 }),
  ];
}

function seriesOfPod(i: number): Series[] {
  const pod = { namespace: `team-${"abcd"[i % 4]}`, pod: `worker-${i}`, node: `node-${i % 4}` };
  const container = { ...pod, container: "main", image: "registry.example/worker:1.4.2", job: "kubelet" };
  const fileSystem = counter(
    "container_fs_writes_bytes_total",
    "By",
    { ...container, device: "/dev/nvme0n1" },
    {
      slope: 3e4,
      grain: 4096,
    },
  );
  return [
    gauge("kube_pod_info", "", { ...pod, created_by_kind: "ReplicaSet", host_network: "false" }, { base: 1 }),
    counter(
      "container_cpu_usage_seconds_total",
      "s",
      { ...container, cpu: "total" },
      { slope: 0.4, grain: 1e-6 },
    ),
    gauge("container_memory_working_set_bytes", "By", container, {
      base: GIB,
      swing: GIB / 4,
      noise: GIB / 64,
      grain: 4096,
    }),
    ...(i < 16 ? [fileSystem] : []),
  ];
}

const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/** The list from which every statement makes its rows. `offset_ms`: a target is scraped at the same moment of each minute. */
async function storeCatalogue(database: EmbeddedDatabase, clusters: readonly string[]): Promise<string[]> {
  const series = [...NODES.flatMap(seriesOfNode), ...PODS.flatMap(seriesOfPod)];
  const constant = series.filter((each) => each.kind === "gauge" && each.swing === 0);
  if (series.length !== SERIES_PER_CLUSTER || constant.length !== CONSTANT_SERIES_PER_CLUSTER) {
    throw new Error(`${series.length} series of which ${constant.length} are constant`);
  }
  await database.command("CREATE DATABASE bench");
  await database.command(
    `CREATE TABLE bench.series (kind String, cluster String, metric String, unit String, labels Map(LowCardinality(String), String),
       base Float64, slope Float64, swing Float64, noise Float64, grain Float64, offset_ms UInt32, seed UInt32) ENGINE = Memory`,
  );
  const rows = clusters.flatMap((cluster, c) =>
    series.map((each, i) => {
      const { kind, metric, unit, labels, base, slope, swing, noise, grain } = each;
      const map = Object.entries(labels).map(([name, value]) => `${quote(name)}: ${quote(value)}`);
      const target =
        c * 97 + (labels["instance"] ?? labels["pod"] ?? labels["node"] ?? "").length * 31 + (i % 7);
      const numbers = [base, slope, swing, noise, grain, (target * 7919) % 59_000, c * 1000 + i];
      return `(${[kind, cluster, metric, unit].map(quote).join(", ")}, {${map.join(", ")}}, ${numbers.join(", ")})`;
    }),
  );
  await database.command(`INSERT INTO bench.series VALUES ${rows.join(", ")}`);
  return [...new Set(series.map(({ metric }) => metric))];
}

/**
 * Counters restart every 6 to 11 days; their steps vary by 80 % and are never negative. No row has a copy, so that nothing need be looked for
 * before the merge.
 */
function insertDay(kind: Series["kind"], day: StoredClusters & { fromMs: number }): string {
  const sum = kind === "sum";
  const seconds = "intDiv(at_ms, 1000)";
  const noise = "cityHash64(seed, at_ms) / 18446744073709551616.";
  const value = sum
    ? `slope * ((${seconds} + seed * 7919) % ((6 + seed % 6) * 86400) + 0.8 * ${day.scrapeSeconds} * ${noise})`
    : `base + swing * sin(6.283185307 * (${seconds} / 86400 + seed / 100)) + noise * (${noise} - 0.5)`;
  return `INSERT INTO metrics.otel_metrics_${kind} (ResourceAttributes, ServiceName, ScopeName, MetricName, MetricUnit, Attributes,
      TimeUnix, Value${sum ? ", IsMonotonic, AggregationTemporality" : ""})
    SELECT map('cluster_id', cluster, 'cluster_name', cluster, 'cluster_platform', 'eks', 'k8s.cluster.name', cluster, 'service.name', 'budcluster'),
      'budcluster', 'budcluster', metric, unit, labels, fromUnixTimestamp64Milli(at_ms), round((${value}) / grain) * grain${sum ? ", true, 2" : ""}
    FROM (
      SELECT *, toInt64(${day.fromMs} + n * ${day.scrapeSeconds * 1000} + offset_ms) AS at_ms
      FROM bench.series CROSS JOIN (SELECT number AS n FROM numbers(${86_400 / day.scrapeSeconds})) AS times
      WHERE kind = '${kind}'
    )
    SETTINGS optimize_on_insert = 0`;
}

/** Stores the samples, and for each cluster what its collection would have reported of itself. */
export async function storeClusters(database: EmbeddedDatabase, stored: StoredClusters): Promise<void> {
  const metrics = await storeCatalogue(database, stored.clusters);
  const statements = Array.from(
    { length: stored.days },
    (_, day) => stored.endMs - (day + 1) * DAY_MS,
  ).flatMap((fromMs) => (["gauge", "sum"] as const).map((kind) => insertDay(kind, { ...stored, fromMs })));
  const worker = async (): Promise<void> => {
    for (let sql = statements.pop(); sql !== undefined; sql = statements.pop()) await database.command(sql);
  };
  await Promise.all([worker(), worker()]);
  for (const cluster of stored.clusters) {
    const record = { queries: metrics, watermarkMs: stored.endMs };
    await storeRecord(database, cluster, {
      ...record,
      atMs: stored.endMs - DAY_MS,
      watermarkMs: stored.endMs - DAY_MS,
    });
    await storeRecord(database, cluster, { ...record, atMs: stored.endMs + 1000, read: 1000 });
  }
}
