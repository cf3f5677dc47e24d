import type { QueryParameters } from "#storage/database.ts";
import { IN_CLUSTER, markedSource, samplesSource, type SampleTable } from "#storage/samples-sql.ts";
import {
  endsAtMarkers,
  inStages,
  isRate,
  LAST_UNLESS_ENDED,
  toReductionSql,
  type Aggregation,
  type Grouping,
  type Rate,
} from "./aggregations.ts";
import type { Grid } from "#query/grid.ts";
import { toHourLabelsSql, toHourPointsSql, type HourSource } from "./hours-sql.ts";
import type { Conditions } from "./matchers.ts";

/** The tables with a metric's samples: one, or both after its type changed. */
type SampleSource = "gauge" | "sum" | "both";

/** The source of a metric's points. */
export type Source = SampleSource | HourSource;

export interface Scope {
  clusterId: string;
  metric: string;
  /** Samples of (fromMs, toMs]. */
  fromMs: number;
  toMs: number;
}

/** A statement for LimitedDatabase. */
export interface Statement {
  sql: string;
  parameters: QueryParameters;
}

const TABLES: Record<SampleSource, readonly SampleTable[]> = {
  gauge: ["gauge"],
  sum: ["sum"],
  both: ["gauge", "sum"],
};

const OF_METRIC = `metric_name = {metric:String}
  AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})`;
const IN_SCOPE = `cluster_id = {cluster:String} AND ${OF_METRIC}`;

export function toScopeParameters(scope: Scope): QueryParameters {
  return {
    cluster: scope.clusterId,
    metric: scope.metric,
    from: String(scope.fromMs),
    to: String(scope.toMs),
  };
}

/** One row that describes the metric's samples in the scope; `newest_kind` is empty when there are none. */
export function toDescribeStatement(databaseName: string, scope: Scope): Statement {
  return {
    sql: `SELECT uniqExact(series_id) AS series, argMax(kind, time) AS newest_kind, argMax(unit, time) AS newest_unit,
        toUnixTimestamp64Milli(max(time)) AS newest_ms, countIf(kind = 'gauge') > 0 AS in_gauge, countIf(kind != 'gauge') > 0 AS in_sum
      FROM (${samplesSource(databaseName, TABLES.both, "series_id, kind, unit, time", IN_SCOPE)})`,
    parameters: toScopeParameters(scope),
  };
}

/** A subquery of (series_id, labels, newest), one row a series, with the parameters of the scope. */
export function toLabelsStatement(databaseName: string, scope: Scope, source: Source): Statement {
  return { sql: toLabelsSql(databaseName, source), parameters: toScopeParameters(scope) };
}

/**
 * (series_id, labels, newest), one row a series. Labels are only read of the hour of each series' newest sample, which the primary key finds: they are the widest
 * column, and the same in all rows of a series but for the k8s.node.name of rows that an older version sent.
 */
function toLabelsSql(databaseName: string, source: Source): string {
  if (typeof source === "object") return toHourLabelsSql(databaseName, source);
  const samples = (columns: string, where: string): string =>
    samplesSource(databaseName, TABLES[source], columns, where);
  const newest = `SELECT toStartOfHour(max(time)), series_id FROM (${samples("series_id, time", IN_SCOPE)}) GROUP BY series_id`;
  const inNewest = `${IN_SCOPE} AND (toStartOfHour(time), series_id) IN (${newest})`;
  return `SELECT series_id, argMax(series_labels, time) AS labels, max(time) AS newest
    FROM (${samples("series_id, labels AS series_labels, time", inNewest)}) GROUP BY series_id`;
}

/** One row: the names of all labels of series. */
export function toLabelNamesStatement({ sql, parameters }: Statement): Statement {
  return { sql: `SELECT groupUniqArrayArray(mapKeys(labels)) AS names FROM (${sql})`, parameters };
}

export interface SeriesRow {
  /** The group's labels; those that are empty are left out. */
  labels: Record<string, string>;
  /** From 0, ascending: the grid's points that have a value. */
  indexes: number[];
  values: (number | string)[];
  /** How many groups there are, before the limit. */
  total: string;
}

