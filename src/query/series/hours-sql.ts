import type { QueryParameters } from "#storage/database.ts";
import { hourlySource, windowSource, type RollupKind } from "#storage/rollup-sql.ts";
import { isRate, type Aggregation } from "./aggregations.ts";

/** A metric's hours in the roll-ups, of one kind. */
export interface HourSource {
  hours: RollupKind;
}

/** One row that describes the metric's hours of both kinds. `parameters`: the scope's, whose ends are whole hours. */
export function toHoursDescribeStatement(
  databaseName: string,
  parameters: QueryParameters,
): { sql: string; parameters: QueryParameters } {
  const hours = (kind: RollupKind): string =>
    `SELECT series_id, unit, last_time, '${kind}' AS of_kind FROM (${hourlySource(databaseName, kind)})`;
  return {
    sql: `SELECT uniqExact(series_id) AS series, argMax(unit, last_time) AS newest_unit, toUnixTimestamp64Milli(max(last_time)) AS newest_ms,
        countIf(of_kind = 'gauge') AS gauges, countIf(of_kind = 'counter') AS counters
      FROM (${hours("gauge")} UNION ALL ${hours("counter")})`,
    parameters,
  };
}

/** A subquery of (series_id, labels, newest), one row a series: the labels of its newest hour, and the time of its newest sample. */
export function toHourLabelsSql(databaseName: string, { hours }: HourSource): string {
  return `SELECT series_id, argMax(labels, hour_end) AS labels, max(last_time) AS newest FROM (${hourlySource(databaseName, hours)}) GROUP BY series_id`;
}

/**
 * (series_id, k, value): each series' value at the points k of a grid whose window is its step, of whole hours. For every reduction but
 * quantiles.
 */
export function toHourPointsSql(
  databaseName: string,
  { hours }: HourSource,
  perSeries: Aggregation["perSeries"],
  condition: string,
): string {
  const column = isRate(perSeries) ? "rate" : perSeries.of;
  const perWindow = perSeries.of === "increase" ? "* ({window:Int64} / 1000)" : "";
  return `SELECT series_id, toUInt32(intDiv(time_ms - {first:Int64}, {step:Int64})) AS k,
      assumeNotNull(${column}) ${perWindow} AS v
    FROM (${windowSource(databaseName, hours)}) WHERE isNotNull(${column}) ${condition}`;
}
