import { hourlySource, SOME_METRICS, windowSource, type RollupKind } from "#storage/rollup-sql.ts";
import { markedSource, ONLY_MARKERS } from "#storage/samples-sql.ts";
import { measuredNumberSql } from "#query/blank-number.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { CPU, ENDS, gpuValueOrOther, readStateRows, type StateRowReader } from "./rows.ts";

/**
 * The rows of a StateRowReader from the roll-ups' hours, for a grid of multiples of its step, of whole hours, that is lookback and rate window too. The same
 * as from the samples, but for rounding, and for an hour whose last sample is NaN or infinite: the gauge has no value from it. For metrics of which only the
 * grid is wanted.
 */
export function createHourRowReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): StateRowReader {
  const { databaseName } = settings;
  // The last sample of an hour is all that the newest sample of a window can be.
  const gauges = (kind: RollupKind): string =>
    `SELECT metric_name, labels AS series_labels, last_time AS time, last_value AS value, series_id, 0 AS is_marker
      FROM (${hourlySource(databaseName, kind, { metrics: SOME_METRICS })}) WHERE ${measuredNumberSql("last_value")} AND ${gpuValueOrOther("last_value")}`;
  // Each window's rate as a sample at the window's end.
  const cpu = `SELECT {metric:String} AS metric_name, labels AS series_labels, fromUnixTimestamp64Milli(time_ms) AS time,
      assumeNotNull(rate) AS value, series_id, 0 AS is_marker
    FROM (${windowSource(databaseName, "counter")}) WHERE isFinite(rate)`;
  // The roll-ups don't have them. A rate does not end at one.
  const markers = markedSource(
    databaseName,
    "metric_name, labels AS series_labels, time, value, series_id, is_marker",
    `${ONLY_MARKERS} AND metric_name IN {metrics:Array(String)}
      AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({to:Int64})`,
    "kept",
  );
  // A metric whose type changed has hours of both kinds.
  const samples = [gauges("gauge"), gauges("counter"), cpu, markers].join(" UNION ALL ");
  const rates = `timeSeriesResampleToGridWithStalenessIf(${ENDS}, {lookback:UInt32})(time, value, metric_name = '${CPU}')`;
  return (clusterId, grid, metrics, signal) => {
    const parameters = {
      metric: CPU,
      metrics: metrics.filter((metric) => metric !== CPU),
      to: grid.lastMs,
      step: grid.stepMs,
    };
    return readStateRows(database, { samples, rates, parameters }, { clusterId, grid, metrics }, signal);
  };
}
