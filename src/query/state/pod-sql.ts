import { measuredNumberSql } from "#query/blank-number.ts";
import { IN_CLUSTER, markedSource } from "#storage/samples-sql.ts";
import { ownLabel } from "./identity.ts";
import { INFO, RATES, RESTARTS, type PodSeries } from "./pod-series.ts";
import { STATE_ROWS_MAX } from "./sql.ts";

/** Bits of an UInt64: the stretches of a window. */
const STRETCHES_MAX = 60;

const END = "fromUnixTimestamp64Milli({as_of:Int64})";

/** A series in the form of `series` of the statements. */
export type SeriesRow = [
  metric: string,
  labels: Record<string, string>,
  firstMs: string,
  newestMs: string,
  samples: string,
  latest: number,
  rate: number | null,
  covered: number,
  changes: [ms: string, value: number][],
  isEnded: 0 | 1,
];

/**
 * Parameters of every statement: the cluster, the metrics that make a Pod known, those of which values are `wanted`, and the window's times in ms. Of the others only the lookback
 * is read.
 */
export function toPodParameters(
  metrics: readonly string[],
  window: { clusterId: string; fromMs: number; asOfMs: number },
  lookbackMs: number,
  wanted = metrics,
) {
  const { clusterId, fromMs, asOfMs } = window;
  const rateSeconds = Math.round(Math.max(lookbackMs, asOfMs - fromMs) / 1000);
  const rateFrom = asOfMs - rateSeconds * 1000;
  const restartsFrom = fromMs - lookbackMs;
  const oldest = Math.min(restartsFrom, rateFrom);
  return {
    cluster: clusterId,
    names: metrics,
    wanted,
    rated: RATES.filter((metric) => wanted.includes(metric)),
    counted: [RESTARTS].filter((metric) => wanted.includes(metric)),
    as_of: asOfMs,
    since: asOfMs - lookbackMs,
    restarts_from: restartsFrom,
    rate_from: rateFrom,
    rate_window: rateSeconds,
    oldest,
    stretch: Math.max(lookbackMs, Math.ceil((asOfMs - oldest) / STRETCHES_MAX)),
  };
}

/**
 * One row for each series, with `pod_key` (namespace and Pod) and `row` (SeriesRow). What the series mean is decided by `toThings`: a statement that decides it costs
 * ten times as much to plan as to run.
 */
function seriesRows(samples: string, rates: boolean): string {
  const ms = (time: string): string => `toUnixTimestamp64Milli(${time})`;
  const rate = rates
    ? `timeSeriesRateToGridIf(${END}, ${END}, 1, {rate_window:UInt32})(time, value, NOT is_marker AND metric_name IN {rated:Array(String)})[1]`
    : "NULL";
  // any() of a map takes twice as long.
  const series = `SELECT metric_name, series_id, groupArray(1)(labels)[1] AS series_labels, ${ms("minIf(time, NOT is_marker)")} AS first_ms, ${ms("maxIf(time, NOT is_marker)")} AS newest_ms,
      ${ms("maxIf(time, is_marker)")} > newest_ms AS is_ended, if(is_ended, 0, newest_ms) AS live_ms,
      countIf(NOT is_marker) AS samples_count, argMaxIf(value, time, NOT is_marker) AS latest, ${rate} AS rate,
      bitCount(groupBitOrIf(bitShiftLeft(toUInt64(1), intDiv({as_of:Int64} - ${ms("time")}, {stretch:Int64})),
        NOT is_marker AND (metric_name IN {rated:Array(String)} OR metric_name IN {counted:Array(String)}))) AS covered,
      arraySort(groupArrayIf((${ms("time")}, value), NOT is_marker AND metric_name IN {counted:Array(String)})) AS restarts
    FROM (${samples})
    WHERE time > fromUnixTimestamp64Milli(multiIf(metric_name IN {counted:Array(String)}, {restarts_from:Int64},
        metric_name IN {rated:Array(String)}, {rate_from:Int64}, {since:Int64}))
    GROUP BY metric_name, series_id HAVING samples_count > 0`;
  const changes =
    "arrayFilter((sample, i) -> i = 1 OR sample.2 != restarts[i - 1].2, restarts, arrayEnumerate(restarts))";
  return `SELECT (${ownLabel("series_labels", "namespace")}, ${ownLabel("series_labels", "pod")}) AS pod_key, series_id, live_ms, metric_name = '${INFO}' AS is_info, ${changes} AS changes,
      (metric_name, series_labels, first_ms, newest_ms, samples_count, latest, rate, covered, changes, is_ended) AS row
    FROM (${series})`;
}

