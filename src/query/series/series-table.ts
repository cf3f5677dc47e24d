import { type Clock } from "#lib/clock.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { SampleTable } from "#storage/samples-sql.ts";
import { readSeriesStart } from "#storage/series.ts";

// The table `series` has a row for each series and day. It is asked for names and labels instead of every sample.

/** How long it is not asked again from which day on the table is complete. */
const START_AGE_MS_MAX = 60_000;

/** Resolves with true when every acknowledged sample after `fromMs` has its row in the table. Throws what a Database throws. */
export type IsInSeriesTable = (fromMs: number, signal: AbortSignal | undefined) => Promise<boolean>;

export function createIsInSeriesTable(
  { database, clock }: { database: LimitedDatabase; clock: Clock },
  { databaseName }: { databaseName: string },
): IsInSeriesTable {
  let known: { startMs: number | undefined; readAtMs: number } | undefined;
  return async (fromMs, signal) => {
    const nowMs = clock.monotonic();
    // It only ever moves back, so an old one is not wrong.
    if (known === undefined || nowMs - known.readAtMs > START_AGE_MS_MAX) {
      const startMs = await readSeriesStart(database, databaseName, signal ?? new AbortController().signal);
      known = { startMs, readAtMs: nowMs };
    }
    return known.startMs !== undefined && known.startMs <= fromMs;
  };
}

const dayOf = (name: string): string => `toDate(fromUnixTimestamp64Milli({${name}:Int64}, 'UTC'))`;
/** The rows of a cluster's days of (from, to]; both Int64, ms. */
export const IN_DAYS = `cluster_id = {cluster:String} AND day >= ${dayOf("from")} AND day <= ${dayOf("to")}`;
const OF_METRIC = `${IN_DAYS} AND metric_name = {metric:String}`;

/**
 * One row about the series of a scope, whose parameters it takes. A series that has samples on the days of the scope, before and after but not in it, counts as well.
 * `samples_max`: how many samples there are in the hours of the scope, copies included.
 */
export function toTableDescribeSql(databaseName: string): string {
  const marked = `SELECT sum(rows) FROM ${databaseName}.rollup_marks WHERE cluster_id = {cluster:String} AND metric_name = {metric:String}
    AND hour_end > fromUnixTimestamp64Milli({from:Int64}) AND hour_end < fromUnixTimestamp64Milli({to:Int64}) + INTERVAL 1 HOUR`;
  return `SELECT uniqExact(series_id) AS series, arraySort(groupUniqArray(kind)) AS kinds, arraySort(groupUniqArray(unit)) AS units, (${marked}) AS samples_max
    FROM (
      SELECT series_id, kind, unit, min(first_time) AS began, max(last_time) AS ended
      FROM ${databaseName}.series WHERE ${OF_METRIC} GROUP BY series_id, kind, unit
    )
    WHERE ended > fromUnixTimestamp64Milli({from:Int64}) AND began <= fromUnixTimestamp64Milli({to:Int64})`;
}

/** A row, if the table has any sample of a scope. */
export function toAnySampleSql(databaseName: string, table: SampleTable): string {
  return `SELECT 1 FROM ${databaseName}.otel_metrics_${table} WHERE cluster_id = {cluster:String} AND MetricName = {metric:String}
    AND TimeUnix > fromUnixTimestamp64Milli({from:Int64}) AND TimeUnix <= fromUnixTimestamp64Milli({to:Int64}) LIMIT 1`;
}

export interface TableDescription {
  series: string;
  kinds: string[];
  units: string[];
  samples_max: string | null;
}

/** A subquery of (series_id, labels, newest), one row a series of a scope's days; `newest` may be after the scope. */
export function toTableLabelsSql(databaseName: string): string {
  return `SELECT series_id, argMax(labels, last_time) AS labels, max(last_time) AS newest FROM ${databaseName}.series WHERE ${OF_METRIC} GROUP BY series_id`;
}
