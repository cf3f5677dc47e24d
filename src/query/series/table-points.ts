import { IN_CLUSTER, IS_MARKER, type SampleTable } from "#storage/samples-sql.ts";
import {
  endsAtMarkers,
  inStages,
  isRate,
  LAST_UNLESS_ENDED,
  toReductionSql,
  type Rate,
} from "./aggregations.ts";
import {
  toGridParameters,
  toGroupSql,
  toPerSeriesSql,
  toScopeParameters,
  type PointsPlan,
  type Samples,
  type SeriesRow,
  type Statement,
} from "./series-sql.ts";
import { toTableLabelsSql } from "./series-table.ts";

// The points of a metric whose samples are in one table and whose series are in the table `series`, in one statement. Half of its time is planning, so it has few
// SELECTs, and what an answer takes for granted is looked at on the way instead of in subqueries.

/** `rates`: by the engine's grid function, or exactly. The function is wrong after resets and infinite values. */
export interface TableSource {
  table: SampleTable;
  rates: "grid" | "exact";
}

/** What the statement finds out beside the points is the same in all rows. */
export interface TableRow extends SeriesRow {
  /** Time of the newest sample; "0": there is none in the last hour. */
  newest_ms: string;
  /** 1: every series that was read is in the table `series`, or no labels were needed. */
  known: number;
  /** 0: a rate needs the exact computation. */
  safe: number;
}

type TablePlan = PointsPlan & { source: TableSource };

/** Where the newest sample is looked for when not all samples of the scope are read. */
const NEWEST_MS = 3_600_000;

/** What may go with the points through all stages, and how it is put together. */
const CARRIED = { newest: "max", safe: "min", known: "min" } as const;
type CarriedName = keyof typeof CARRIED;

/** A SELECT of points. */
interface Points {
  sql: string;
  carried: CarriedName[];
}

/** Rows of TableRow, sorted by labels. */
export function toTableStatement(databaseName: string, plan: TablePlan): Statement {
  const { scope, grid, conditions, grouping } = plan;
  const whole = grouping !== "each" && grouping.length === 0;
  const group = toGroupSql(grouping);
  const points = toNamedPoints(databaseName, plan, group.sql);
  const carried = Object.fromEntries(points.carried.map((name) => [name, `${CARRIED[name]}(${name})`]));
  const across = toReductionSql(plan.aggregation.across, "v");
  const stages = inStages(whole ? "k" : "g, k", across, points.sql, { carried });
  const kept = points.carried.map((name) => {
    const of = CARRIED[name];
    return `, ${whole ? `${of}(${name})` : `${of}(${of}(${name})) OVER ()`} AS ${name}`;
  });
  const or = (name: CarriedName, otherwise: string): string =>
    points.carried.includes(name) ? name : otherwise;
  const newest = or(
    "newest",
    `(SELECT max(TimeUnix) FROM ${toFrom(databaseName, plan.source.table, "newest_from")})`,
  );
  const found = `toUnixTimestamp64Milli(${newest}) AS newest_ms, ${or("safe", "1")} AS safe, ${or("known", "1")} AS known`;
  return {
    sql: whole
      ? `SELECT map() AS labels, points.1 AS indexes, points.2 AS values, 1 AS total, ${found}
        FROM (SELECT arraySort(groupArray((k, v))) AS points ${kept.join("")} FROM (${stages}))
        WHERE notEmpty(points)`
      : `SELECT mapFromArrays(g.1, g.2) AS labels, points.1 AS indexes, points.2 AS values, total, ${found}
        FROM (SELECT g, arraySort(groupArray((k, v))) AS points, count() OVER () AS total ${kept.join("")} FROM (${stages}) GROUP BY g)
        ORDER BY arrayZip(g.1, g.2) LIMIT ${plan.limit}`,
    parameters: {
      ...toScopeParameters(scope),
      ...conditions.parameters,
      ...group.parameters,
      ...toGridParameters(grid),
      step_s: grid.stepMs / 1000,
      window_s: grid.windowMs / 1000,
      newest_from: String(Math.max(scope.fromMs, scope.toMs - NEWEST_MS)),
    },
  };
}

/** FROM and WHERE of the metric's samples after a parameter's time. */
function toFrom(
  databaseName: string,
  table: SampleTable,
  from: string,
  { final = "", inCluster = "cluster_id = {cluster:String}" } = {},
): string {
  return `${databaseName}.otel_metrics_${table} ${final} WHERE ${inCluster} AND MetricName = {metric:String}
    AND TimeUnix > fromUnixTimestamp64Milli({${from}:Int64}) AND TimeUnix <= fromUnixTimestamp64Milli({to:Int64})`;
}

