import { BridgeError } from "#errors/error.ts";
import type { Database } from "#storage/database.ts";
import { toTimestamp } from "#query/grid.ts";
import { toJsonDouble, type JsonDouble } from "#query/json-double.ts";
import { limitDatabase, QUERY_LIMITS, refuseField, refuseSize, type QueryLimits } from "#query/limits.ts";
import { assertMetric, checkClusterId, checkMetricName } from "./lookup.ts";

interface LatestRequest {
  clusterId: string;
  /** The metric's name as Prometheus has it. */
  metric: string;
  /** Series to answer with, 1 to 10,000. Default 1000. */
  limit?: number;
  signal?: AbortSignal;
}

interface LatestSeries {
  labels: Record<string, string>;
  /** RFC 3339, UTC, ms. */
  timestamp: string;
  value: JsonDouble;
}

interface LatestAnswer {
  cluster_id: string;
  metric: string;
  /** Time of the newest sample among all series. */
  as_of: string;
  unit: string;
  type: "gauge" | "counter" | "sum";
  /** How many series have a sample in the last 24 hours; `series` may hold fewer. */
  series_total: number;
  /** Sorted by labels. */
  series: LatestSeries[];
}

/**
 * The newest sample of each series of a metric in the last 24 hours. Throws BridgeError `request_invalid`, `cluster_not_found` (nothing is
 * stored for it), `metric_not_found` (`details.similar`: stored names like it), `query_too_large` and `query_timeout` (`details.limit`), and
 * what a Database throws.
 */
export type LatestQuery = (request: LatestRequest) => Promise<LatestAnswer>;

const SERIES_MAX = 10_000;
const SERIES_DEFAULT = 1000;
const RANGE_HOURS = 24;
const HOUR_MS = 3_600_000;

interface Row {
  labels: Record<string, string>;
  time_ms: string;
  newest_ms: string;
  value: number | string;
  unit: string;
  kind: LatestAnswer["type"];
  total: string;
}

export function createLatest(
  unlimited: Database,
  settings: { databaseName: string; limits?: QueryLimits },
): LatestQuery {
  const { databaseName, limits = QUERY_LIMITS } = settings;
  const database = limitDatabase(unlimited, limits);
  const rangeHours = Math.min(RANGE_HOURS, Math.floor(limits.rangeMaxMs / HOUR_MS));

  return async (request) => {
    const { clusterId, metric, signal } = request;
    const limit = checkRequest(request, limits);
    const rows = await database.query<Row>(
      `SELECT newest.1 AS labels, newest.2 AS value, newest.3 AS unit, newest.4 AS kind, count() OVER () AS total,
                toUnixTimestamp64Milli(last) AS time_ms, toUnixTimestamp64Milli(max(last) OVER ()) AS newest_ms
         FROM (
           SELECT argMax(tuple(labels, value, unit, kind), time) AS newest, max(time) AS last
           FROM ${databaseName}.samples
           WHERE cluster_id = {cluster:String} AND time > now64(3) - INTERVAL ${rangeHours} HOUR AND metric_name = {metric:String}
           GROUP BY series_id
         )
         ORDER BY toString(mapSort(labels)) LIMIT ${limit}`,
      { cluster: clusterId, metric },
      signal,
    );
    const first = rows[0];
    if (first === undefined) {
      await assertMetric(database, databaseName, { clusterId, metric, signal });
      throw new BridgeError("metric_not_found", `no sample of ${metric} in the last ${rangeHours} hours`);
    }
    if (Number(first.total) > limits.seriesMax) {
      throw refuseSize(
        "series",
        `the metric has ${first.total} series, more than ${limits.seriesMax}`,
        "Ask for groups of its series with POST /cluster-metrics/query, over a shorter range.",
      );
    }
    return {
      cluster_id: clusterId,
      metric,
      as_of: toTimestamp(Number(first.newest_ms)),
      unit: first.unit,
      type: first.kind,
      series_total: Number(first.total),
      series: rows.map((row) => ({
        labels: row.labels,
        timestamp: toTimestamp(Number(row.time_ms)),
        value: toJsonDouble(row.value),
      })),
    };
  };
}

/** Returns the limit. */
function checkRequest({ clusterId, metric, limit }: LatestRequest, limits: QueryLimits): number {
  checkClusterId(clusterId);
  checkMetricName(metric, "metric");
  const most = Math.min(SERIES_MAX, limits.seriesMax, limits.pointsMax);
  if (limit === undefined) return Math.min(SERIES_DEFAULT, most);
  if (Number.isInteger(limit) && limit >= 1 && limit <= most) return limit;
  throw refuseField("limit", `is not a whole number from 1 to ${most}`, `Send at most ${most}.`);
}
