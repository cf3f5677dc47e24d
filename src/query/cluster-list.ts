import type { Clock } from "#lib/clock.ts";
import { storedUntil } from "./completeness.ts";
import { refuseSize, type LimitedDatabase } from "./limits.ts";
import { toTimestamp } from "./range.ts";

/** A cluster of which ClickHouse has the bridge's reports. */
export interface ListedCluster {
  cluster_id: string;
  /** null: the bridge sent none. */
  name: string | null;
  /** Of the bridge's reports, and of `up`. */
  first_sample: string;
  last_sample: string;
  /** The newest time up to which everything is stored; null: the last reports are older than two hours. */
  as_of: string | null;
  /** Whether the last attempt reached the cluster's Prometheus; null likewise. */
  up: boolean | null;
}

/** All clusters for which `sees` is true, by id. Throws what a LimitedDatabase throws. */
export type ClusterList = (request: {
  sees: (clusterId: string) => boolean;
  signal?: AbortSignal | undefined;
}) => Promise<ListedCluster[]>;

const UP = "budcluster_cluster_up";
const WATERMARK = "budcluster_query_watermark_seconds";
const RECENT_MS = 2 * 3_600_000;
const CLUSTERS_MAX = 10_000;
const REPORTS_MAX = 1_000_000;

interface ClusterRow {
  cluster_id: string;
  name: string;
  first_ms: string;
  last_ms: string;
}

interface ReportRow {
  cluster_id: string;
  metric_name: string;
  query: string;
  value: number;
  at_ms: string;
}

export function createClusterList(
  deps: { database: LimitedDatabase; clock: Clock },
  settings: { databaseName: string; staleAfterMs: number },
): ClusterList {
  const { databaseName, staleAfterMs } = settings;
  const clusters = `SELECT cluster_id, argMaxIf(resource['cluster_name'], last_time, metric_name = '${UP}') AS name,
      toUnixTimestamp64Milli(min(first_time)) AS first_ms, toUnixTimestamp64Milli(max(last_time)) AS last_ms
    FROM ${databaseName}.series WHERE metric_name IN ('${UP}', 'up') AND cluster_id != ''
    GROUP BY cluster_id HAVING countIf(metric_name = '${UP}') > 0 ORDER BY cluster_id LIMIT ${CLUSTERS_MAX}`;
  const reports = `SELECT cluster_id, MetricName AS metric_name, Attributes['query'] AS query, argMax(Value, TimeUnix) AS value,
      toUnixTimestamp64Milli(max(TimeUnix)) AS at_ms
    FROM ${databaseName}.otel_metrics_gauge
    WHERE MetricName IN ('${UP}', '${WATERMARK}') AND TimeUnix > fromUnixTimestamp64Milli({since:Int64}) AND isFinite(Value)
    GROUP BY cluster_id, metric_name, query LIMIT ${REPORTS_MAX}`;
  return async ({ sees, signal }) => {
    const since = deps.clock.now() - RECENT_MS;
    const [known, reported] = await Promise.all([
      deps.database.query<ClusterRow>(clusters, {}, signal),
      deps.database.query<ReportRow>(reports, { since }, signal),
    ]);
    if (known.length >= CLUSTERS_MAX || reported.length >= REPORTS_MAX) {
      throw refuseSize("series", "there are too many clusters for one list", "Ask for single clusters.");
    }
    const reportsOf = Map.groupBy(reported, ({ cluster_id }) => cluster_id);
    return known
      .filter(({ cluster_id }) => sees(cluster_id))
      .map((row) => toListed(row, reportsOf.get(row.cluster_id) ?? [], staleAfterMs));
  };
}

function toListed(row: ClusterRow, reports: readonly ReportRow[], staleAfterMs: number): ListedCluster {
  const watermarks = reports.filter(({ metric_name }) => metric_name === WATERMARK);
  const newestMs = Math.max(...watermarks.map(({ at_ms }) => Number(at_ms)));
  // Only of the newest report: a query that was removed from the catalogue has older ones.
  const current = watermarks
    .filter(({ at_ms }) => Number(at_ms) === newestMs)
    .map(({ query, value }) => ({ query, watermarkMs: Math.round(value * 1000) }));
  const asOfMs = storedUntil(current, staleAfterMs);
  const up = reports.find(({ metric_name }) => metric_name === UP);
  return {
    cluster_id: row.cluster_id,
    name: row.name || null,
    first_sample: toTimestamp(Number(row.first_ms)),
    last_sample: toTimestamp(Number(row.last_ms)),
    as_of: asOfMs === null ? null : toTimestamp(asOfMs),
    up: up === undefined ? null : up.value === 1,
  };
}
