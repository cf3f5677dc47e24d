import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import type { MetricType } from "./aggregations.ts";
import { createCollectionRecords } from "#query/collection-record.ts";
import type { Completeness } from "#query/completeness.ts";
import { checkRange, toTimestamp } from "#query/grid.ts";
import {
  limitDatabase,
  refuseField,
  refuseSize,
  type LimitedDatabase,
  type QueryLimits,
} from "#query/limits.ts";
import { createReadCompleteness } from "#query/range-completeness.ts";
import { toLabelsStatement } from "./series-sql.ts";

const CLUSTER_ID = /^[A-Za-z0-9._-]{1,64}$/;
const NAME_CHARS_MAX = 512;
const SIMILAR_MAX = 5;
const METRICS_MAX = 10_000;
const LABEL_VALUES_MAX = 100;

/** Ends that are left out: the last 24 hours. Unix time in ms. */
interface LookupRange {
  fromMs?: number;
  toMs?: number;
  signal?: AbortSignal;
}

export interface MetricsAnswer {
  cluster_id: string;
  start_time: string;
  end_time: string;
  /** Time of the newest sample of all; null when there is none in the range. */
  as_of: string | null;
  /** Up to the range's end or where the collection is, whichever is earlier; null: nothing is on record about it. */
  completeness: Completeness | null;
  /** Sorted by name. */
  metrics: {
    metric_name: string;
    type: MetricType;
    unit: string;
    series: number;
    first_sample: string;
    last_sample: string;
  }[];
}

export interface LabelsAnswer {
  cluster_id: string;
  metric_name: string;
  start_time: string;
  end_time: string;
  /** Up to the range's end or where the collection is, whichever is earlier; null: nothing is on record about it. */
  completeness: Completeness | null;
  series: number;
  /**
   * Sorted by name; of more values only the first 100 in order. `series` is how many have the label. `k8s.node.name` is among them where the nodes of the series
   * are known.
   */
  labels: { label: string; series: number; values_total: number; values: string[] }[];
}

/** What is stored of a cluster in a range. Throws as SeriesQuery does. */
export interface MetricLookup {
  metrics(request: LookupRange & { clusterId: string }): Promise<MetricsAnswer>;
  labels(request: LookupRange & { clusterId: string; metric: string }): Promise<LabelsAnswer>;
}

interface MetricRow {
  metric_name: string;
  newest: { kind: MetricType; unit: string };
  series: string;
  first_ms: string;
  last_ms: string;
}

interface LabelRow {
  label: string;
  series: string;
  values_total: string;
  first_values: string[];
  all_series: string;
}

const DAY_MS = 86_400_000;

export function createMetricLookup(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits; staleAfterMs?: number },
): MetricLookup {
  const { databaseName, limits } = settings;
  const database = limitDatabase(deps.database, limits);
  const records = createCollectionRecords(database, { databaseName });
  const readCompleteness = createReadCompleteness({ records, clock: deps.clock }, settings);
  const toRange = (request: LookupRange): { fromMs: number; toMs: number } => {
    const nowMs = deps.clock.now();
    const toMs = request.toMs ?? nowMs;
    const fromMs = request.fromMs ?? toMs - DAY_MS;
    checkRange(fromMs, toMs, nowMs, limits.rangeMaxMs);
    return { fromMs, toMs };
  };

  return {
    metrics: async (request) => {
      const { clusterId, signal } = request;
      checkClusterId(clusterId);
      const { fromMs, toMs } = toRange(request);
      const rows = await database.query<MetricRow>(
        `SELECT metric_name, uniqExact(series_id) AS series, CAST(argMax(tuple(kind, unit), time), 'Tuple(kind String, unit String)') AS newest,
           toUnixTimestamp64Milli(min(time)) AS first_ms, toUnixTimestamp64Milli(max(time)) AS last_ms
         FROM (SELECT * FROM ${databaseName}.samples WHERE cluster_id = {cluster:String}
           AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64}))
         GROUP BY metric_name ORDER BY metric_name LIMIT ${METRICS_MAX + 1}`,
        { cluster: clusterId, from: String(fromMs), to: String(toMs) },
        signal,
      );
      if (rows.length === 0) await assertCluster(database, databaseName, clusterId, signal);
      if (rows.length > METRICS_MAX) {
        throw refuseSize("metrics", `more than ${METRICS_MAX} metrics`, "Ask for a shorter range.");
      }
      const newest = Math.max(...rows.map((row) => Number(row.last_ms)));
      return {
        cluster_id: clusterId,
        start_time: toTimestamp(fromMs),
        end_time: toTimestamp(toMs),
        as_of: rows.length === 0 ? null : toTimestamp(newest),
        completeness: await readCompleteness({ clusterId, fromMs, toMs, signal }),
        metrics: rows.map((row) => ({
          metric_name: row.metric_name,
          type: row.newest.kind,
          unit: row.newest.unit,
          series: Number(row.series),
          first_sample: toTimestamp(Number(row.first_ms)),
          last_sample: toTimestamp(Number(row.last_ms)),
        })),
      };
    },
    labels: async (request) => {
      const { clusterId, metric, signal } = request;
      checkClusterId(clusterId);
      checkMetricName(metric, "metric");
      const { fromMs, toMs } = toRange(request);
      const stored = toLabelsStatement(databaseName, { clusterId, metric, fromMs, toMs }, "both", true);
      const rows = await database.query<LabelRow>(
        `SELECT label, count() AS series, uniqExact(text) AS values_total,
           arraySlice(arraySort(groupUniqArray(text)), 1, ${LABEL_VALUES_MAX}) AS first_values, any(all) AS all_series
         FROM (SELECT labels, count() OVER () AS all FROM (${stored.sql}))
         LEFT ARRAY JOIN mapKeys(labels) AS label, mapValues(labels) AS text
         GROUP BY label ORDER BY label`,
        stored.parameters,
        signal,
      );
      if (rows.length === 0) await assertMetric(database, databaseName, { clusterId, metric, signal });
      return {
        cluster_id: clusterId,
        metric_name: metric,
        start_time: toTimestamp(fromMs),
        end_time: toTimestamp(toMs),
        completeness: await readCompleteness({ clusterId, metric, fromMs, toMs, signal }),
        series: Number(rows[0]?.all_series ?? 0),
        // A series without labels has one row of an empty name.
        labels: rows
          .filter((row) => row.label !== "")
          .map((row) => ({
            label: row.label,
            series: Number(row.series),
            values_total: Number(row.values_total),
            values: row.first_values,
          })),
      };
    },
  };
}

