import type { QueryParameters } from "#storage/database.ts";
import { samplesSource, type SampleTable } from "#storage/samples-sql.ts";
import {
  inStages,
  isRate,
  toReductionSql,
  type Aggregation,
  type Grouping,
  type Rate,
} from "./aggregations.ts";
import type { Grid } from "#query/grid.ts";
import { toHourLabelsSql, toHourPointsSql, type HourSource } from "./hours-sql.ts";
import type { Conditions } from "./matchers.ts";
import { toNodeNamedSql } from "#query/node-addresses.ts";
import { toTableLabelsSql } from "./series-table.ts";

/** The tables with a metric's samples: one, or both after its type changed. */
type SampleSource = "gauge" | "sum" | "both";

/**
 * One table of samples whose series are in the table `series`. `rates` by the engine's grid function, or exactly: the function is wrong after resets and infinite values.
 */
export interface TableSource {
  table: SampleTable;
  rates: "grid" | "exact";
}

/** The source of a metric's points. */
export type Source = SampleSource | HourSource | TableSource;

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

const IN_SCOPE = `cluster_id = {cluster:String} AND metric_name = {metric:String}
  AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})`;

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

/**
 * A subquery of (series_id, labels), one row a series; `withNodes`: with the name of the series' node (`toNodeNamedSql`). The parameters are those of the scope
 * and the statement's own.
 */
export function toLabelsStatement(
  databaseName: string,
  scope: Scope,
  source: Source,
  withNodes: boolean,
): Statement {
  const sql = toLabelsSql(databaseName, source);
  const parameters = toScopeParameters(scope);
  if (!withNodes) return { sql, parameters };
  const named = toNodeNamedSql(databaseName, sql, scope);
  return { sql: named.sql, parameters: { ...parameters, ...named.parameters } };
}

/**
 * (series_id, labels, newest), one row a series. Labels are only read of the hour of each series' newest sample, which the primary key finds: they are the widest
 * column, and the same in all rows of a series but for the k8s.node.name of rows that an older version sent.
 */
function toLabelsSql(databaseName: string, source: Source): string {
  if (typeof source === "object") {
    return "hours" in source ? toHourLabelsSql(databaseName, source) : toTableLabelsSql(databaseName);
  }
  const samples = (columns: string, where: string): string =>
    samplesSource(databaseName, TABLES[source], columns, where);
  const newest = `SELECT toStartOfHour(max(time)), series_id FROM (${samples("series_id, time", IN_SCOPE)}) GROUP BY series_id`;
  const inNewest = `${IN_SCOPE} AND (toStartOfHour(time), series_id) IN (${newest})`;
  return `SELECT series_id, argMax(series_labels, time) AS labels, max(time) AS newest
    FROM (${samples("series_id, labels AS series_labels, time", inNewest)}) GROUP BY series_id`;
}

/** One row: the names of all labels that series of the metric have in the scope, `k8s.node.name` among them where a series' node is known. */
export function toLabelNamesStatement(databaseName: string, scope: Scope, source: Source): Statement {
  const labels = toLabelsStatement(databaseName, scope, source, true);
  return {
    sql: `SELECT groupUniqArrayArray(mapKeys(labels)) AS names FROM (${labels.sql})`,
    parameters: labels.parameters,
  };
}

export interface SeriesRow {
  /** The group's labels; those that are empty are left out. */
  labels: Record<string, string>;
  /** From 0, ascending: the grid's points that have a value. */
  indexes: number[];
  values: (number | string)[];
  /** How many groups there are, before the limit. */
  total: string;
  /** Of a TableSource. */
  newest_ms?: string;
  /** 1: the other table has samples of the scope too. */
  elsewhere?: string;
  /** 1: a series is not in the table `series`. */
  unknown?: string;
  /** 0: a rate needs the exact computation. */
  safe?: number;
}

interface SeriesPlan {
  scope: Scope;
  source: Source;
  grid: Grid;
  aggregation: Aggregation;
  conditions: Conditions;
  filtered: boolean;
  grouping: Grouping;
  /** Is a label of the filters or the grouping the name of the node? */
  withNodes: boolean;
  /** Groups, the first in the order of their labels. */
  limit: number;
}

