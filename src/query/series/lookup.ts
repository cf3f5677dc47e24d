import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Database } from "#storage/database.ts";
import type { MetricType } from "./aggregations.ts";
import { createReadCompleteness, type Completeness } from "#query/completeness.ts";
import { checkRange, RANGE_FIELDS, toTimestamp } from "#query/range.ts";
import { toJsonDouble, type JsonDouble } from "#query/json-double.ts";
import {
  checkClusterId,
  limitDatabase,
  refuseField,
  refuseSize,
  type LimitedDatabase,
  type QueryLimits,
} from "#query/limits.ts";
import { createIsInSeriesTable } from "./series-table.ts";
import { toLabelsStatement, toScopeParameters, type Scope, type Statement } from "./series-sql.ts";
import { assertCluster, assertMetric, checkMetricName } from "./stored-metrics.ts";
import { createReadTableMetrics, toTableNamedLabels, type MetricRow } from "./table-lookup.ts";

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
  /** Up to the range's end or the collection's watermark, whichever is earlier; null: nothing is on record about the collection. */
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
  /** Up to the range's end or the collection's watermark, whichever is earlier; null: nothing is on record about the collection. */
  completeness: Completeness | null;
  series: number;
  /**
   * Sorted by name; of more values only the first 100 in order. `series` is how many have the label. `k8s.node.name` is among them where the nodes of the series
   * are known.
   */
  labels: { label: string; series: number; values_total: number; values: string[] }[];
}

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
  /** Sorted by labels. Timestamps are RFC 3339 in UTC, with ms. */
  series: { labels: Record<string, string>; timestamp: string; value: JsonDouble }[];
}

/** What is stored of a cluster. Throws as SeriesQuery does. */
export interface MetricLookup {
  /** The newest sample of each series of a metric in the last 24 hours. Throws `metric_not_found` also when all samples are older. */
  latest: (request: LatestRequest) => Promise<LatestAnswer>;
  metrics: (request: LookupRange & { clusterId: string }) => Promise<MetricsAnswer>;
  labels: (request: LookupRange & { clusterId: string; metric: string }) => Promise<LabelsAnswer>;
}

interface LabelRow {
  label: string;
  series: string;
  values_total: string;
  first_values: string[];
  all_series: string;
}

