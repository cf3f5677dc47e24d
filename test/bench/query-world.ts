import type { EmbeddedDatabase } from "#allinone/chdb.ts";
import { quoteText } from "#allinone/literals.ts";
import type { Clock } from "#lib/clock.ts";
import { createWorld } from "#simulator/world.ts";

// The stored clusters of the query benchmark: the simulator's series of what the state answers read, and one cluster with a counter of 500 series. The
// engine makes the values itself, because a month of them sent as rows takes minutes.

export interface StoredClusters {
  clusters: readonly string[];
  /** The cluster of WIDE_METRIC. */
  wideCluster: string;
  /** A multiple of a day; ms. The newest sample is one scrape older. */
  endMs: number;
  days: number;
  scrapeSeconds: number;
}

/** A counter of 500 series, 10 of each of 50 modes. */
export const WIDE_METRIC = "wide_seconds_total";
const WIDE_SERIES = 500;

interface Choice {
  metric: string;
  /** Only the series with these labels. */
  labels?: Readonly<Record<string, string>>;
}

const choices = (names: string, prefix: string, suffix = ""): Choice[] =>
  names.split(" ").map((name) => ({ metric: `${prefix}${name}${suffix}` }));

// Of the many series that never change (kube_*) only those that the answers need, so that the bytes of a sample are not flattered.
const CHOICES: readonly Choice[] = [
  { metric: "node_cpu_seconds_total" },
  ...choices("load1 load5 load15", "node_"),
  ...choices("MemTotal MemAvailable MemFree Buffers Cached", "node_memory_", "_bytes"),
  ...choices("size avail", "node_filesystem_", "_bytes"),
  ...choices("disk_read disk_written", "node_", "_bytes_total"),
  ...choices("receive transmit", "node_network_", "_bytes_total"),
  ...choices(
    "GPU_UTIL MEM_COPY_UTIL FB_USED FB_FREE GPU_TEMP SM_CLOCK POWER_USAGE TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_",
  ),
  { metric: "container_cpu_usage_seconds_total" },
  ...choices("usage working_set", "container_memory_", "_bytes"),
  ...choices("receive transmit", "container_network_", "_bytes_total"),
  { metric: "kube_node_info" },
  { metric: "kube_node_status_condition", labels: { condition: "Ready", status: "true" } },
  { metric: "kube_pod_info" },
  { metric: "kube_pod_status_phase", labels: { phase: "Running" } },
];

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const SHAPE = {
  nodes: 4,
  pods: 6,
  cpus: 1,
  gpus: 1,
  oddities: false,
  resetEveryMs: 365 * DAY_MS,
  churnEveryMs: 365 * DAY_MS,
  jitterMs: 0,
};

interface SeriesRow {
  cluster: string;
  metric: string;
  isCounter: boolean;
  labels: readonly (readonly [string, string])[];
  /** A value of the series. */
  level: number;
}

/** The simulator's series in a few minutes, each with one of its values. */
function simulatedSeries(stored: StoredClusters): SeriesRow[] {
  const clock: Pick<Clock, "now"> = { now: () => stored.endMs };
  const world = createWorld(
    { clock: clock as Clock },
    {
      clusters: stored.clusters.map((id) => ({ id, name: id })),
      shape: { ...SHAPE, scrapeIntervalMs: MINUTE_MS, oldestMs: stored.endMs - DAY_MS },
    },
  );
  const range = { fromMs: stored.endMs - 3 * MINUTE_MS, toMs: stored.endMs };
  return world.clusters.flatMap((cluster) =>
    CHOICES.flatMap(({ metric, labels: wanted = {} }) =>
      cluster
        .expected({ ...range, metric })
        .filter(({ labels }) => {
          const own = new Map(labels);
          return Object.entries(wanted).every(([name, value]) => own.get(name) === value);
        })
        .map(({ labels, values }) => ({
          cluster: cluster.shape.id,
          metric,
          isCounter: cluster.metrics.find(({ name }) => name === metric)?.family?.type === "counter",
          labels: labels.filter(([name]) => name !== "__name__"),
          level: values[0]!,
        })),
    ),
  );
}

function wideSeries({ wideCluster }: StoredClusters): SeriesRow[] {
  return Array.from({ length: WIDE_SERIES }, (_, i) => ({
    cluster: wideCluster,
    metric: WIDE_METRIC,
    isCounter: true,
    labels: [
      ["instance", `10.0.0.${i % 10}:9100`],
      ["mode", `mode-${Math.floor(i / 10)}`],
    ],
    level: i + 1,
  }));
}

function toTuple({ cluster, metric, isCounter, labels, level }: SeriesRow, number: number): string {
  const map = labels.map(([name, value]) => `${quoteText(name)}: ${quoteText(value)}`);
  return `(${number}, ${isCounter}, ${quoteText(cluster)}, ${quoteText(metric)}, {${map.join(", ")}}, ${level})`;
}

/** Gauges swing around their level by a tenth of it, `kube_*` never change; counters rise by up to 0.6 a second. Two decimals. */
const VALUE: Record<"gauge" | "sum", string> = {
  gauge: `if(startsWith(metric, 'kube_'), level, round(level * (1 + 0.1 * sin(at_ms / 7.2e6 + number)) + (cityHash64(number, at_ms) % 100) / 100, 2))`,
  sum: `round((at_ms - {origin:Int64}) / 1000 * (0.1 + number % 50 / 100) + (cityHash64(number, at_ms) % 500) / 100, 2)`,
};

