import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { toJsonDouble, type JsonDouble } from "#query/json-double.ts";
import {
  checkClusterId,
  refuseField,
  refuseSize,
  type LimitedDatabase,
  type QueryLimits,
} from "#query/limits.ts";
import { toTimestamp } from "#query/range.ts";
import { IN_CLUSTER, markedSource } from "#storage/samples-sql.ts";
import type { MetricType } from "./aggregations.ts";
import type { IsInSeriesTable } from "./series-table.ts";
import { assertMetric, checkMetricName } from "./stored-metrics.ts";

export interface LatestRequest {
  clusterId: string;
  /** The metric's name as in Prometheus. */
  metric: string;
  /** Series of the answer, 1 to 10,000. Default 1000. */
  limit?: number;
  signal?: AbortSignal;
}

export interface LatestAnswer {
  cluster_id: string;
  metric: string;
  /** Time of the newest sample among all series. */
  as_of: string;
  /** As stored, for example "By"; may be empty. */
  unit: string;
  type: MetricType;
  /** How many series have a sample in the last 24 hours; `series` may hold fewer. */
  series_total: number;
  /**
   * Sorted by labels. Timestamps are RFC 3339 in UTC, with ms. `ended`: the time of the series' stale marker, where it is newer than the sample: it is there no more. Absent: the
   * series goes on, or its source has no markers.
   */
  series: {
    labels: Record<string, string>;
    timestamp: string;
    value: JsonDouble;
    ended?: string | undefined;
  }[];
}

interface LatestRow {
  labels: Record<string, string>;
  time_ms: string;
  /** Of the newest stale marker; 0: there is none. */
  marker_ms: string;
  newest_ms: string;
  value: number | string;
  unit: string;
  kind: MetricType;
  total: string;
  /** Of the table `series`: how many series of the samples it does not have. */
  missing?: string;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LATEST_SERIES_MAX = 10_000;
const LATEST_SERIES_DEFAULT = 1000;

/** The newest sample of each series of a metric in the last 24 hours. Throws `metric_not_found` also when all samples are older, and what a SeriesQuery throws. */
export type ReadLatest = (request: LatestRequest) => Promise<LatestAnswer>;

export function createReadLatest(
  deps: { database: LimitedDatabase; clock: Clock; isInSeriesTable: IsInSeriesTable },
  { databaseName, limits }: { databaseName: string; limits: QueryLimits },
): ReadLatest {
  const { database, clock } = deps;
  const rangeMs = Math.min(DAY_MS, limits.rangeMaxMs);

  const readRows = async (
    { clusterId, metric, signal }: LatestRequest,
    limit: number,
  ): Promise<LatestRow[]> => {
    const fromMs = clock.now() - rangeMs;
    const parameters = { cluster: clusterId, metric, from: String(fromMs) };
    const read = (sql: string): Promise<LatestRow[]> => database.query<LatestRow>(sql, parameters, signal);
    if (await deps.isInSeriesTable(fromMs, signal)) {
      const rows = await read(toTableLatestSql(databaseName, limit));
      if (rows.length > 0 && rows[0]!.missing === "0") return rows;
    }
    return await read(toLatestSql(databaseName, limit));
  };

  return async (request) => {
    const { clusterId, metric, signal } = request;
    const limit = checkLatest(request, limits);
    const rows = await readRows(request, limit);
    const first = rows[0];
    if (first === undefined) {
      await assertMetric(database, databaseName, { clusterId, metric, signal });
      const hours = Math.floor(rangeMs / HOUR_MS);
      throw new BridgeError("metric_not_found", `no sample of ${metric} in the last ${hours} hours`);
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
        ...(Number(row.marker_ms) > Number(row.time_ms) && { ended: toTimestamp(Number(row.marker_ms)) }),
      })),
    };
  };
}

const IN_RANGE = `${IN_CLUSTER} AND metric_name = {metric:String} AND time > fromUnixTimestamp64Milli({from:Int64})`;
/** Of a series with samples. */
const TIMES =
  "maxIf(time, NOT is_marker) AS last, toUnixTimestamp64Milli(maxIf(time, is_marker)) AS marker_ms";
const HAS_SAMPLES = "HAVING countIf(NOT is_marker) > 0";

/** From the samples alone. Without an end: the clock of a cluster may run ahead. */
function toLatestSql(databaseName: string, limit: number): string {
  const columns = "series_id, labels, time, value, unit, kind, is_marker";
  return `SELECT newest.1 AS labels, newest.2 AS value, newest.3 AS unit, newest.4 AS kind, count() OVER () AS total, marker_ms,
      toUnixTimestamp64Milli(last) AS time_ms, toUnixTimestamp64Milli(max(last) OVER ()) AS newest_ms
    FROM (
      SELECT argMaxIf(tuple(labels, value, unit, kind), time, NOT is_marker) AS newest, ${TIMES}
      FROM (${markedSource(databaseName, columns, IN_RANGE)})
      GROUP BY series_id ${HAS_SAMPLES}
    )
    ORDER BY toString(mapSort(labels)) LIMIT ${limit}`;
}

/** Labels, unit and kind from the table `series`, which also knows how old the oldest of the newest samples is: mostly one hour of samples is read instead of a day. */
function toTableLatestSql(databaseName: string, limit: number): string {
  const series = `SELECT series_id, argMax(labels, last_time) AS labels, argMax(unit, last_time) AS unit, argMax(kind, last_time) AS kind, max(last_time) AS last
    FROM ${databaseName}.series WHERE cluster_id = {cluster:String} AND metric_name = {metric:String}
      AND day >= toDate(fromUnixTimestamp64Milli({from:Int64}, 'UTC'))
    GROUP BY series_id HAVING last > fromUnixTimestamp64Milli({from:Int64})`;
  const columns = "series_id, time, value, is_marker";
  const samples = markedSource(
    databaseName,
    columns,
    `${IN_RANGE} AND time >= (SELECT min(last) FROM (${series}))`,
  );
  return `SELECT labels, value, unit, kind, count() OVER () AS total, countIf(known = 0) OVER () AS missing, marker_ms,
      toUnixTimestamp64Milli(samples.last) AS time_ms, toUnixTimestamp64Milli(max(samples.last) OVER ()) AS newest_ms
    FROM (SELECT series_id, argMaxIf(value, time, NOT is_marker) AS value, ${TIMES} FROM (${samples}) GROUP BY series_id ${HAS_SAMPLES}) AS samples
    LEFT JOIN (SELECT *, 1 AS known FROM (${series})) AS named ON samples.series_id = named.series_id
    ORDER BY toString(mapSort(labels)) LIMIT ${limit}`;
}

/** Returns the limit. */
function checkLatest({ clusterId, metric, limit }: LatestRequest, limits: QueryLimits): number {
  checkClusterId(clusterId);
  checkMetricName(metric, "metric");
  const most = Math.min(LATEST_SERIES_MAX, limits.seriesMax, limits.pointsMax);
  if (limit === undefined) return Math.min(LATEST_SERIES_DEFAULT, most);
  if (Number.isInteger(limit) && limit >= 1 && limit <= most) return limit;
  throw refuseField("limit", `is not a whole number from 1 to ${most}`, `Send at most ${most}.`);
}
