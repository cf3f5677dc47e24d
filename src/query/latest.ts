import { BridgeError } from "#errors.ts";
import type { Database } from "#storage/database.ts";
import { toJsonDouble, type JsonDouble } from "./json-double.ts";

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
 * stored for it), `metric_not_found` (`details.similar`: stored names like it) and what a Database throws.
 */
export type LatestQuery = (request: LatestRequest) => Promise<LatestAnswer>;

const SERIES_MAX = 10_000;
const SERIES_DEFAULT = 1000;
const RANGE_HOURS = 24;
const NAME_LENGTH_MAX = 512;

interface Row {
  labels: Record<string, string>;
  time_ms: string;
  newest_ms: string;
  value: number | string;
  unit: string;
  kind: LatestAnswer["type"];
  total: string;
}

export function createLatest(database: Database, settings: { databaseName: string }): LatestQuery {
  const recent = `FROM ${settings.databaseName}.samples WHERE cluster_id = {cluster:String} AND time > now64(3) - INTERVAL ${RANGE_HOURS} HOUR`;

  const explainAbsence = async (request: LatestRequest): Promise<BridgeError> => {
    const { clusterId, metric, signal } = request;
    const names = await database.query<{ metric_name: string }>(
      `SELECT metric_name FROM (SELECT DISTINCT metric_name ${recent})
       ORDER BY ngramDistanceCaseInsensitive(metric_name, {metric:String}), metric_name LIMIT 5`,
      { cluster: clusterId, metric },
      signal,
    );
    if (names.length === 0) {
      return new BridgeError(
        "cluster_not_found",
        `no sample of cluster ${clusterId} in the last ${RANGE_HOURS} hours`,
      );
    }
    const similar = names.map((row) => row.metric_name);
    return new BridgeError("metric_not_found", `no sample of ${metric} in the last ${RANGE_HOURS} hours`, {
      details: { similar },
    });
  };

  return async (request) => {
    const { clusterId, metric, signal } = request;
    const limit = checkRequest(request);
    const rows = await database.query<Row>(
      `SELECT newest.1 AS labels, newest.2 AS value, newest.3 AS unit, newest.4 AS kind, count() OVER () AS total,
                toUnixTimestamp64Milli(last) AS time_ms, toUnixTimestamp64Milli(max(last) OVER ()) AS newest_ms
         FROM (
           SELECT argMax(tuple(labels, value, unit, kind), time) AS newest, max(time) AS last
           ${recent} AND metric_name = {metric:String} GROUP BY series_id
         )
         ORDER BY toString(mapSort(labels)) LIMIT ${limit}`,
      { cluster: clusterId, metric },
      signal,
    );
    const first = rows[0];
    if (first === undefined) throw await explainAbsence(request);
    return {
      cluster_id: clusterId,
      metric,
      as_of: toTimestamp(first.newest_ms),
      unit: first.unit,
      type: first.kind,
      series_total: Number(first.total),
      series: rows.map((row) => ({
        labels: row.labels,
        timestamp: toTimestamp(row.time_ms),
        value: toJsonDouble(row.value),
      })),
    };
  };
}

/** Returns the limit. */
function checkRequest(request: LatestRequest): number {
  const { clusterId, metric, limit = SERIES_DEFAULT } = request;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(clusterId)) {
    throw new BridgeError("request_invalid", "the cluster's id must be 1 to 64 of A-Z a-z 0-9 . _ -");
  }
  if (metric === "" || metric.length > NAME_LENGTH_MAX) {
    throw new BridgeError("request_invalid", `metric must have 1 to ${NAME_LENGTH_MAX} characters`);
  }
  if (!Number.isInteger(limit) || limit < 1 || limit > SERIES_MAX) {
    throw new BridgeError("request_invalid", `limit must be a whole number from 1 to ${SERIES_MAX}`);
  }
  return limit;
}

function toTimestamp(ms: string): string {
  return new Date(Number(ms)).toISOString();
}
