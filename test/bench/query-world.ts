import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import type { Clock } from "#lib/clock.ts";
import { createWorld, type ClusterWorld, type ExpectedSeries } from "#simulator/world.ts";

// Clusters for the query benchmark: the simulator's, of 200 series each that summary and health mostly read. Of its many series that never
// change (kube_*) only those that these need are taken, so that the bytes of a sample are not flattered.

export interface StoredClusters {
  clusters: readonly string[];
  /** A multiple of a day after the first sample; ms. */
  endMs: number;
  days: number;
  scrapeSeconds: number;
}

/** Counts of the stored data. */
export interface StoredShare {
  /** Series of all clusters on the last day. */
  series: number;
  /** Number of these with one value all day. */
  constant: number;
}

interface Choice {
  metric: string;
  /** Only the series with these labels. */
  labels?: Readonly<Record<string, string>>;
  /** The exporter's values are multiples of this; the simulator's own use all bits of a double. If omitted, values stay unchanged. */
  grain?: number;
}

const choices = (names: string, prefix: string, suffix = "", grain = 1): Choice[] =>
  names.split(" ").map((name) => ({ metric: `${prefix}${name}${suffix}`, grain }));

// Grains: USER_HZ, two decimals of loadavg, kB of meminfo, blocks, sectors, bytes; dcgm-exporter's digits; nanoseconds and pages of cgroups.
const CHOICES: readonly Choice[] = [
  { metric: "node_cpu_seconds_total", grain: 0.01 },
  ...choices("load1 load5 load15", "node_", "", 0.01),
  ...choices("MemTotal MemAvailable MemFree Buffers Cached", "node_memory_", "_bytes", 1024),
  ...choices("size avail", "node_filesystem_", "_bytes", 4096),
  ...choices("disk_read disk_written", "node_", "_bytes_total", 512),
  ...choices("receive transmit", "node_network_", "_bytes_total"),
  ...choices(
    "GPU_UTIL MEM_COPY_UTIL FB_USED FB_FREE GPU_TEMP SM_CLOCK TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_",
  ),
  { metric: "DCGM_FI_DEV_POWER_USAGE", grain: 0.001 },
  { metric: "container_cpu_usage_seconds_total", grain: 1e-9 },
  ...choices("usage working_set", "container_memory_", "_bytes", 4096),
  ...choices("receive transmit", "container_network_", "_bytes_total"),
  { metric: "kube_node_info" },
  { metric: "kube_node_status_condition", labels: { condition: "Ready", status: "true" } },
  { metric: "kube_pod_info" },
  { metric: "kube_pod_status_phase", labels: { phase: "Running" } },
];

const DAY_MS = 86_400_000;
const SHAPE = {
  nodes: 4,
  pods: 6,
  cpus: 1,
  gpus: 1,
  oddities: false,
  resetEveryMs: 7 * DAY_MS,
  churnEveryMs: 10 * DAY_MS,
  // Prometheus stores scrapes at even distances (scrape.timestamp-tolerance); cAdvisor's own timestamps are not.
  jitterMs: 0,
};
const ROW_BYTES = 4 + 8 + 8;

function createClusters(stored: StoredClusters): readonly ClusterWorld[] {
  const clock: Pick<Clock, "now"> = { now: () => stored.endMs };
  return createWorld(
    { clock: clock as Clock },
    {
      clusters: stored.clusters.map((id) => ({ id, name: id })),
      shape: {
        ...SHAPE,
        scrapeIntervalMs: stored.scrapeSeconds * 1000,
        oldestMs: stored.endMs - (stored.days + 1) * DAY_MS,
      },
    },
  ).clusters;
}

interface Found {
  cluster: ClusterWorld;
  choice: Choice;
  samples: ExpectedSeries;
}

function seriesOfDay(clusters: readonly ClusterWorld[], fromMs: number): Found[] {
  return clusters.flatMap((cluster) =>
    CHOICES.flatMap((choice) =>
      cluster
        .expected({ fromMs, toMs: fromMs + DAY_MS, metric: choice.metric })
        .filter(({ labels }) => matches(choice, new Map(labels)))
        .map((samples) => ({ cluster, choice, samples: toGrain(samples, choice.grain) })),
    ),
  );
}

function matches({ labels = {} }: Choice, of: ReadonlyMap<string, string>): boolean {
  return Object.entries(labels).every(([name, value]) => of.get(name) === value);
}

function toGrain(samples: ExpectedSeries, grain: number | undefined): ExpectedSeries {
  if (grain === undefined) return samples;
  // A decimal's nearest double is a quotient of whole numbers, not a product.
  const toMultiple =
    grain < 1
      ? (value: number) => Math.round(value / grain) / Math.round(1 / grain)
      : (value: number) => Math.round(value / grain) * grain;
  return { ...samples, values: samples.values.map(toMultiple) };
}

const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

function toCatalogueRow({ cluster, samples, choice }: Found, number: number): string {
  const labels = samples.labels.filter(([name]) => name !== "__name__");
  const map = labels.map(([name, value]) => `${quote(name)}: ${quote(value)}`);
  const type = cluster.metrics.find(({ name }) => name === choice.metric)?.family?.type;
  return `(${number}, ${type === "counter"}, ${quote(cluster.shape.id)}, ${quote(choice.metric)}, {${map.join(", ")}})`;
}