/** Rows of SeriesRow, sorted by labels. */
export function toSeriesStatement(databaseName: string, plan: SeriesPlan): Statement {
  const { scope, grid, aggregation, conditions, grouping } = plan;
  const whole = grouping !== "each" && grouping.length === 0;
  const group = toGroupSql(grouping);
  const labels = toLabelsStatement(databaseName, scope, plan.source, plan.withNodes);
  const members = `SELECT series_id, ${group.sql} AS g FROM (${labels.sql}) WHERE ${conditions.sql}`;
  const condition = plan.filtered ? `AND series_id IN (SELECT series_id FROM (${members}))` : "";
  const perSeries = toPointsSql(databaseName, plan, condition);
  const across = toReductionSql(aggregation.across);
  // The same in all rows.
  const safe = usesGridRates(plan) ? { key: "safe, ", sql: "min(safe)" } : { key: "", sql: "1" };
  const checks = toChecksSql(databaseName, plan.source, plan.filtered || !whole ? labels.sql : undefined);
  return {
    sql: whole
      ? `SELECT map() AS labels, points.1 AS indexes, points.2 AS values, 1 AS total, is_safe AS safe ${checks}
        FROM (SELECT arraySort(groupArray((k, v))) AS points, ${safe.sql} AS is_safe FROM (${inStages(`${safe.key}k`, across, perSeries)}))
        WHERE notEmpty(points)`
      : `SELECT mapFromArrays(g.1, g.2) AS labels, points.1 AS indexes, points.2 AS values, total, is_safe AS safe ${checks}
        FROM (
          SELECT g, arraySort(groupArray((k, v))) AS points, count() OVER () AS total, ${safe.sql} AS is_safe
          FROM (${inStages(
            `${safe.key}g, k`,
            across,
            `SELECT ${safe.key}g, k, value FROM (${perSeries}) AS points INNER JOIN (${members}) AS members ON points.series_id = members.series_id`,
          )})
          GROUP BY g
        )
        ORDER BY arrayZip(g.1, g.2) LIMIT ${plan.limit}`,
    parameters: {
      ...labels.parameters,
      ...conditions.parameters,
      ...group.parameters,
      first: String(grid.firstMs),
      last: String(grid.lastMs),
      step: String(grid.stepMs),
      window: String(grid.windowMs),
      step_s: grid.stepMs / 1000,
      window_s: grid.windowMs / 1000,
      scope_s: (scope.toMs - scope.fromMs) / 1000,
      newest_from: String(Math.max(scope.fromMs, scope.toMs - NEWEST_MS)),
      points: grid.points,
    },
  };
}

/** Where the newest sample is looked for first. */
const NEWEST_MS = 3_600_000;

/** What a TableSource takes for granted, as columns of the answer: it is looked at in the same statement. `labels`: the table's, if they matter. */
function toChecksSql(databaseName: string, source: Source, labels: string | undefined): string {
  if (typeof source !== "object" || "hours" in source) return "";
  const samples = (table: SampleTable, where: string): string =>
    `${databaseName}.otel_metrics_${table} WHERE cluster_id = {cluster:String} AND MetricName = {metric:String}
      AND TimeUnix > fromUnixTimestamp64Milli({${where}:Int64}) AND TimeUnix <= fromUnixTimestamp64Milli({to:Int64})`;
  const other = source.table === "gauge" ? "sum" : "gauge";
  const unknown =
    labels === undefined
      ? "0"
      : `(SELECT count() FROM (SELECT 1 FROM ${samples(source.table, "from")} AND series_id NOT IN (SELECT series_id FROM (${labels})) LIMIT 1))`;
  return `, toUnixTimestamp64Milli((SELECT max(TimeUnix) FROM ${samples(source.table, "newest_from")})) AS newest_ms,
    (SELECT count() FROM (SELECT 1 FROM ${samples(other, "from")} LIMIT 1)) AS elsewhere, ${unknown} AS unknown`;
}