const SCOPE = "map('budcluster.schema_version', '2')";
const COLUMNS =
  "ResourceAttributes, ServiceName, ScopeName, ScopeAttributes, MetricName, Attributes, TimeUnix, Value";
const OF_SUMS = { gauge: ["", ""], sum: [", IsMonotonic, AggregationTemporality", ", true, 2"] } as const;
/** One part a day without looking for copies: that and merging a month of parts would take longer than the rest. */
const AS_IT_IS =
  "optimize_on_insert = 0, min_insert_block_size_rows = 10000000, min_insert_block_size_bytes = 1000000000, max_insert_threads = 1";
/** The tables' own: rows that are not in it are sorted with all their maps. */
const IN_ORDER = "cluster, metric, hour, cityHash64(cluster, metric, mapSort(labels))";
/** Days before these are scraped every five minutes: the queries read their hours only. */
const WHOLE_DAYS = 2;
const OLD_SCRAPE_SECONDS = 300;

/** Stores the samples. Resolves with the number of series. */
export async function storeClusters(database: EmbeddedDatabase, stored: StoredClusters): Promise<number> {
  const series = [...simulatedSeries(stored), ...wideSeries(stored)];
  await database.command("CREATE DATABASE bench");
  await database.command(
    `CREATE TABLE bench.series (number UInt32, is_counter Bool, cluster String, metric String,
       labels Map(LowCardinality(String), String), level Float64) ENGINE = Memory`,
  );
  await database.command(`INSERT INTO bench.series VALUES ${series.map(toTuple).join(", ")}`);
  for (let day = stored.days; day > 0; day--) {
    const every = day > WHOLE_DAYS ? OLD_SCRAPE_SECONDS : stored.scrapeSeconds;
    for (const kind of ["gauge", "sum"] as const) {
      const [columns, values] = OF_SUMS[kind];
      await database.command(
        `INSERT INTO metrics.otel_metrics_${kind} (${COLUMNS}${columns})
         SELECT map('cluster_id', cluster, 'service.name', 'budcluster'), 'budcluster', 'budcluster', ${SCOPE}, metric, labels,
           fromUnixTimestamp64Milli(at_ms), ${VALUE[kind]}${values}
         FROM (
           SELECT *, {from:Int64} + hour * 3600000 + arrayJoin(range(${3600 / every})) * {every:Int64} AS at_ms
           FROM (SELECT *, arrayJoin(range(24)) AS hour FROM bench.series WHERE is_counter = ${kind === "sum"} ORDER BY ${IN_ORDER})
         )
         SETTINGS ${AS_IT_IS}`,
        {
          from: stored.endMs - day * DAY_MS,
          every: every * 1000,
          origin: stored.endMs - 400 * DAY_MS,
        },
      );
    }
  }
  await database.command("DROP DATABASE bench");
  return series.length;
}

const REPORT_SECONDS = 300;
/** More would fill the engine's memory. */
const REPORTS_AT_ONCE = 1500;
const QUERY_NAMES = [...new Set([...CHOICES.map(({ metric }) => metric), WIDE_METRIC])];

/** Stores what the collection of each cluster would have reported of itself every 5 minutes. */
export async function storeReports(database: EmbeddedDatabase, stored: StoredClusters): Promise<void> {
  const reports = (stored.days * DAY_MS) / 1000 / REPORT_SECONDS;
  const list = (texts: readonly string[]): string => `[${texts.map(quoteText).join(", ")}]`;
  const insert = (
    kind: "gauge" | "sum",
    metrics: readonly string[],
    queries: readonly string[],
    first: number,
  ): Promise<void> => {
    const [columns, values] = OF_SUMS[kind];
    const count = Math.min(REPORTS_AT_ONCE, reports + 1 - first);
    return database.command(
      `INSERT INTO metrics.otel_metrics_${kind} (${COLUMNS}${columns})
       SELECT map('cluster_id', cluster, 'service.name', 'budcluster'), 'budcluster', 'budcluster', ${SCOPE}, metric,
         if(query = '', map(), map('group', 'any', 'query', query)), fromUnixTimestamp64Milli(at_ms + 1000),
         multiIf(metric LIKE '%_up', 1, metric LIKE '%_seconds', at_ms / 1000, metric LIKE '%_total', n * 1500, 0)${values}
       FROM (
         SELECT {first:Int64} + number AS n, {end:Int64} - ({reports:Int64} - n) * {every:Int64} AS at_ms,
           arrayJoin(${list([...stored.clusters, stored.wideCluster])}) AS cluster, arrayJoin(${list(metrics)}) AS metric,
           arrayJoin(${list(queries)}) AS query
         FROM numbers(${count})
       )
       SETTINGS ${AS_IT_IS}`,
      { end: stored.endMs, reports, first, every: REPORT_SECONDS * 1000 },
    );
  };
  const report = async (
    ...what: Parameters<typeof insert> extends [...infer Rest, number] ? Rest : never
  ) => {
    for (let first = 0; first <= reports; first += REPORTS_AT_ONCE) await insert(...what, first);
  };
  const ofQueries = (names: string): string[] => names.split(" ").map((name) => `budcluster_query_${name}`);
  await report("gauge", ["budcluster_cluster_up"], [""]);
  await report("gauge", ofQueries("watermark_seconds open_gaps lost_gaps"), QUERY_NAMES);
  await report("sum", ofQueries("samples_read_total samples_sent_total"), QUERY_NAMES);
}
