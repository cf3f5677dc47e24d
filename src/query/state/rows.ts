import type { QueryParameters } from "#storage/database.ts";
import { samplesSource } from "#storage/samples-sql.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { gpuExporterOf, gpuIdentityCases, gpuMetrics } from "#query/gpu-metrics.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { allRows, podOf, REAL_FILE_SYSTEM, STATE_ROWS_MAX } from "./sql.ts";

/** The times at which something is computed: lastMs, lastMs - stepMs, ... down to firstMs. Whole seconds apart. */
export interface StateGrid {
  firstMs: number;
  lastMs: number;
  stepMs: number;
  /** A gauge's value is its newest sample of (time - lookbackMs, time]. */
  lookbackMs: number;
  /** A counter's rate is that of (time - rateWindowMs, time]. */
  rateWindowMs: number;
}

/** A value at each time of a grid; null: none. */
export type Values = (number | null)[];

/** The series of a metric that have the same `labels`. */
export interface StateRow {
  metric_name: string;
  /** The labels that identify a row of the metric; "" where the series do not have one. `mode` is "idle" or "busy". */
  labels: Readonly<Record<string, string>>;
  /** Gauges: the largest, or the sum (GPU memory); CPU time: the sum of the rates. */
  grid: Values;
  /** The newest sample of all, and its time. */
  latest: number;
  newestMs: number;
  /** CPUs, or Pods (of a phase: those in it), with a sample in the last lookback. */
  members: number;
}

interface SqlRow {
  metric_name: string;
  identity: string[];
  grid: Values;
  latest: number;
  newest_ms: string;
  members: string;
}

export const CPU = "node_cpu_seconds_total";
export const POD_INFO = "kube_pod_info";
export const POD_PHASE = "kube_pod_status_phase";
export const NODE_CONDITION = "kube_node_status_condition";
export const NODE_INFO = "kube_node_info";
export const UNAME = "node_uname_info";
export const DISK_SIZE = "node_filesystem_size_bytes";
export const DISK_AVAILABLE = "node_filesystem_avail_bytes";
const FILE_SYSTEMS = [DISK_SIZE, DISK_AVAILABLE];
const PODS = [POD_INFO, POD_PHASE];
/** Metrics that are read at the grid's end only. */
const AT_END = [...PODS, NODE_CONDITION];

/** Rows of these metrics are the sum of their series; the rows of others are the maximum. The memory of a GPU is that of its parts. */
const SUMMED = [CPU, ...gpuMetrics("memoryUsed"), ...gpuMetrics("memoryFree")];

const NODE = ["node", "instance", NODE_NAME];
const IDENTITY_LABELS = new Map([
  [CPU, [...NODE, "mode"]],
  [DISK_SIZE, [...NODE, "device"]],
  [DISK_AVAILABLE, [...NODE, "device"]],
  [NODE_INFO, [...NODE, "internal_ip"]],
  [UNAME, [...NODE, "nodename"]],
  [NODE_CONDITION, ["node", "condition", "status"]],
  [POD_PHASE, ["phase"]],
]);

/** The labels that identify a row of a metric. */
function identityLabels(metric: string, podsByNode: boolean): readonly string[] {
  if (metric === POD_INFO) return podsByNode ? ["node"] : [];
  const gpu = gpuExporterOf(metric);
  return gpu === undefined ? (IDENTITY_LABELS.get(metric) ?? NODE) : [gpu.labels.device];
}

/**
 * Reads all rows that a state answer needs in one statement, because each statement costs as much as reading the samples. Reads both tables, because
 * the type of a metric may have changed. `podsByNode`: a row of kube_pod_info for each node. Throws `query_too_large` for
 * too many rows.
 */
export type StateRowReader = (
  clusterId: string,
  grid: StateGrid,
  wanted: { metrics: readonly string[]; podsByNode: boolean },
  signal: AbortSignal | undefined,
) => Promise<StateRow[]>;

export function createStateRowReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): StateRowReader {
  const columns = "metric_name, labels AS series_labels, time, value, series_id";
  // All that is computed of a source's samples is the same with copies of them.
  const samples = samplesSource(settings.databaseName, ["gauge", "sum"], columns, WANTED, "kept");
  const rates = `timeSeriesRateToGridIf(${ENDS}, {rate_window:UInt32})(time, value, metric_name = '${CPU}')`;
  return (clusterId, grid, wanted, signal) =>
    readStateRows(database, { samples, rates, parameters: {} }, { clusterId, grid, ...wanted }, signal);
}

/** Where rows are computed from. */
interface RowSource {
  /** A SELECT of metric_name, series_labels, time, value and series_id. Parameters: `cluster`, `names`, and the times of `readStateRows`. */
  samples: string;
  /** An aggregate over `samples`: the grid of a series of CPU time. */
  rates: string;
  parameters: QueryParameters;
}