const ROWS_MAX = `LIMIT ${STATE_ROWS_MAX}`;
const IS_NAMED = "pod_key.2 != ''";
/**
 * kube-state-metrics had the Pod, says no more of it, and still speaks of others: then it is gone, although cAdvisor's samples have times of their own and so no stale markers. If
 * kube-state-metrics says nothing at all, it is itself gone, and cAdvisor's Pods are there.
 */
const IS_REMOVED = "has_info AND info_ms = 0 AND newest_info_ms > {since:Int64}";

/** A Pod and its series of the wanted metrics. */
export interface PodRow {
  pod_key: [namespace: string, pod: string];
  series: SeriesRow[];
  /** Of `all`. */
  ids?: string[];
  /** Of `byName`: how many Pods there are. */
  total?: string;
}

export interface PodSql {
  /** Pods in the order of their names after `after_namespace` and `after_pod`, at most `limit`. */
  byName: string;
  /** All Pods, with the ids of all their series. */
  all: string;
  /** The Pods of the series `ids`. */
  some: string;
  /** Pods of which a container has been restarted, or may have been. */
  restarted: string;
}

export function createPodSql(databaseName: string): PodSql {
  const of = (more: string): string =>
    markedSource(
      databaseName,
      "metric_name, series_id, labels, time, value, is_marker",
      `${IN_CLUSTER} AND metric_name IN {names:Array(String)} AND (is_marker OR ${measuredNumberSql("value")})
        AND time > fromUnixTimestamp64Milli({oldest:Int64}) AND time <= ${END} ${more}`,
    );
  const inNamespace = `AND ({namespace:String} = '' OR ${ownLabel("labels", "namespace")} = {namespace:String})`;
  const ofIds = "AND series_id IN (SELECT arrayJoin(arrayMap(id -> toUInt64(id), {ids:Array(String)})))";
  const some = (samples: string, more = ""): string =>
    `SELECT pod_key, groupArrayIf(row, row.1 IN {wanted:Array(String)}) AS series${more}
      FROM (${seriesRows(samples, true)}) WHERE ${IS_NAMED} GROUP BY pod_key HAVING max(live_ms) > {since:Int64}`;
  const pods = (more = ""): string => {
    const infoMs = "max(if(is_info, live_ms, 0)) AS info_ms, max(is_info) AS has_info";
    const all = `SELECT *, max(info_ms) OVER () AS newest_info_ms FROM (${some(of(inNamespace), `${more}, ${infoMs}`)})`;
    return `SELECT * FROM (${all}) WHERE NOT (${IS_REMOVED})`;
  };
  return {
    byName: `SELECT pod_key, series, total FROM (SELECT *, count() OVER () AS total FROM (${pods()}))
      WHERE {after:UInt8} = 0 OR pod_key > ({after_namespace:String}, {after_pod:String}) ORDER BY pod_key LIMIT {limit:UInt32}`,
    all: `SELECT pod_key, series, ids FROM (${pods(", groupArray(series_id) AS ids")}) ${ROWS_MAX}`,
    some: `${some(of(ofIds))} ${ROWS_MAX}`,
    restarted: restartedSql(of("")),
  };
}

/**
 * A container's count may also differ between two sources, of which one followed the other. To tell its series from another container's takes longer than to read a few Pods more.
 */
function restartedSql(samples: string): string {
  return `SELECT pod_key, groupArray(row) AS series FROM (${seriesRows(samples, false)})
    WHERE ${IS_NAMED} GROUP BY pod_key
    HAVING max(live_ms) > {since:Int64} AND (max(length(changes)) > 1 OR uniqExactIf(row.6, row.1 = '${RESTARTS}') > 1) ${ROWS_MAX}`;
}

/** The series of a row. */
export function toPodSeries(rows: readonly SeriesRow[]): PodSeries[] {
  return rows.map(
    ([metric, labels, firstMs, newestMs, samples, latest, rate, covered, changes, isEnded]) => ({
      metric,
      labels,
      firstMs: Number(firstMs),
      newestMs: Number(newestMs),
      samples: Number(samples),
      latest,
      rate,
      covered,
      isEnded: isEnded === 1,
      changes: changes.map(([ms, value]) => [Number(ms), value] as const),
    }),
  );
}
