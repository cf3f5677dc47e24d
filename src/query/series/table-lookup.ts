import type { LimitedDatabase } from "#query/limits.ts";
import { IN_DAYS, toTableLabelsSql, type IsInSeriesTable } from "./series-table.ts";
import { toScopeParameters, type Scope, type Statement } from "./series-sql.ts";
import type { MetricType } from "./aggregations.ts";

// The lists of metrics and labels, from the table `series`. It knows the first and last sample of a day only: a range that ends before the newest sample of a series is
// read from the samples.

export interface MetricRow {
  metric_name: string;
  newest: { kind: MetricType; unit: string };
  series: string;
  first_ms: string;
  last_ms: string;
}

interface TableRow extends MetricRow {
  /** Series with a sample after the range. */
  later: string;
}

interface FirstRow {
  metric_name: string;
  first_ms: string;
}

interface Range {
  clusterId: string;
  fromMs: number;
  toMs: number;
}

/** Where the first sample of a range is looked for before the whole range is read. */
const FIRST_MS = 3_600_000;

const at = (name: string): string => `fromUnixTimestamp64Milli({${name}:Int64})`;

/** Resolves with the metrics of a range by name, at most `max` of them; undefined: the samples must be asked. */
export type ReadTableMetrics = (
  range: Range,
  max: number,
  signal: AbortSignal | undefined,
) => Promise<MetricRow[] | undefined>;

export function createReadTableMetrics(
  deps: { database: LimitedDatabase; isInSeriesTable: IsInSeriesTable },
  { databaseName }: { databaseName: string },
): ReadTableMetrics {
  const { database } = deps;

  /** The first sample of each metric after `from`: a day's row has only the first of the day. */
  const readFirst = async (
    { clusterId, fromMs, toMs }: Range,
    names: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Map<string, string>> => {
    const nearMs = Math.min(fromMs + FIRST_MS, toMs);
    const found = new Map<string, string>();
    for (const untilMs of nearMs === toMs ? [toMs] : [nearMs, toMs]) {
      const wanted = names.filter((name) => !found.has(name));
      if (wanted.length === 0) break;
      const rows = await database.query<FirstRow>(
        toFirstSql(databaseName),
        { cluster: clusterId, names: wanted, from: String(fromMs), to: String(untilMs) },
        signal,
      );
      for (const { metric_name, first_ms } of rows) found.set(metric_name, first_ms);
    }
    return found;
  };

  return async (range, max, signal) => {
    if (!(await deps.isInSeriesTable(range.fromMs, signal))) return undefined;
    const parameters = { cluster: range.clusterId, from: String(range.fromMs), to: String(range.toMs) };
    const rows = await database.query<TableRow>(toMetricsSql(databaseName, max), parameters, signal);
    if (rows.length === 0 || rows.some(({ later }) => later !== "0")) return undefined;
    const early = rows.filter(({ first_ms }) => Number(first_ms) <= range.fromMs);
    const first = await readFirst(
      range,
      early.map(({ metric_name }) => metric_name),
      signal,
    );
    return rows.map((row) => ({ ...row, first_ms: first.get(row.metric_name) ?? row.first_ms }));
  };
}

function toMetricsSql(databaseName: string, max: number): string {
  return `SELECT metric_name, uniqExact(series_id) AS series, CAST(argMax(tuple(kind, unit), ended), 'Tuple(kind String, unit String)') AS newest,
      toUnixTimestamp64Milli(min(began)) AS first_ms, toUnixTimestamp64Milli(max(ended)) AS last_ms, countIf(ended > ${at("to")}) AS later
    FROM (
      SELECT metric_name, series_id, kind, unit, min(first_time) AS began, max(last_time) AS ended
      FROM ${databaseName}.series WHERE ${IN_DAYS} GROUP BY metric_name, series_id, kind, unit
    )
    WHERE ended > ${at("from")} AND began <= ${at("to")} GROUP BY metric_name ORDER BY metric_name LIMIT ${max}`;
}

/** No FINAL: copies have the same time. */
function toFirstSql(databaseName: string): string {
  const samples = ["gauge", "sum"].map(
    (table) => `SELECT MetricName AS metric_name, TimeUnix AS time FROM ${databaseName}.otel_metrics_${table}
      WHERE cluster_id = {cluster:String} AND MetricName IN {names:Array(String)} AND TimeUnix > ${at("from")} AND TimeUnix <= ${at("to")}`,
  );
  return `SELECT metric_name, toUnixTimestamp64Milli(min(time)) AS first_ms FROM (${samples.join(" UNION ALL ")}) GROUP BY metric_name`;
}

/**
 * A subquery of (series_id, labels, newest), one row a series of the scope, and a condition that is true when the table can answer: no series has a sample after the
 * scope.
 */
export function toTableLabels(databaseName: string, scope: Scope): { labels: Statement; holds: string } {
  const sql = `SELECT * FROM (${toTableLabelsSql(databaseName)}) WHERE newest > ${at("from")}`;
  const later = `SELECT count() FROM (${toTableLabelsSql(databaseName)}) WHERE newest > ${at("to")}`;
  return { labels: { sql, parameters: toScopeParameters(scope) }, holds: `(${later}) = 0` };
}