/** What the points of a metric are made of. */
export interface PointsPlan {
  scope: Scope;
  grid: Grid;
  aggregation: Aggregation;
  conditions: Conditions;
  filtered: boolean;
  grouping: Grouping;
  /** Groups, the first in the order of their labels. */
  limit: number;
}

interface SeriesPlan extends PointsPlan {
  source: Source;
  /** (series_id, labels), one row a series. */
  labels: Statement;
}

/** Rows of SeriesRow, sorted by labels. */
export function toSeriesStatement(databaseName: string, plan: SeriesPlan): Statement {
  const { aggregation, conditions, grouping, labels } = plan;
  const whole = grouping !== "each" && grouping.length === 0;
  const group = toGroupSql(grouping);
  const members = `SELECT series_id, ${group.sql} AS g FROM (${labels.sql}) WHERE ${conditions.sql}`;
  const condition = plan.filtered ? `AND series_id IN (SELECT series_id FROM (${members}))` : "";
  const perSeries = toPointsSql(databaseName, plan, condition);
  const across = toReductionSql(aggregation.across, "v");
  return {
    sql: whole
      ? `SELECT map() AS labels, points.1 AS indexes, points.2 AS values, 1 AS total
        FROM (SELECT arraySort(groupArray((k, v))) AS points FROM (${inStages("k", across, perSeries)}))
        WHERE notEmpty(points)`
      : `SELECT mapFromArrays(g.1, g.2) AS labels, points.1 AS indexes, points.2 AS values, total
        FROM (
          SELECT g, arraySort(groupArray((k, v))) AS points, count() OVER () AS total
          FROM (${inStages(
            "g, k",
            across,
            `SELECT g, k, v FROM (${perSeries}) AS points INNER JOIN (${members}) AS members ON points.series_id = members.series_id`,
          )})
          GROUP BY g
        )
        ORDER BY arrayZip(g.1, g.2) LIMIT ${plan.limit}`,
    parameters: {
      ...labels.parameters,
      ...conditions.parameters,
      ...group.parameters,
      ...toGridParameters(plan.grid),
    },
  };
}

export function toGridParameters(grid: Grid): QueryParameters {
  return {
    first: String(grid.firstMs),
    last: String(grid.lastMs),
    step: String(grid.stepMs),
    window: String(grid.windowMs),
    points: grid.points,
  };
}

/** (series_id, k, v): each series' values at the points k. */
function toPointsSql(
  databaseName: string,
  { source, grid, aggregation }: SeriesPlan,
  condition: string,
): string {
  const { perSeries } = aggregation;
  const withMarkers = endsAtMarkers(aggregation, grid.windowMs / 1000);
  return typeof source === "object"
    ? toHourPointsSql(databaseName, source, perSeries, condition)
    : toPerSeriesSql(perSeries, toSamples(databaseName, source, condition, withMarkers), grid);
}

/** The group as (names, values) over a column `labels`. */
export function toGroupSql(grouping: Grouping): { sql: string; parameters: QueryParameters } {
  if (grouping === "each") {
    return {
      sql: "tuple(mapKeys(mapSort(labels)) AS names, arrayMap(name -> labels[name], names))",
      parameters: {},
    };
  }
  const parameters = Object.fromEntries(grouping.map((label, i) => [`group_${i}`, label]));
  const names = grouping.map((_label, i) => `{group_${i}:String}`);
  const values = names.map((name) => `toString(labels[${name}])`);
  const none = "CAST([], 'Array(String)')";
  if (names.length === 0) return { sql: `tuple(${none}, ${none})`, parameters };
  return { sql: `tuple([${names.join(", ")}], [${values.join(", ")}])`, parameters };
}

/** Every sample once: a FROM with its conditions that has `series_id`, and what time and value are there. `isMarker`: which rows are stale markers, if they are read. */
export interface Samples {
  from: string;
  time: string;
  value: string;
  isMarker?: string;
}

