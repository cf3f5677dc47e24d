import { GPU_EXPORTERS } from "#query/gpu-exporters.ts";
import { gpuExporterOf, gpuMetrics, gpuValueOf, gpuValueSql, GPU_STATE_METRICS } from "#query/gpu-metrics.ts";
import { GPU_RESOURCES } from "#query/gpu-resources.ts";
import { gpuSeriesOf } from "#query/gpu-series.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { IN_CLUSTER, markedSource } from "#storage/samples-sql.ts";
import { PHASE, REQUEST_METRICS, REQUESTS, type RequestRow } from "./gpu-requests.ts";
import { IDLE_MS } from "./rows.ts";
import { allRows, STATE_ROWS_MAX } from "./sql.ts";

type Labels = Readonly<Record<string, string>>;

/** What one series of a GPU metric measured: numbers in the unit of the metric's quantity, times in Unix ms. */
export interface GpuSample {
  metric: string;
  latest: number;
  atMs: number;
  /** A stale marker is newer: it is no value of now. */
  isEnded: boolean;
  /** The first sample that was read: XIDs and counters from a lookback before the window on, the rest from a lookback before the idle time. */
  first: number;
  firstMs: number;
  /** The largest value in the idle time. */
  peak: number | undefined;
  /** The newest sample in the lookback before the idle time; of XIDs and counters, before the window. */
  before: number | undefined;
}

/** Series with equal labels, of different metrics. */
export interface GpuRow {
  device: string;
  /** "" for a whole GPU. */
  part: string;
  source: readonly string[];
  labels: Labels;
  /** Stretches of the lookback's length that have a sample. */
  covered: number;
  samples: readonly GpuSample[];
}

/** Reads what all series of GPU metrics measured, and `withRequests` what toRequested counts. Throws `query_too_large` for too many series. */
export type GpuRowReader = (
  clusterId: string,
  wanted: { fromMs: number; asOfMs: number; withRequests: boolean },
  signal: AbortSignal | undefined,
) => Promise<{ gpus: GpuRow[]; requests: RequestRow[] }>;

/** Of these the whole window is read: an error, or how much a counter grew. */
const WHOLE_WINDOW = gpuMetrics(
  "xid",
  "thermalViolation",
  "eccCorrected",
  "eccUncorrected",
  "remappedCorrectable",
  "remappedUncorrectable",
);
/** Of these the idle time is read. */
const IDLE_TIME = gpuMetrics("utilization");

interface SqlRow {
  metric_name: string;
  /** Of one of the series. */
  id: string;
  labels: Labels;
  covered: string;
  latest: number;
  at_ms: string;
  first: number;
  first_ms: string;
  peak: number | null;
  before: number | null;
  /** The newest stale marker of the series, which has no values. */
  is_marker: 0 | 1;
}

export function createGpuRowReader(
  database: LimitedDatabase,
  settings: { databaseName: string; lookbackMs: number },
): GpuRowReader {
  const [ofGpus, withAll] = [toSql(settings.databaseName, false), toSql(settings.databaseName, true)];
  return async (clusterId, { fromMs, asOfMs, withRequests }, signal) => {
    const { lookbackMs } = settings;
    const idleMs = asOfMs - IDLE_MS;
    const windowMs = Math.min(fromMs, asOfMs - lookbackMs) - lookbackMs;
    const rows = await database.query<SqlRow>(
      withRequests ? withAll : ofGpus,
      {
        cluster: clusterId,
        names: withRequests ? [...GPU_STATE_METRICS, ...REQUEST_METRICS] : GPU_STATE_METRICS,
        resources: GPU_RESOURCES,
        whole_window: WHOLE_WINDOW,
        idle_time: IDLE_TIME,
        xid: gpuMetrics("xid"),
        from: Math.min(windowMs, idleMs - lookbackMs),
        window_from: windowMs,
        window: windowMs + lookbackMs,
        idle_from: idleMs - lookbackMs,
        idle: idleMs,
        since: asOfMs - lookbackMs,
        lookback: lookbackMs,
        as_of: asOfMs,
      },
      signal,
    );
    const all = toEnding(allRows(rows));
    const isOfPods = ({ metric_name }: EndingRow): boolean => REQUEST_METRICS.includes(metric_name);
    return {
      gpus: toGpuRows(all.filter((row) => !isOfPods(row))),
      requests: all
        .filter((row) => isOfPods(row) && !row.isEnded)
        .map((row) => ({ ...row, metric: row.metric_name })),
    };
  };
}

const time = (name: string): string => `fromUnixTimestamp64Milli({${name}:Int64})`;