/** Throws `request_invalid`. */
export function checkClusterId(clusterId: string): void {
  if (CLUSTER_ID.test(clusterId)) return;
  throw refuseField(
    "cluster_id",
    "must be 1 to 64 of A-Z a-z 0-9 . _ -",
    "Send the id of a cluster as GET /clusters has it.",
  );
}

/** Throws `request_invalid`. */
export function checkMetricName(metric: string, field: string): void {
  if (metric !== "" && metric.length <= NAME_CHARS_MAX && !metric.includes("\0")) return;
  throw refuseField(
    field,
    `must have 1 to ${NAME_CHARS_MAX} characters`,
    "Send a metric's name as Prometheus has it.",
  );
}

/** Resolves when any sample of the cluster is stored. Throws `cluster_not_found`. */
async function assertCluster(
  database: LimitedDatabase,
  databaseName: string,
  clusterId: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const rows = await database.query(
    `SELECT one FROM (
       SELECT 1 AS one FROM ${databaseName}.otel_metrics_gauge WHERE cluster_id = {cluster:String} LIMIT 1
       UNION ALL
       SELECT 1 AS one FROM ${databaseName}.otel_metrics_sum WHERE cluster_id = {cluster:String} LIMIT 1
     ) LIMIT 1`,
    { cluster: clusterId },
    signal,
  );
  if (rows.length > 0) return;
  throw new BridgeError("cluster_not_found", `nothing is stored of a cluster ${clusterId}`);
}

/**
 * Resolves with the type and unit of some stored sample of the metric, of any time. Throws `cluster_not_found`, or `metric_not_found` with the names most
 * like it (`details.similar`).
 */
export async function assertMetric(
  database: LimitedDatabase,
  databaseName: string,
  request: { clusterId: string; metric: string; signal: AbortSignal | undefined },
): Promise<{ type: MetricType; unit: string }> {
  const { clusterId, metric, signal } = request;
  const parameters = { cluster: clusterId, metric };
  const [row] = await database.query<{ kind: MetricType; unit: string }>(
    `SELECT kind, unit FROM (
       SELECT kind, unit, time FROM (SELECT if(IsMonotonic, 'counter', 'sum') AS kind, MetricUnit AS unit, TimeUnix AS time
         FROM ${databaseName}.otel_metrics_sum WHERE cluster_id = {cluster:String} AND MetricName = {metric:String} LIMIT 1)
       UNION ALL
       SELECT kind, unit, time FROM (SELECT 'gauge' AS kind, MetricUnit AS unit, TimeUnix AS time
         FROM ${databaseName}.otel_metrics_gauge WHERE cluster_id = {cluster:String} AND MetricName = {metric:String} LIMIT 1)
     ) ORDER BY time DESC LIMIT 1`,
    parameters,
    signal,
  );
  if (row) return { type: row.kind, unit: row.unit };
  await assertCluster(database, databaseName, clusterId, signal);
  const names = await database.query<{ metric_name: string }>(
    `SELECT metric_name FROM (
       SELECT DISTINCT MetricName AS metric_name FROM ${databaseName}.otel_metrics_gauge WHERE cluster_id = {cluster:String}
       UNION DISTINCT
       SELECT DISTINCT MetricName AS metric_name FROM ${databaseName}.otel_metrics_sum WHERE cluster_id = {cluster:String}
     ) ORDER BY ngramDistanceCaseInsensitive(metric_name, {metric:String})
       + damerauLevenshteinDistance(lower(metric_name), lower({metric:String})) / length({metric:String}), metric_name
     LIMIT ${SIMILAR_MAX}`,
    parameters,
    signal,
  );
  const similar = names.map((found) => found.metric_name);
  throw new BridgeError("metric_not_found", `no sample of ${metric} is stored for this cluster`, {
    details: { similar },
    hint: `Check the name; like it are: ${similar.join(", ")}. GET /cluster-metrics/{cluster_id}/metrics lists all.`,
  });
}
