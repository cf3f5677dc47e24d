import type { SampleTable } from "./samples-sql.ts";
import { addMissingSeries } from "./series-sql.ts";

/** Which hours: gauges (with sums that may fall) or counters. */
export type RollupKind = "gauge" | "counter";

/** The end of the hour that a sample is in; an hour holds its end but not its start, as PromQL's ranges do. */
const HOUR_END = "toStartOfHour(time - INTERVAL 1 NANOSECOND) + INTERVAL 1 HOUR";
const ONE_CLUSTER = "cluster_id = {cluster:String}";
const SAMPLE_IN_RANGE = `time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})`;
const IN_RANGE = `${ONE_CLUSTER} AND ${SAMPLE_IN_RANGE}`;
const HOUR_IN_RANGE = `hour_end > toDateTime(intDiv({from:Int64}, 1000), 'UTC') AND hour_end <= toDateTime(intDiv({to:Int64}, 1000), 'UTC')`;
/** Over the aggregated rows of the table rollup_marks. */
export const IS_DIRTY = "max(marked_at) > max(rolled_at)";
/** Marked long enough ago that the samples behind the mark are visible. */
export const IS_SETTLED = "max(marked_at) <= fromUnixTimestamp64Milli({until:Int64})";

const COLUMNS: Record<RollupKind, readonly string[]> = {
  gauge: ["sum", "min", "max", "first_value", "last_value", "first_time", "last_time"],
  counter: ["first_value", "last_value", "first_time", "last_time", "resets", "reset_sum"],
};

/** The columns that `hourlySource` gives. */
function hourlyColumns(kind: RollupKind): string {
  return [
    "cluster_id",
    "metric_name",
    "series_id",
    "hour_end",
    "labels",
    "unit",
    "count",
    ...COLUMNS[kind],
  ].join(", ");
}

/** Hours of series computed from the samples that `where` lets through, in the columns of `hourlyColumns`. */
function hoursOfSamples(databaseName: string, kind: RollupKind, where: string): string {
  return kind === "gauge"
    ? hoursOfGauges(`${databaseName}.samples`, `kind != 'counter' AND ${where}`)
    : hoursOfCounters(`${databaseName}.samples_sum`, `kind = 'counter' AND ${where}`);
}

function hoursOfGauges(source: string, where: string): string {
  return `SELECT cluster_id, metric_name, series_id, ${HOUR_END} AS hour_end,
    argMax(labels, time) AS labels, argMax(unit, time) AS unit, toUInt32(count()) AS count, sum(value) AS sum,
    if(countIf(NOT isNaN(value)) = 0, nan, minIf(value, NOT isNaN(value))) AS min,
    if(countIf(NOT isNaN(value)) = 0, nan, maxIf(value, NOT isNaN(value))) AS max,
    argMin(value, time) AS first_value, argMax(value, time) AS last_value, min(time) AS first_time, max(time) AS last_time
  FROM ${source} WHERE ${where}
  GROUP BY cluster_id, metric_name, series_id, hour_end`;
}

function hoursOfCounters(source: string, where: string): string {
  return `SELECT cluster_id, metric_name, series_id, hour_end, labels, unit, toUInt32(length(points)) AS count,
    points[1].2 AS first_value, points[-1].2 AS last_value, points[1].1 AS first_time, points[-1].1 AS last_time,
    toUInt32(length(before_resets)) AS resets, arraySum(before_resets) AS reset_sum
  FROM (
    SELECT cluster_id, metric_name, series_id, ${HOUR_END} AS hour_end,
      argMax(labels, time) AS labels, argMax(unit, time) AS unit,
      arraySort(point -> point.1, groupArray((time, value))) AS points,
      arrayMap(point -> point.2, points) AS readings,
      arrayFilter((before, after) -> after < before, arrayPopBack(readings), arrayPopFront(readings)) AS before_resets
    FROM ${source} WHERE ${where}
    GROUP BY cluster_id, metric_name, series_id, hour_end
  )`;
}

/** Of the samples in range: one slice of those in dirty, settled hours. */
const dirtySamples = (databaseName: string): string =>
  `series_id % {slices:UInt32} = {slice:UInt32}
    AND (metric_name, ${HOUR_END}) IN (${dirtyHours(databaseName)})`;