interface LatestRow {
  labels: Record<string, string>;
  time_ms: string;
  newest_ms: string;
  value: number | string;
  unit: string;
  kind: MetricType;
  total: string;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LATEST_SERIES_MAX = 10_000;
const LATEST_SERIES_DEFAULT = 1000;

export function createMetricLookup(
  deps: { database: Database; clock: Clock },
  settings: { databaseName: string; limits: QueryLimits; staleAfterMs: number },
): MetricLookup {
  const { databaseName, limits } = settings;
  const { clock } = deps;
  const database = limitDatabase(deps.database, limits);
  const readCompleteness = createReadCompleteness({ database, clock }, settings);
  const isInSeriesTable = createIsInSeriesTable(deps, settings);
  const readTableMetrics = createReadTableMetrics({ database, isInSeriesTable }, settings);
  const toRange = (request: LookupRange): { fromMs: number; toMs: number } => {
    const nowMs = clock.now();
    const toMs = request.toMs ?? nowMs;
    const fromMs = request.fromMs ?? toMs - DAY_MS;
    checkRange({ fromMs, toMs }, RANGE_FIELDS, nowMs, limits.rangeMaxMs);
    return { fromMs, toMs };
  };

  return {
    latest: (request) => readLatest({ database, clock }, settings, request),
    metrics: async (request) => {
      const { clusterId, signal } = request;
      checkClusterId(clusterId);
      const range = toRange(request);
      const completeness = await readCompleteness({ clusterId, ...range, signal });
      const scope = { clusterId, ...range };
      const known = await readTableMetrics(scope, METRICS_MAX + 1, signal);
      const rows = known ?? (await readMetrics(database, databaseName, scope, signal));
      if (rows.length > METRICS_MAX) {
        throw refuseSize("metrics", `more than ${METRICS_MAX} metrics`, "Ask for a shorter range.");
      }
      const newestMs = Math.max(...rows.map((row) => Number(row.last_ms)));
      return {
        cluster_id: clusterId,
        start_time: toTimestamp(range.fromMs),
        end_time: toTimestamp(range.toMs),
        as_of: rows.length === 0 ? null : toTimestamp(newestMs),
        completeness,
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
      const range = toRange(request);
      const scope = { clusterId, metric, ...range };
      const completeness = await readCompleteness({ ...scope, signal });
      const known = await isInSeriesTable(range.fromMs, signal);
      const rows = await readLabels(database, databaseName, scope, known, signal);
      return {
        cluster_id: clusterId,
        metric_name: metric,
        start_time: toTimestamp(range.fromMs),
        end_time: toTimestamp(range.toMs),
        completeness,
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

/** The metrics of every sample. Throws `cluster_not_found` when nothing of the cluster is stored. */
async function readMetrics(
  database: LimitedDatabase,
  databaseName: string,
  { clusterId, fromMs, toMs }: { clusterId: string; fromMs: number; toMs: number },
  signal: AbortSignal | undefined,
): Promise<MetricRow[]> {
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
  return rows;
}

/** From the table `series`, if it is `known` to have all of the scope. Throws `cluster_not_found` or `metric_not_found` when no sample of the metric is stored. */
async function readLabels(
  database: LimitedDatabase,
  databaseName: string,
  scope: Scope,
  known: boolean,
  signal: AbortSignal | undefined,
): Promise<LabelRow[]> {
  const read = ({ sql, parameters }: Statement, holds = "1"): Promise<LabelRow[]> =>
    database.query<LabelRow>(
      `SELECT label, count() AS series, uniqExact(text) AS values_total,
         arraySlice(arraySort(groupUniqArray(text)), 1, ${LABEL_VALUES_MAX}) AS first_values, any(all) AS all_series
       FROM (SELECT labels, count() OVER () AS all FROM (${sql}) WHERE ${holds})
       LEFT ARRAY JOIN mapKeys(labels) AS label, mapValues(labels) AS text
       GROUP BY label ORDER BY label`,
      { ...toScopeParameters(scope), ...parameters },
      signal,
    );
  if (known) {
    const { labels, holds } = toTableNamedLabels(databaseName, scope);
    const rows = await read(labels, holds);
    if (rows.length > 0) return rows;
  }
  const rows = await read(toLabelsStatement(databaseName, scope, "both", true));
  if (rows.length === 0) await assertMetric(database, databaseName, { ...scope, signal });
  return rows;
}

async function readLatest(
  { database, clock }: { database: LimitedDatabase; clock: Clock },
  { databaseName, limits }: { databaseName: string; limits: QueryLimits },
  request: LatestRequest,
): Promise<LatestAnswer> {
  const { clusterId, metric, signal } = request;
  const limit = checkLatest(request, limits);
  const rangeMs = Math.min(DAY_MS, limits.rangeMaxMs);
  // Without an end: the clock of a cluster may run ahead.
  const rows = await database.query<LatestRow>(
    `SELECT newest.1 AS labels, newest.2 AS value, newest.3 AS unit, newest.4 AS kind, count() OVER () AS total,
       toUnixTimestamp64Milli(last) AS time_ms, toUnixTimestamp64Milli(max(last) OVER ()) AS newest_ms
     FROM (
       SELECT argMax(tuple(labels, value, unit, kind), time) AS newest, max(time) AS last
       FROM ${databaseName}.samples
       WHERE cluster_id = {cluster:String} AND time > fromUnixTimestamp64Milli({from:Int64}) AND metric_name = {metric:String}
       GROUP BY series_id
     )
     ORDER BY toString(mapSort(labels)) LIMIT ${limit}`,
    { cluster: clusterId, metric, from: String(clock.now() - rangeMs) },
    signal,
  );
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
    })),
  };
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
