import { matchersOfSelector } from "#prometheus/selector-matchers.ts";
import { parsePromqlTree } from "#lib/promql-tree.ts";
import type { Database } from "#storage/database.ts";
import type { WrittenPrometheus } from "../e2e/prometheus.ts";

// The same samples in ClickHouse and in a real Prometheus. ClickHouse computes them itself, by the formulas that are here once more: whole numbers, divided by 100 at the end.

export interface PromqlWorld {
  clusters: readonly string[];
  series: readonly WorldSeries[];
  /** A whole hour, ms. The newest sample is at most one scrape older. */
  endMs: number;
  /** Those of whole hours. */
  scrapes: number;
}

interface WorldSeries {
  number: number;
  cluster: string;
  metric: string;
  isCounter: boolean;
  /** Without the name and the cluster. */
  labels: Readonly<Record<string, string>>;
}

export const SCRAPE_MS = 30_000;
const SERIES_PER_CLUSTER = 500;
const NAMESPACES = 4;
const NODES = 4;
/** By their names: what a metric has a series for. */
const OF_PODS = /^(container_|kube_pod_|node_namespace_pod|namespace_workload_pod)/;
const OF_NAMESPACES = /^namespace_/;
const OF_NODES = /^(kube_node_|node_)/;
/** Labels that a regular expression selects. */
const SELECTED: Readonly<Record<string, string>> = { device: "/dev/sda", container: "main" };

interface Metric {
  metric: string;
  /** Of equal matchers, all combinations. */
  fixed: readonly Record<string, string>[];
}

/** The metrics that the expressions read, with the labels that they want. */
function metricsOf(expressions: readonly string[]): Metric[] {
  const found = new Map<string, Map<string, Record<string, string>>>();
  for (const expr of expressions) {
    parsePromqlTree(expr).iterate({
      enter: ({ node }) => {
        if (node.type.name !== "VectorSelector") return;
        const matchers = matchersOfSelector(expr.slice(node.from, node.to))!;
        const metric = matchers.find(({ name }) => name === "__name__")!.value;
        const labels: Record<string, string> = {};
        for (const { name, type, value } of matchers) {
          if (name === "__name__" || name === "cluster" || name === "namespace") continue;
          labels[name] = type === "=" ? value : SELECTED[name]!;
        }
        const all = found.get(metric) ?? new Map<string, Record<string, string>>();
        // A metric has the labels of all that select it.
        const merged = [...all.values()].find((own) => isCompatible(own, labels));
        if (merged) Object.assign(merged, labels);
        else all.set(JSON.stringify(labels), labels);
        found.set(metric, all);
      },
    });
  }
  return [...found].map(([metric, all]) => ({ metric, fixed: [...all.values()] }));
}

function isCompatible(a: Record<string, string>, b: Record<string, string>): boolean {
  return Object.entries(b).every(([name, value]) => (a[name] ?? value) === value);
}

/** 500 series for each cluster: as many Pods as fit, and `up` for the rest. */
export function createPromqlWorld(
  expressions: readonly string[],
  settings: { clusters: number; endMs: number; lengthMs: number },
): PromqlWorld {
  const clusters = Array.from({ length: settings.clusters }, (_, i) => `bench-${i + 1}`);
  const metrics = metricsOf(expressions);
  const others = metrics
    .filter(({ metric }) => !OF_PODS.test(metric))
    .reduce((sum, { metric, fixed }) => sum + fixed.length * partsOf(metric, 0).length, 0);
  const ofPods = metrics
    .filter(({ metric }) => OF_PODS.test(metric))
    .reduce((sum, { fixed }) => sum + fixed.length, 0);
  const pods = Math.floor((SERIES_PER_CLUSTER - others) / ofPods);
  const own = metrics.flatMap(({ metric, fixed }) =>
    fixed.flatMap((labels) =>
      partsOf(metric, pods).map((part) => ({
        metric,
        isCounter: metric.endsWith("_total"),
        labels: { ...labels, ...part },
      })),
    ),
  );
  for (let i = 0; own.length < SERIES_PER_CLUSTER; i++)
    own.push({ metric: "up", isCounter: false, labels: { job: "kubelet", instance: `10.0.0.${i}:10250` } });
  const series = clusters.flatMap((cluster, c) =>
    own.map((each, i) => ({ ...each, cluster, number: c * SERIES_PER_CLUSTER + i })),
  );
  return { clusters, series, endMs: settings.endMs, scrapes: settings.lengthMs / SCRAPE_MS };
}

function partsOf(metric: string, pods: number): Record<string, string>[] {
  const namespace = (i: number): string => `namespace-${i % NAMESPACES}`;
  const times = (count: number, of: (i: number) => Record<string, string>) =>
    Array.from({ length: count }, (_, i) => of(i));
  if (OF_PODS.test(metric))
    return times(pods, (i) => ({
      namespace: namespace(i),
      pod: `pod-${i}`,
      container: "main",
      node: `node-${i % NODES}`,
      workload: `workload-${i % 12}`,
    }));
  if (OF_NAMESPACES.test(metric)) return times(NAMESPACES, (i) => ({ namespace: namespace(i) }));
  if (OF_NODES.test(metric)) return times(NODES, (i) => ({ node: `node-${i}` }));
  return [{}];
}

