import { BridgeError } from "#errors/error.ts";
import { clusterNotFound, refuseField, type LimitedDatabase } from "#query/limits.ts";
import type { MetricType } from "./aggregations.ts";

// What every query checks about its metric: the name, and whether anything is stored of it.

const NAME_CHARS_MAX = 512;
const SIMILAR_MAX = 5;

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
export async function assertCluster(
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
  throw clusterNotFound(clusterId);
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
    hint: `Check the name. Similar names: ${similar.join(", ")}. GET /cluster-metrics/{cluster_id}/metrics lists all.`,
  });
}
