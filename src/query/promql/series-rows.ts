import type { QueryParameters } from "#storage/database.ts";
import { HISTOGRAM_TABLES } from "./histogram-tables.ts";

/** Samples with fromMs < time <= toMs; ms since 1970. */
export interface SampleRange {
  fromMs: number;
  toMs: number;
}

/** What a Date of ClickHouse can hold, with a margin. */
const LAST_MS = Date.UTC(2100, 0);

/** The range within what can be stored; undefined: it is empty. */
export function toStoredRange({ fromMs, toMs }: SampleRange): SampleRange | undefined {
  const range = { fromMs: Math.max(Math.floor(fromMs), -1), toMs: Math.min(Math.floor(toMs), LAST_MS) };
  return range.fromMs < range.toMs ? range : undefined;
}

export function toRangeParameters({ fromMs, toMs }: SampleRange): QueryParameters {
  return { from: String(fromMs), to: String(toMs), first_day: String(Math.max(fromMs, 0)) };
}

const at = (name: string): string => `fromUnixTimestamp64Milli({${name}:Int64})`;
const dayOf = (name: string): string => `toDate(fromUnixTimestamp64Milli({${name}:Int64}, 'UTC'))`;

/** Conditions on a table's time, with the parameters of `toRangeParameters`. */
export const IN_RANGE = `TimeUnix > ${at("from")} AND TimeUnix <= ${at("to")}`;

/** Where rows about series are: in the table `series` or, of floats, in the samples; `withHistograms`: in the samples of native histograms as well. */
export interface SeriesSources {
  isInSeriesTable: boolean;
  withHistograms: boolean;
}

/**
 * FROM and WHERE of rows about series (cluster_id, metric_name, series_id, kind, unit, description, labels, resource, first_time, last_time) that may have samples in the range, some series in several
 * rows. From the samples where the table `series` lacks days of the range, and of native histograms, of which it has no rows.
 */
export function toSeriesRows(
  databaseName: string,
  { isInSeriesTable, withHistograms }: SeriesSources,
  where: string,
): string {
  const table = `${databaseName}.series WHERE day >= ${dayOf("first_day")} AND day <= ${dayOf("to")}
      AND last_time > ${at("from")} AND first_time <= ${at("to")}`;
  if (isInSeriesTable && !withHistograms) return `${table} AND ${where}`;
  const floats = isInSeriesTable
    ? [
        `SELECT cluster_id, metric_name, series_id, kind, unit, description, labels, resource, first_time, last_time FROM ${table}`,
      ]
    : [
        ofSamples(databaseName, "gauge", "'gauge'"),
        ofSamples(databaseName, "sum", "if(IsMonotonic, 'counter', 'sum')"),
      ];
  const histograms = withHistograms
    ? HISTOGRAM_TABLES.map((each) => ofSamples(databaseName, each, `'${each}'`))
    : [];
  return `(${[...floats, ...histograms].join(" UNION ALL ")}) WHERE ${where}`;
}

function ofSamples(databaseName: string, table: string, kind: string): string {
  return `SELECT cluster_id, MetricName AS metric_name, series_id, ${kind} AS kind, any(MetricUnit) AS unit, any(MetricDescription) AS description,
        CAST(argMax(Attributes, TimeUnix), 'Map(String, String)') AS labels, CAST(any(ResourceAttributes), 'Map(String, String)') AS resource, min(TimeUnix) AS first_time, max(TimeUnix) AS last_time
      FROM ${databaseName}.otel_metrics_${table} WHERE ${IN_RANGE} GROUP BY cluster_id, metric_name, series_id, kind`;
}