/** One counter in 25 begins again in the middle of the day. */
const RESET_EVERY = 25;
const RESET_AT = 1500;

/** The value of a series at its scrape t; all operations but the last one are exact. */
function valueAt({ number, isCounter }: WorldSeries, t: number): number {
  if (!isCounter) return (1000 * (1 + (number % 50)) + ((t * 37 + number * 13) % 1009)) / 100;
  const since = number % RESET_EVERY === 0 && t >= RESET_AT ? t - RESET_AT : t;
  return (since * (311 + 29 * (number % 50)) + ((t * 17 + number * 7) % 251)) / 100;
}

const VALUE_SQL = `if(is_counter,
  (if(number % ${RESET_EVERY} = 0 AND t >= ${RESET_AT}, t - ${RESET_AT}, t) * (311 + 29 * (number % 50)) + (t * 17 + number * 7) % 251) / 100,
  (1000 * (1 + number % 50) + (t * 37 + number * 13) % 1009) / 100)`;

/** Each cluster is scraped at a time of its own. */
function offsetMs(world: PromqlWorld, cluster: string): number {
  return 1 + ((world.clusters.indexOf(cluster) * 1370) % (SCRAPE_MS - 1));
}

function startOf(world: PromqlWorld): number {
  return world.endMs - world.scrapes * SCRAPE_MS;
}

/** One part for a cluster, without looking for copies. */
const AS_IT_IS =
  "optimize_on_insert = 0, min_insert_block_size_rows = 10000000, min_insert_block_size_bytes = 1000000000, max_insert_threads = 1";
/** The tables' own: rows that are not in it are sorted with all their maps. */
const IN_ORDER = "cluster, metric, hour, cityHash64(cluster, metric, mapSort(labels))";
const SCRAPES_PER_HOUR = 3_600_000 / SCRAPE_MS;

const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/** Stores the world in the tables of the database. */
export async function storeWorld(database: Database, name: string, world: PromqlWorld): Promise<void> {
  const rows = world.series.map(({ number, cluster, metric, isCounter, labels }) => {
    const map = Object.entries(labels).map(([key, value]) => `${quote(key)}, ${quote(value)}`);
    const firstMs = startOf(world) + offsetMs(world, cluster);
    return `(${number}, ${isCounter}, ${quote(cluster)}, ${quote(metric)}, map(${map.join(", ")}), ${firstMs})`;
  });
  await database.command(`CREATE TABLE ${name}.bench_series (number Int64, is_counter Bool, cluster String, metric String,
    labels Map(LowCardinality(String), String), first_ms Int64) ENGINE = Memory`);
  for (let at = 0; at < rows.length; at += 1000)
    await database.command(`INSERT INTO ${name}.bench_series VALUES ${rows.slice(at, at + 1000).join(", ")}`);
  for (const [table, more, values] of [
    ["gauge", "", ""],
    ["sum", ", IsMonotonic, AggregationTemporality", ", true, 2"],
  ] as const) {
    for (const cluster of world.clusters)
      await database.command(
        `INSERT INTO ${name}.otel_metrics_${table}
          (ResourceAttributes, ServiceName, ScopeName, ScopeAttributes, MetricName, Attributes, TimeUnix, Value${more})
         SELECT map('cluster_id', cluster, 'service.name', 'budcluster'), 'budcluster', 'budcluster', map('budcluster.schema_version', '2'),
           metric, labels, fromUnixTimestamp64Milli(first_ms + t * ${SCRAPE_MS}), ${VALUE_SQL}${values}
         FROM (
           SELECT *, (hour * ${SCRAPES_PER_HOUR} + arrayJoin(range(${SCRAPES_PER_HOUR})))::Int64 AS t
           FROM (SELECT *, arrayJoin(range(${world.scrapes / SCRAPES_PER_HOUR})) AS hour FROM ${name}.bench_series
             WHERE cluster = ${quote(cluster)} AND is_counter = ${table === "sum"} ORDER BY ${IN_ORDER})
         )
         SETTINGS ${AS_IT_IS}`,
      );
  }
  await database.command(`DROP TABLE ${name}.bench_series`);
}

/** By remote write. */
export async function writeWorld(prometheus: WrittenPrometheus, world: PromqlWorld): Promise<void> {
  const SLICE = 30;
  for (let first = 0; first < world.scrapes; first += SLICE) {
    const count = Math.min(SLICE, world.scrapes - first);
    await prometheus.write(
      world.series.map((each) => ({
        labels: {
          __name__: each.metric,
          ...each.labels,
          cluster: each.cluster,
          cluster_id: each.cluster,
        },
        samples: Array.from({ length: count }, (_, i) => {
          const t = first + i;
          const ms = startOf(world) + offsetMs(world, each.cluster) + t * SCRAPE_MS;
          return [ms, valueAt(each, t)] as const;
        }),
      })),
    );
  }
}