/** The rows of a StateRowReader, from a source. */
export async function readStateRows(
  database: LimitedDatabase,
  source: RowSource,
  wanted: { clusterId: string; grid: StateGrid; metrics: readonly string[]; podsByNode: boolean },
  signal: AbortSignal | undefined,
): Promise<StateRow[]> {
  const { clusterId, grid, metrics, podsByNode } = wanted;
  const gaugesFromMs = grid.firstMs - grid.lookbackMs;
  const ratesFromMs = grid.firstMs - grid.rateWindowMs;
  const labels = metrics.map((metric) => identityLabels(metric, podsByNode));
  const rows = await database.query<SqlRow>(
    toRowsSql(source),
    {
      cluster: clusterId,
      names: metrics,
      identity_labels: labels.map((names) => names.join(",")),
      at_end: AT_END,
      pods: PODS,
      file_systems: FILE_SYSTEMS,
      not_real: REAL_FILE_SYSTEM.excluded,
      summed: SUMMED,
      first: grid.firstMs,
      last: grid.lastMs,
      grid_step: grid.stepMs / 1000,
      lookback: grid.lookbackMs / 1000,
      rate_window: grid.rateWindowMs / 1000,
      from: Math.min(gaugesFromMs, ratesFromMs),
      gauges_from: gaugesFromMs,
      rates_from: ratesFromMs,
      end_from: grid.lastMs - grid.lookbackMs,
      ...source.parameters,
    },
    signal,
  );
  const namesOf = new Map(metrics.map((metric, i) => [metric, labels[i]!]));
  return allRows(rows).map((row) => ({
    metric_name: row.metric_name,
    labels: Object.fromEntries(namesOf.get(row.metric_name)!.map((name, i) => [name, row.identity[i] ?? ""])),
    grid: row.grid,
    latest: row.latest,
    newestMs: Number(row.newest_ms),
    members: Number(row.members),
  }));
}

const time = (name: string): string => `fromUnixTimestamp64Milli({${name}:Int64})`;
/** Of a grid function: its first parameters. */
export const ENDS = `${time("first")}, ${time("last")}, {grid_step:UInt32}`;

const WANTED = `cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND isFinite(value)
  AND time > ${time("from")} AND time <= ${time("last")}`;

/**
 * The samples that count, with `source`: samples of one source are one series. A GPU is one source by its device and part (MIG), whichever Pod used it; a
 * Pod's state is one source, however often kube-state-metrics was restarted.
 */
const toSourcesSql = (samples: string): string => `SELECT metric_name, series_labels, time, value, multiIf(
      ${gpuIdentityCases("metric_name", "series_labels")}
      metric_name IN {pods:Array(String)}, cityHash64(${podOf("series_labels")}, series_labels['phase'], series_labels['node']),
      series_id
    ) AS source
  FROM (${samples})
  WHERE time > fromUnixTimestamp64Milli(multiIf(metric_name = '${CPU}', {rates_from:Int64},
      metric_name IN {at_end:Array(String)}, {end_from:Int64}, {gauges_from:Int64}))
    AND (metric_name NOT IN {file_systems:Array(String)}
      OR series_labels['device'] != '' AND NOT match(series_labels['fstype'], {not_real:String}))`;

/**
 * Rows of SqlRow. In three stages, because a column that refers to another by its alias is planned with a copy of that one's expression; and with one
 * column for all labels, for the same reason.
 */
function toRowsSql({ samples, rates }: RowSource): string {
  // Rows that an older version sent may have the derived name or not, in one series: the newest that there is counts.
  const sources = `SELECT metric_name, any(series_labels) AS labels,
      argMax(series_labels['${NODE_NAME}'], (series_labels['${NODE_NAME}'] != '', time)) AS node_name,
      max(time) AS newest, argMax(value, time) AS latest_value,
      ${rates} AS rates,
      timeSeriesResampleToGridWithStalenessIf(${ENDS}, {lookback:UInt32})(
        time, value, metric_name != '${CPU}' AND metric_name NOT IN {at_end:Array(String)}) AS gauges
    FROM (${toSourcesSql(samples)}) GROUP BY metric_name, source`;
  const labelled = `SELECT metric_name, newest, latest_value,
      newest > ${time("end_from")} AND (metric_name != '${POD_PHASE}' OR latest_value = 1) AS is_counted,
      if(metric_name = '${CPU}', rates, gauges) AS values,
      if(metric_name = '${CPU}', [labels['cpu']], ${podOf("labels")}) AS member,
      arrayMap(name -> multiIf(name = '${NODE_NAME}', node_name, name = 'mode', if(labels['mode'] = 'idle', 'idle', 'busy'), labels[name]),
        splitByChar(',', {identity_labels:Array(String)}[indexOf({names:Array(String)}, metric_name)])) AS identity
    FROM (${sources})`;
  // The sum of finite samples may be infinite, which is no number of an answer.
  return `SELECT metric_name, identity, arrayMap(value -> if(isFinite(value), value, NULL),
        if(metric_name IN {summed:Array(String)}, sumForEach(values), maxForEach(values))) AS grid,
      argMax(latest_value, newest) AS latest, toUnixTimestamp64Milli(max(newest)) AS newest_ms,
      uniqExactIf(member, is_counted) AS members
    FROM (${labelled}) GROUP BY metric_name, identity LIMIT ${STATE_ROWS_MAX}`;
}