/**
 * INSERT of the dirty, settled hours of a cluster into the roll-up's table. Parameters: cluster; from, to (ms, whole hours); until (ms): a mark is settled that is not
 * younger, and the rows' version; slices, slice: a part of the series.
 */
export function rollHours(databaseName: string, kind: RollupKind): string {
  const columns = hourlyColumns(kind);
  return `INSERT INTO ${databaseName}.rollup_${kind} (${columns}, rolled_at)
  SELECT ${columns}, fromUnixTimestamp64Milli({until:Int64}) AS rolled_at
  FROM (${hoursOfSamples(databaseName, kind, `${IN_RANGE} AND ${dirtySamples(databaseName)}`)})`;
}

/** INSERT of the rows that `series` lacks for the samples that `rollHours` with the same parameters reads. */
export function repairHours(databaseName: string, table: SampleTable): string {
  return addMissingSeries(databaseName, table, IN_RANGE, dirtySamples(databaseName));
}

/** Declares the hours rolled that `rollHours` with the same parameters has rolled. */
export function markRolled(databaseName: string): string {
  return `INSERT INTO ${databaseName}.rollup_marks (cluster_id, metric_name, hour_end, rolled_at)
  SELECT {cluster:String}, metric_name, hour_end, newest
  FROM (${dirtyHours(databaseName, ", max(marked_at) AS newest")})`;
}

function dirtyHours(databaseName: string, more = ""): string {
  return `SELECT metric_name, hour_end${more} FROM ${databaseName}.rollup_marks WHERE ${ONE_CLUSTER} AND ${HOUR_IN_RANGE}
    GROUP BY metric_name, hour_end HAVING ${IS_DIRTY} AND ${IS_SETTLED}`;
}

/** The hours of one metric (parameter `metric`), or of several (`metrics`, Array(String)). */
const ONE_METRIC = "metric_name = {metric:String}";
export const SOME_METRICS = "metric_name IN {metrics:Array(String)}";

/** Conditions on metric_name and cluster_id; left out: parameters `metric` and `cluster`. */
export interface HourScope {
  metrics?: string;
  clusters?: string;
}

/**
 * A SELECT of the metrics' hours with hour_end in (from, to], right at any time: rolled-up hours from the roll-up, the others (open, or with samples that came
 * later) computed from the samples. Columns: `hourlyColumns`. Parameters: those of the scope, `from`, `to` (Int64; ms, whole hours).
 */
export function hourlySource(databaseName: string, kind: RollupKind, scope: HourScope = {}): string {
  const ofScope = toCondition(scope);
  const dirty = dirtyOfScope(databaseName, scope);
  // toStartOfHour(time) is in the tables' primary key, the end of the hour is not: a sample of an hour lies in the key's hour before, or is its end.
  const indexed = `toStartOfHour(time) IN (SELECT arrayJoin([hour_end - INTERVAL 1 HOUR, hour_end]) FROM (${dirty}))`;
  const where = `${ofScope} AND ${SAMPLE_IN_RANGE} AND ${indexed} AND (cluster_id, metric_name, ${HOUR_END}) IN (${dirty})`;
  return `${rolledSource(databaseName, kind, scope)} AND (cluster_id, metric_name, hour_end) NOT IN (${dirty})
  UNION ALL
  SELECT ${hourlyColumns(kind)} FROM (${hoursOfSamples(databaseName, kind, where)})`;
}

/** The hours that are rolled up: all of them, where `anyDirtySql` found none before. Planning it takes a sixth of what `hourlySource` takes. */
export function rolledSource(databaseName: string, kind: RollupKind, scope: HourScope = {}): string {
  return `SELECT ${hourlyColumns(kind)} FROM ${databaseName}.rollup_${kind} FINAL WHERE ${toCondition(scope)} AND ${HOUR_IN_RANGE}`;
}

/** A row, if an hour of the scope is not rolled up, or not with all of its samples. */
export function anyDirtySql(databaseName: string, scope: HourScope): string {
  return `${dirtyOfScope(databaseName, scope)} LIMIT 1`;
}