/**
 * An XID of a series is a row of its own: the label err_code does not exist in all versions. What the labels mean is decided by the program, as in rows.ts. All that is
 * computed is the same with copies of samples.
 */
function toSql(databaseName: string, withRequests: boolean): string {
  const samples = markedSource(
    databaseName,
    "metric_name, series_id, labels AS series_labels, time, value, is_marker",
    `${IN_CLUSTER} AND metric_name IN {names:Array(String)}
      AND time > ${time("from")} AND time <= ${time("as_of")} AND (is_marker OR ${gpuValueSql("metric_name", "value")})`,
    "kept",
  );
  // Of all requests of other things one row: it says that there are any, and does not end.
  const isOther = `metric_name = '${REQUESTS}' AND NOT match(series_labels['resource'], {resources:String})`;
  const ofRequests = `if(${isOther}, 0, series_id)`;
  const ofFinished = `(metric_name != '${PHASE}' OR series_labels['phase'] IN ('Succeeded', 'Failed'))`;
  const begin = `if(metric_name IN {whole_window:Array(String)}, ${time("window")}, ${time("idle")})`;
  return `SELECT metric_name, any(series_id) AS id, groupArray(1)(series_labels)[1] AS labels,
      argMax(value, time) AS latest, toUnixTimestamp64Milli(max(time)) AS at_ms,
      argMin(value, time) AS first, toUnixTimestamp64Milli(min(time)) AS first_ms, maxOrNullIf(value, time > ${time("idle")}) AS peak,
      argMaxOrNullIf(value, time, time <= ${begin}) AS before, is_marker,
      uniqExact(intDiv({as_of:Int64} - toUnixTimestamp64Milli(time), {lookback:Int64})) AS covered
    FROM (${samples})
    WHERE time > fromUnixTimestamp64Milli(multiIf(metric_name IN {whole_window:Array(String)}, {window_from:Int64},
        metric_name IN {idle_time:Array(String)}, {idle_from:Int64}, {since:Int64}))
      ${withRequests ? `AND ${ofFinished} AND NOT (is_marker AND ${isOther})` : ""}
    GROUP BY metric_name, ${withRequests ? ofRequests : "series_id"}, is_marker, if(metric_name IN {xid:Array(String)} AND NOT is_marker, value, 0)
    ${withRequests ? `HAVING metric_name != '${PHASE}' OR latest = 1 OR is_marker` : ""} LIMIT ${STATE_ROWS_MAX}`;
}

interface EndingRow extends SqlRow {
  isEnded: boolean;
}

/** The rows of samples: ended where the series has a newer marker. */
function toEnding(rows: readonly SqlRow[]): EndingRow[] {
  const seriesOf = ({ metric_name, id }: SqlRow): string => `${metric_name} ${id}`;
  const markers = rows.filter(({ is_marker }) => is_marker === 1);
  const endOf = new Map(markers.map((row) => [seriesOf(row), Number(row.at_ms)]));
  const isEnded = (row: SqlRow): boolean =>
    endOf.size > 0 && (endOf.get(seriesOf(row)) ?? 0) > Number(row.at_ms);
  return rows.filter(({ is_marker }) => is_marker === 0).map((row) => ({ ...row, isEnded: isEnded(row) }));
}

/** Series with equal labels are one row: exporters give all metrics of a GPU the same. */
function toGpuRows(rows: readonly EndingRow[]): GpuRow[] {
  const groups = Map.groupBy(
    rows,
    ({ metric_name, labels }) =>
      `${GPU_EXPORTERS.indexOf(gpuExporterOf(metric_name)!)} ${JSON.stringify(labels)}`,
  );
  return [...groups.values()].flatMap((own) => {
    const samples = own.flatMap(toSample);
    if (samples.length === 0) return [];
    const { metric_name, labels } = own[0]!;
    const covered = Math.max(...own.map((row) => Number(row.covered)));
    return [{ ...gpuSeriesOf(metric_name, labels)!, labels, covered, samples }];
  });
}

function toSample(row: EndingRow): GpuSample[] {
  const metric = row.metric_name;
  const value = (raw: number | null): number | undefined =>
    raw === null ? undefined : gpuValueOf(metric, raw);
  const [latest, first] = [value(row.latest), value(row.first)];
  if (latest === undefined || first === undefined) return [];
  const times = { atMs: Number(row.at_ms), firstMs: Number(row.first_ms), isEnded: row.isEnded };
  return [{ metric, latest, first, ...times, peak: value(row.peak), before: value(row.before) }];
}