/** (g, k, v) with what is carried; without `g` where neither filters nor groups need labels. */
function toNamedPoints(databaseName: string, plan: TablePlan, group: string): Points {
  const { source, filtered, grouping, conditions, aggregation } = plan;
  const { perSeries } = aggregation;
  const labels = toTableLabelsSql(databaseName);
  // A series without a row matches until its labels are known.
  const condition = filtered
    ? `AND series_id NOT IN (SELECT series_id FROM (${labels}) WHERE NOT (${conditions.sql}))`
    : "";
  const from = (options: Parameters<typeof toFrom>[3]): string =>
    `${toFrom(databaseName, source.table, "from", options)} ${condition}`;
  const members =
    filtered || grouping === "each" || grouping.length > 0
      ? `SELECT series_id, ${group} AS g, 1 AS known FROM (${labels})`
      : undefined;
  if (isRate(perSeries) && source.rates === "grid")
    return toGridRates(from({}), perSeries, filtered, members);
  const samples = { time: "TimeUnix", value: "Value" };
  return endsAtMarkers(aggregation, plan.grid.windowMs / 1000)
    ? toReduced(
        { ...samples, from: from({ final: "FINAL", inCluster: IN_CLUSTER }), isMarker: IS_MARKER },
        plan,
        members,
      )
    : toReduced({ ...samples, from: from({ final: "FINAL" }) }, plan, members);
}

/** Rows of the columns with `g` and `known` of each series, if there are members. */
function toNamed(columns: readonly string[], rows: string, members: string | undefined): string {
  if (members === undefined) return rows;
  return `SELECT ${["g, known", ...columns].join(", ")} FROM (${rows}) AS points
    LEFT JOIN (${members}) AS members ON points.series_id = members.series_id`;
}

function toReduced(samples: Samples, plan: TablePlan, members: string | undefined): Points {
  const { perSeries } = plan.aggregation;
  // A sample that is alone in its window has no rate: it is not in the points.
  const carried: CarriedName[] = plan.filtered || isRate(perSeries) ? [] : ["newest"];
  // Also of the series that ended, whose points are left out.
  const newest = samples.isMarker === undefined ? "max(time)" : `max(${LAST_UNLESS_ENDED.newest}) OVER ()`;
  const points = toPerSeriesSql(perSeries, samples, plan.grid, carried.length === 0 ? {} : { newest });
  return {
    sql: toNamed(["k, v", ...carried], points, members),
    carried: members === undefined ? carried : [...carried, "known"],
  };
}

/**
 * Rates by timeSeriesRateToGrid, which needs no FINAL. Sorting the samples first makes it no slower, and shows resets: timeSeriesResetsToGrid would take as long again.
 * timeSeriesGroupArray takes the greatest of several values of a time, as the grid function does.
 */
function toGridRates(from: string, rate: Rate, filtered: boolean, members: string | undefined): Points {
  const ends = "fromUnixTimestamp64Milli({first:Int64}), fromUnixTimestamp64Milli({last:Int64})";
  const perWindow = rate.of === "increase" ? "* {window_s:UInt32}" : "";
  const rises =
    "arrayAll((x, before) -> isFinite(x) AND before <= x, sorted.2, arrayPushFront(arrayPopBack(sorted.2), sorted.2[1]))";
  const rates = `SELECT series_id, any(sorted[-1].1) AS newest, any(${rises}) AS safe,
      timeSeriesRateToGrid(${ends}, {step_s:UInt32}, {window_s:UInt32})(sorted.1, sorted.2) AS rates
    FROM (SELECT series_id, timeSeriesGroupArray(TimeUnix, Value) AS sorted FROM ${from} GROUP BY series_id) GROUP BY series_id`;
  // With a filter, not all samples of the metric are read.
  const carried: CarriedName[] = filtered ? ["safe"] : ["safe", "newest"];
  const named = toNamed(["rates, safe, newest"], rates, members);
  if (members !== undefined) carried.push("known");
  // Of all series, also of those without a point.
  const ofAll = carried.map((name) => `${CARRIED[name]}(${name}) OVER () AS ${name}`);
  const group = members === undefined ? [] : ["g"];
  return {
    sql: `SELECT ${[...group, ...carried].join(", ")}, toUInt32(place - 1) AS k, assumeNotNull(rate) ${perWindow} AS v
      FROM (SELECT ${[...group, "rates", ...ofAll].join(", ")} FROM (${named}))
      ARRAY JOIN rates AS rate, arrayEnumerate(rates) AS place WHERE isNotNull(rate)`,
    carried,
  };
}