/** (series_id, k, value): each series' values at the points k. With `usesGridRates` also `safe`, the same in all rows. */
function toPointsSql(databaseName: string, plan: SeriesPlan, condition: string): string {
  const { source, grid } = plan;
  const { perSeries } = plan.aggregation;
  if (typeof source === "object" && "hours" in source) {
    return toHourPointsSql(databaseName, source, perSeries, condition);
  }
  if (typeof source === "string") {
    return toPerSeriesSql(perSeries, toSamplesSql(databaseName, source, condition), grid);
  }
  return isRate(perSeries) && source.rates === "grid"
    ? toGridRatesSql(databaseName, source.table, perSeries, condition)
    : toPerSeriesSql(perSeries, toSamplesSql(databaseName, source.table, condition), grid);
}

function usesGridRates({ source, aggregation }: SeriesPlan): boolean {
  const byGrid = typeof source === "object" && "table" in source && source.rates === "grid";
  return byGrid && isRate(aggregation.perSeries);
}

/** Rates by timeSeriesRateToGrid, which needs no FINAL. `safe` is 0 when a series has a reset or an infinite value. */
function toGridRatesSql(databaseName: string, table: SampleTable, rate: Rate, condition: string): string {
  const samples = samplesSource(
    databaseName,
    [table],
    "series_id, time, value",
    `${IN_SCOPE} ${condition}`,
    "kept",
  );
  const end = "fromUnixTimestamp64Milli({last:Int64})";
  const perWindow = rate.of === "increase" ? "* {window_s:UInt32}" : "";
  const rates = `SELECT series_id, timeSeriesRateToGrid(fromUnixTimestamp64Milli({first:Int64}), ${end}, {step_s:UInt32}, {window_s:UInt32})(time, value) AS rates,
      timeSeriesResetsToGrid(${end}, ${end}, 1, {scope_s:UInt32})(time, value)[1] AS resets, countIf(NOT isFinite(value)) AS infinite
    FROM (${samples}) GROUP BY series_id`;
  return `SELECT series_id, toUInt32(place - 1) AS k, assumeNotNull(rate) ${perWindow} AS value, safe
    FROM (SELECT series_id, rates, min(ifNull(resets, 0) = 0 AND infinite = 0) OVER () AS safe FROM (${rates}))
    ARRAY JOIN rates AS rate, arrayEnumerate(rates) AS place WHERE isNotNull(rate)`;
}

/** The group as (names, values) over a column `labels`. */
function toGroupSql(grouping: Grouping): { sql: string; parameters: QueryParameters } {
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

/** Every sample of the scope once, as (series_id, time, value). */
function toSamplesSql(databaseName: string, source: SampleSource, condition: string): string {
  const columns = source === "both" ? "series_id, time, value AS sample, kind" : "series_id, time, value";
  const samples = samplesSource(databaseName, TABLES[source], columns, `${IN_SCOPE} ${condition}`);
  if (source !== "both") return samples;
  // Only each table by itself is without copies: a window that was sent again after the change may be in both.
  return `SELECT series_id, time, argMax(sample, kind != 'gauge') AS value FROM (${samples}) GROUP BY series_id, time`;
}

/** (series_id, k, value): each series' value at the points k that it has one at. */
function toPerSeriesSql(perSeries: Aggregation["perSeries"], samples: string, grid: Grid): string {
  const offsets = `SELECT series_id, time, value, toUnixTimestamp64Milli(time) - {first:Int64} AS offset FROM (${samples})`;
  const first = "intDiv(offset + {step:Int64} - 1, {step:Int64})";
  // The sample at t is in the windows of the points p with t <= p < t + window; integers, so p <= t + window - 1.
  const windowed =
    grid.windowMs === grid.stepMs
      ? `SELECT series_id, toUInt32(${first}) AS k, time, value, offset FROM (${offsets})`
      : `SELECT series_id, k, time, value, offset FROM (${offsets})
        ARRAY JOIN range(
          toUInt32(greatest(0, ${first})),
          toUInt32(least({points:Int64}, intDiv(offset + {window:Int64} - 1, {step:Int64}) + 1))
        ) AS k`;
  const reduced = isRate(perSeries)
    ? inStages("series_id, k", toRateSql(perSeries), windowed, "n > 1")
    : inStages("series_id, k", toReductionSql(perSeries), windowed);
  return `SELECT series_id, k, v AS value FROM (${reduced})`;
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