function toSamples(
  databaseName: string,
  source: SampleSource,
  condition: string,
  withMarkers: boolean,
): Samples {
  const marker = withMarkers ? ", is_marker" : "";
  const columns = `series_id, time ${marker}, ${source === "both" ? "value AS sample, kind" : "value"}`;
  const where = `${withMarkers ? IN_CLUSTER : "cluster_id = {cluster:String}"} AND ${OF_METRIC} ${condition}`;
  const samples = withMarkers
    ? markedSource(databaseName, columns, where, "merged", TABLES[source])
    : samplesSource(databaseName, TABLES[source], columns, where);
  // Only each table by itself is without copies: a window that was sent again after the change may be in both.
  const once = `SELECT series_id, time ${marker}, argMax(sample, kind != 'gauge') AS value FROM (${samples}) GROUP BY series_id, time ${marker}`;
  const from = `(${source === "both" ? once : samples})`;
  return { from, time: "time", value: "value", ...(withMarkers && { isMarker: "is_marker" }) };
}

/**
 * (series_id, k, v): each series' value at the points k that it has one at, and the `carried` aggregates of its samples there. With markers, `perSeries` is `last`,
 * a series has no value where its marker is newer, and `carried` are window functions.
 */
export function toPerSeriesSql(
  perSeries: Aggregation["perSeries"],
  { from, time, value, isMarker }: Samples,
  grid: Grid,
  carried: Readonly<Record<string, string>> = {},
): string {
  const offset = `toUnixTimestamp64Milli(${time}) - {first:Int64}`;
  const first = `intDiv(${offset} + {step:Int64} - 1, {step:Int64})`;
  const columns = `${time} AS time, ${value} AS value, ${offset} AS offset ${isMarker === undefined ? "" : `, ${isMarker} AS is_marker`}`;
  // The sample at t is in the windows of the points p with t <= p < t + window; integers, so p <= t + window - 1.
  const windowed =
    grid.windowMs === grid.stepMs
      ? `SELECT series_id, toUInt32(${first}) AS k, ${columns} FROM ${from}`
      : `SELECT series_id, arrayJoin(range(
          toUInt32(greatest(0, ${first})),
          toUInt32(least({points:Int64}, intDiv(${offset} + {window:Int64} - 1, {step:Int64}) + 1))
        )) AS k, ${columns} FROM ${from}`;
  if (isMarker !== undefined) {
    const { lists, isThere } = LAST_UNLESS_ENDED;
    // What is carried is of all points, also of those that are left out. Without a window function ClickHouse's manual allows no QUALIFY.
    const clause = Object.keys(carried).length > 0 ? "QUALIFY" : "HAVING";
    return inStages("series_id, k", lists, windowed, { only: `${clause} ${isThere}`, carried });
  }
  return isRate(perSeries)
    ? inStages("series_id, k", toRateSql(perSeries), windowed, { only: "HAVING n > 1", carried })
    : inStages("series_id, k", toReductionSql(perSeries), windowed, { carried });
}

/**
 * `v`, the rate or increase over the point's window of a column `value` at `offset` (ms since the first point), in the steps of promql/functions.go,
 * extrapolatedRate, as the select lists of `inStages`. timeSeriesRateToGrid would be faster but keeps one running sum of all resets: one at 1e17, or at
 * infinity, spoils every later point of the series.
 */
function toRateSql(rate: Rate): readonly string[] {
  const point = "k * {step:Int64}";
  const perSecond = rate.of === "rate" ? "/ ({window:Int64} / 1000)" : "";
  return [
    `count() AS n, min(offset) AS t1, max(offset) AS tn, argMin(value, offset) AS x1, argMax(value, offset) AS xn,
      arraySort(groupArray((offset, value))).2 AS xs`,
    `x1, (tn - t1) / 1000 AS sampled, (tn - t1) / 1000 / (n - 1) AS between,
      (t1 - (${point} - {window:Int64})) / 1000 AS to_start, (${point} - tn) / 1000 AS to_end,
      arraySum(arrayPushFront(arrayMap((before, x) -> if(x < before, before, 0.), arrayPopBack(xs), arrayPopFront(xs)), xn - x1)) AS risen`,
    `risen, sampled, if(to_start >= between * 1.1, between / 2, to_start) AS before_first,
      if(to_end >= between * 1.1, between / 2, to_end) AS after_last,
      if(risen > 0 AND x1 >= 0, sampled * (x1 / risen), inf) AS to_zero`,
    `risen * ((sampled + if(to_zero < before_first, to_zero, before_first) + after_last) / sampled ${perSecond}) AS v`,
  ];
}