function toCondition({ metrics = ONE_METRIC, clusters = ONE_CLUSTER }: HourScope): string {
  return `${clusters} AND ${metrics}`;
}

function dirtyOfScope(databaseName: string, scope: HourScope): string {
  return `SELECT cluster_id, metric_name, hour_end FROM ${databaseName}.rollup_marks WHERE ${toCondition(scope)} AND ${HOUR_IN_RANGE}
    GROUP BY cluster_id, metric_name, hour_end HAVING ${IS_DIRTY}`;
}

/** The end (ms) of the window of `step` that an hour is in. */
const WINDOW_END =
  "intDiv(toInt64(toUnixTimestamp(hour_end)) * 1000 + {step:Int64} - 1, {step:Int64}) * {step:Int64}";

/**
 * A SELECT of what PromQL's functions give for a metric over windows (time_ms - step, time_ms] of whole hours, one row a series and window that has
 * samples. Parameters: those of `hourlySource`, from and to multiples of step, and `step` (Int64; ms, whole hours).
 *
 * - gauge: series_id, labels, unit, time_ms, count, avg, min, max, last: count_, avg_, min_, max_, last_over_time.
 * - counter: series_id, labels, unit, time_ms, count, last, rate: last_over_time and rate. A window with one sample has no rate in PromQL; here it is NULL.
 *
 * Equal to the samples' own result but for rounding (another order of the same additions).
 */
export function windowSource(databaseName: string, kind: RollupKind): string {
  const hours = hourlySource(databaseName, kind);
  return kind === "gauge" ? gaugeWindows(hours) : counterWindows(hours);
}

function gaugeWindows(hours: string): string {
  return `SELECT series_id, argMax(labels, hour_end) AS labels, argMax(unit, hour_end) AS unit, ${WINDOW_END} AS time_ms,
    sum(hours.count) AS count, sum(hours.sum) / count AS avg,
    if(countIf(NOT isNaN(hours.min)) = 0, nan, minIf(hours.min, NOT isNaN(hours.min))) AS min,
    if(countIf(NOT isNaN(hours.max)) = 0, nan, maxIf(hours.max, NOT isNaN(hours.max))) AS max,
    argMax(last_value, hour_end) AS last
  FROM (${hours}) AS hours GROUP BY series_id, time_ms`;
}

/** The arithmetic of extrapolatedRate in Prometheus 3 (promql/functions.go), from first and last sample, their number and the resets. */
function counterWindows(hours: string): string {
  return `WITH
    arraySort(hour -> hour.1, groupArray((hour_end, first_time, last_time, first_value, last_value))) AS sorted,
    arrayMap(hour -> hour.5, arrayPopBack(sorted)) AS lasts,
    arrayMap(hour -> hour.4, arrayPopFront(sorted)) AS firsts,
    arraySum((last, first) -> if(first < last, last, 0), lasts, firsts) AS resets_between,
    sorted[-1].5 - sorted[1].4 + sum(reset_sum) + resets_between AS grown,
    toUnixTimestamp64Nano(sorted[1].2) AS first_ns,
    toUnixTimestamp64Nano(sorted[-1].3) AS last_ns,
    (last_ns - first_ns) / 1e9 AS sampled,
    sampled / (count - 1) AS average,
    (first_ns - (time_ms - {step:Int64}) * 1000000) / 1e9 AS gap_before,
    (time_ms * 1000000 - last_ns) / 1e9 AS gap_after,
    if(gap_before >= average * 1.1, average / 2, gap_before) AS before,
    if(gap_after >= average * 1.1, average / 2, gap_after) AS after,
    if(grown > 0 AND sorted[1].4 >= 0, least(before, sampled * (sorted[1].4 / grown)), before) AS before_above_zero
  SELECT series_id, argMax(labels, hour_end) AS labels, argMax(unit, hour_end) AS unit, ${WINDOW_END} AS time_ms,
    sum(hours.count) AS count, sorted[-1].5 AS last,
    if(count < 2, NULL, grown * ((sampled + before_above_zero + after) / sampled) / ({step:Int64} / 1000)) AS rate
  FROM (${hours}) AS hours GROUP BY series_id, time_ms`;
}