function toSampleRows(found: readonly Found[]): Uint8Array {
  const samples = found.reduce((total, each) => total + each.samples.values.length, 0);
  const rows = Buffer.allocUnsafe(samples * ROW_BYTES);
  let at = 0;
  found.forEach(({ samples: { timestamps, values } }, number) => {
    for (let i = 0; i < values.length; i++) {
      at = rows.writeUInt32LE(number, at);
      at = rows.writeBigInt64LE(BigInt(timestamps[i]!), at);
      at = rows.writeDoubleLE(values[i]!, at);
    }
  });
  return rows;
}

const SAMPLE_COLUMNS = [
  ["number", "UInt32"],
  ["at_ms", "Int64"],
  ["value", "Float64"],
] as const;

async function storeDay(database: EmbeddedDatabase, found: readonly Found[]): Promise<void> {
  await database.command("TRUNCATE TABLE bench.series");
  await database.command("TRUNCATE TABLE bench.samples");
  await database.command(`INSERT INTO bench.series VALUES ${found.map(toCatalogueRow).join(", ")}`);
  await database.insertRowBinary("bench.samples", SAMPLE_COLUMNS, toSampleRows(found));
  for (const kind of ["gauge", "sum"] as const) {
    const sum = kind === "sum";
    await database.command(
      `INSERT INTO metrics.otel_metrics_${kind} (ResourceAttributes, ServiceName, ScopeName, MetricName, Attributes,
         TimeUnix, Value${sum ? ", IsMonotonic, AggregationTemporality" : ""})
       SELECT map('cluster_id', cluster, 'cluster_name', cluster, 'cluster_platform', 'eks', 'k8s.cluster.name', cluster, 'service.name', 'budcluster'),
         'budcluster', 'budcluster', metric, labels, fromUnixTimestamp64Milli(at_ms), value${sum ? ", true, 2" : ""}
       FROM bench.samples INNER JOIN bench.series USING number WHERE is_counter = ${sum}
       SETTINGS optimize_on_insert = 0`,
    );
  }
}

/** Stores the samples. */
export async function storeClusters(
  database: EmbeddedDatabase,
  stored: StoredClusters,
): Promise<StoredShare> {
  await database.command("CREATE DATABASE bench");
  await database.command(
    `CREATE TABLE bench.series (number UInt32, is_counter Bool, cluster String, metric String,
       labels Map(LowCardinality(String), String)) ENGINE = Memory`,
  );
  await database.command(
    "CREATE TABLE bench.samples (number UInt32, at_ms Int64, value Float64) ENGINE = Memory",
  );
  const clusters = createClusters(stored);
  let share: StoredShare = { series: 0, constant: 0 };
  for (let day = stored.days; day > 0; day--) {
    const found = seriesOfDay(clusters, stored.endMs - day * DAY_MS);
    const constant = found.filter(({ samples: { values } }) => values.every((value) => value === values[0]));
    share = { series: found.length, constant: constant.length };
    await storeDay(database, found);
  }
  await database.command("DROP DATABASE bench");
  return share;
}

const REPORT_SECONDS = 300;
const REPORTS = 2 * (DAY_MS / 1000 / REPORT_SECONDS);

/** Stores what the collection of each cluster would have reported of itself every 5 minutes, on the last two days. */
export async function storeReports(database: EmbeddedDatabase, stored: StoredClusters): Promise<void> {
  const list = (texts: readonly string[]): string => `[${texts.map(quote).join(", ")}]`;
  const report = (kind: "gauge" | "sum", metrics: readonly string[], queries: readonly string[]) =>
    database.command(
      `INSERT INTO metrics.otel_metrics_${kind} (ResourceAttributes, ServiceName, ScopeName, MetricName, Attributes,
         TimeUnix, Value${kind === "sum" ? ", IsMonotonic, AggregationTemporality" : ""})
       SELECT map('cluster_id', cluster, 'service.name', 'budcluster'), 'budcluster', 'budcluster', metric,
         if(query = '', map(), map('group', 'any', 'query', query)), fromUnixTimestamp64Milli(at_ms + 1000),
         multiIf(metric LIKE '%_up', 1, metric LIKE '%_seconds', at_ms / 1000, metric LIKE '%_total', n * 1500, 0)
         ${kind === "sum" ? ", true, 2" : ""}
       FROM (
         SELECT number AS n, toInt64(${stored.endMs} - (${REPORTS} - number) * ${REPORT_SECONDS * 1000}) AS at_ms,
           arrayJoin(${list(stored.clusters)}) AS cluster, arrayJoin(${list(metrics)}) AS metric, arrayJoin(${list(queries)}) AS query
         FROM numbers(${REPORTS + 1})
       )`,
    );
  const ofQueries = (names: string): string[] => names.split(" ").map((name) => `budcluster_query_${name}`);
  const queries = CHOICES.map(({ metric }) => metric);
  await report("gauge", ["budcluster_cluster_up"], [""]);
  await report("gauge", ofQueries("watermark_seconds open_gaps lost_gaps"), queries);
  await report("sum", ofQueries("samples_read_total samples_sent_total"), queries);
}
