import type { QueryParameters } from "#storage/database.ts";
import { IN_CLUSTER, markedSource } from "#storage/samples-sql.ts";
import { measuredNumberSql } from "#query/blank-number.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { gpuValueSql, GPU_SUMMARY_METRICS } from "#query/gpu-metrics.ts";
import { gpuSeriesOf } from "#query/gpu-series.ts";
import { NODE_NAME } from "#query/node-addresses.ts";
import { ownLabelsOf, sourceOf } from "./identity.ts";
import { allRows, PHYSICAL_INTERFACE, REAL_FILE_SYSTEM, STATE_ROWS_MAX } from "./sql.ts";

/** The times at which something is computed: lastMs, lastMs - stepMs, ... down to firstMs. Whole seconds apart. */
export interface StateGrid {
  firstMs: number;
  lastMs: number;
  stepMs: number;
  /** A gauge's value is its newest sample of (time - lookbackMs, time], unless a stale marker is newer. */
  lookbackMs: number;
  /** A counter's rate is that of (time - rateWindowMs, time]. */
  rateWindowMs: number;
}

/** A value at each time of a grid; null: none. */
export type Values = (number | null)[];

/** A series, or of some metrics the series of one source (MEMBERS). */
export interface StateRow {
  metric_name: string;
  /** All labels; without those of the members. */
  labels: Readonly<Record<string, string>>;
  /** As `sourceOf`. */
  source: readonly string[];
  /** CPU time of mode idle. */
  isIdle: boolean;
  /** CPU time and network traffic: rates, and of CPU time their sum. Null at every step for what is read at the grid's end only. */
  grid: Values;
  /** The newest sample of all, and its time. */
  latest: number;
  newestMs: number;
  /** At the grid's end a stale marker has ended it. */
  isEnded: boolean;
  /** What has a sample in the last lookback and has not ended: CPUs; Pods; of their phases and of conditions those that are 1. */
  members: readonly Member[];
  /** Of GPU metrics only. */
  gpu?: GpuMoments;
}

/** What the use of a GPU is judged by, of one series. */
export interface GpuMoments {
  /** Of each value of the grid: the time of its sample, ms. */
  times: Values;
  /** The largest value in the idle time (IDLE_MS before the grid's end). */
  peak: number | undefined;
  /** The newest sample in the lookback before the idle time. */
  before: number | undefined;
}

/** One of the series of a row: its own labels that MEMBERS names, the time of its newest sample, and its value. */
export interface Member {
  own: Readonly<Record<string, string>>;
  newestMs: number;
  value: number;
}

interface SqlRow {
  metric_name: string;
  labels: Readonly<Record<string, string>>;
  node_name: string;
  is_idle: 0 | 1;
  grid: Values;
  latest: number;
  newest_ms: string;
  is_ended: 0 | 1;
  members: [own: string[], newestMs: string, value: number][];
  /** Where GPU metrics are read: of theirs, else empty. */
  times?: Values;
  peak?: number | null;
  before?: number | null;
}

/** As long as this a GPU must have been idle. */
export const IDLE_MS = 15 * 60_000;

export const CPU = "node_cpu_seconds_total";
export const POD_INFO = "kube_pod_info";
export const POD_PHASE = "kube_pod_status_phase";
export const NODE_CONDITION = "kube_node_status_condition";
export const REQUESTS = "kube_pod_container_resource_requests";
export const ALLOCATABLE = "kube_node_status_allocatable";
export const NODE_INFO = "kube_node_info";
export const UNAME = "node_uname_info";
export const DISK_SIZE = "node_filesystem_size_bytes";
export const DISK_AVAILABLE = "node_filesystem_avail_bytes";
export const DISK_READONLY = "node_filesystem_readonly";
export const RECEIVED = "node_network_receive_bytes_total";
export const TRANSMITTED = "node_network_transmit_bytes_total";
const FILE_SYSTEMS = [DISK_SIZE, DISK_AVAILABLE, DISK_READONLY];
const NETWORK = [RECEIVED, TRANSMITTED];
/** Counters: their values are rates. */
const RATES = [CPU, ...NETWORK];
/** Their members are many, so that the series of a source are one row. The labels that a member has, in this order. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  [CPU]: ["cpu"],
  [POD_INFO]: ["namespace", "pod", "node"],
  [POD_PHASE]: ["namespace", "pod", "phase"],
  [REQUESTS]: ["namespace", "pod", "container", "resource", "node"],
  [NODE_CONDITION]: ["node", "condition", "status"],
  [ALLOCATABLE]: ["node", "resource"],
};
/** Read at the grid's end only. */
const AT_END = [POD_INFO, POD_PHASE, REQUESTS, NODE_CONDITION, ALLOCATABLE];
/** A series for each phase or status, of which the one that is 1 counts. */
const FLAGS = [POD_PHASE, NODE_CONDITION];

/**
 * Reads all rows that a state answer needs in one statement, because each statement costs as much as reading the samples. Reads both tables, because
 * the type of a metric may have changed. Throws `query_too_large` for too many rows.
 */
export type StateRowReader = (
  clusterId: string,
  grid: StateGrid,
  metrics: readonly string[],
  signal: AbortSignal | undefined,
) => Promise<StateRow[]>;

export function createStateRowReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): StateRowReader {
  const columns = "metric_name, labels AS series_labels, time, value, series_id, is_marker";
  // All that is computed of a source's samples is the same with copies of them.
  const samples = (isValue: string): string =>
    markedSource(settings.databaseName, columns, `${WANTED} AND (is_marker OR ${isValue})`, "kept");
  const measured = measuredNumberSql("value");
  const [ofGpus, ofOthers] = [samples(`${measured} AND ${gpuValueOrOther("value")}`), samples(measured)];
  const rates = `timeSeriesRateToGridIf(${ENDS}, {rate_window:UInt32})(time, value, NOT is_marker AND metric_name IN {rates:Array(String)})`;
  return (clusterId, grid, metrics, signal) => {
    const source = { samples: hasGpus(metrics) ? ofGpus : ofOthers, rates, parameters: {} };
    return readStateRows(database, source, { clusterId, grid, metrics }, signal);
  };
}

/** SQL that is false for a GPU's sample whose number is no value. */
export function gpuValueOrOther(value: string): string {
  return `(NOT ${IS_GPU} OR ${gpuValueSql("metric_name", value)})`;
}

function hasGpus(metrics: readonly string[]): boolean {
  return GPU_SUMMARY_METRICS.some((metric) => metrics.includes(metric));
}

/** Where rows are computed from. */
interface RowSource {
  /** A SELECT of metric_name, series_labels, time, value, series_id and is_marker (then the value is NaN). Parameters: those of `readStateRows`. */
  samples: string;
  /** An aggregate over `samples`: the grid of a counter. */
  rates: string;
  parameters: QueryParameters;
}

/** The rows of a StateRowReader, from a source. */
export async function readStateRows(
  database: LimitedDatabase,
  source: RowSource,
  { clusterId, grid, metrics }: { clusterId: string; grid: StateGrid; metrics: readonly string[] },
  signal: AbortSignal | undefined,
): Promise<StateRow[]> {
  const gaugesFromMs = grid.firstMs - grid.lookbackMs;
  const ratesFromMs = grid.firstMs - grid.rateWindowMs;
  const idleMs = grid.lastMs - IDLE_MS;
  const idleFromMs = idleMs - grid.lookbackMs;
  const gpusFromMs = Math.min(gaugesFromMs, idleFromMs);
  const withGpus = hasGpus(metrics);
  const rows = await database.query<SqlRow>(
    toRowsSql(source, withGpus),
    {
      cluster: clusterId,
      names: metrics,
      member_labels: metrics.map((metric) => (MEMBERS[metric] ?? []).join(",")),
      left_out: metrics.map((metric) => labelsOfMembers(metric).join(",")),
      at_end: AT_END,
      flags: FLAGS,
      rates: RATES,
      file_systems: FILE_SYSTEMS,
      not_real: REAL_FILE_SYSTEM.excluded,
      network: NETWORK,
      not_physical: PHYSICAL_INTERFACE.excluded,
      first: grid.firstMs,
      last: grid.lastMs,
      grid_step: grid.stepMs / 1000,
      lookback: grid.lookbackMs / 1000,
      rate_window: grid.rateWindowMs / 1000,
      gpus: GPU_SUMMARY_METRICS,
      idle: idleMs,
      idle_from: idleFromMs,
      gpus_from: gpusFromMs,
      from: Math.min(gaugesFromMs, ratesFromMs, withGpus ? gpusFromMs : Infinity),
      gauges_from: gaugesFromMs,
      rates_from: ratesFromMs,
      end_from: grid.lastMs - grid.lookbackMs,
      ...source.parameters,
    },
    signal,
  );
  return allRows(rows).map(toStateRow);
}

/**
 * The labels that differ between the members of a source, and `k8s.node.name`, which older versions of the bridge added to some samples of a series. Where a label is
 * renamed (`exported_X`), the plain one is the exporter's and left out with it.
 */
function labelsOfMembers(metric: string): string[] {
  const own = MEMBERS[metric] === undefined ? [] : ownLabelsOf(metric);
  return [NODE_NAME, ...own.flatMap((name) => [name, `exported_${name}`])];
}

function toStateRow(row: SqlRow): StateRow {
  const { metric_name, labels, node_name } = row;
  const memberLabels = MEMBERS[metric_name] ?? [];
  return {
    metric_name,
    labels: node_name === "" ? labels : { ...labels, [NODE_NAME]: node_name },
    source: gpuSeriesOf(metric_name, labels)?.source ?? sourceOf(labels, metric_name),
    isIdle: row.is_idle === 1,
    // The sum of finite samples may be infinite, which is no number of an answer.
    grid: row.grid.map((value) => (value === null || !Number.isFinite(value) ? null : value)),
    latest: row.latest,
    newestMs: Number(row.newest_ms),
    isEnded: row.is_ended === 1,
    members: allRows(row.members).map(([own, newestMs, value]) => ({
      own: Object.fromEntries(own.map((text, i) => [memberLabels[i]!, text])),
      newestMs: Number(newestMs),
      value,
    })),
    ...(row.times !== undefined &&
      row.times.length > 0 && {
        gpu: { times: row.times, peak: row.peak ?? undefined, before: row.before ?? undefined },
      }),
  };
}

const time = (name: string): string => `fromUnixTimestamp64Milli({${name}:Int64})`;
/** Of a grid function: its first parameters. */
export const ENDS = `${time("first")}, ${time("last")}, {grid_step:UInt32}`;

const IS_GPU = "metric_name IN {gpus:Array(String)}";
const WANTED = `${IN_CLUSTER} AND metric_name IN {names:Array(String)}
  AND time > ${time("from")} AND time <= ${time("last")}`;

/**
 * Rows of SqlRow. What their labels mean is decided by the program: a statement that decides it takes longer to plan than to run. In stages, because a column that
 * refers to another by its alias is planned with a copy of that one's expression.
 */
function toRowsSql({ samples, rates }: RowSource, withGpus: boolean): string {
  const ofGpus = (sql: string): string => (withGpus ? sql : "");
  const isRate = "metric_name IN {rates:Array(String)}";
  const isAtEnd = "metric_name IN {at_end:Array(String)}";
  const series = `SELECT metric_name, any(series_labels) AS labels,
      argMax(series_labels['${NODE_NAME}'], (series_labels['${NODE_NAME}'] != '', time)) AS node_name,
      maxIf(time, NOT is_marker) AS newest, argMaxIf(value, time, NOT is_marker) AS latest_value, maxIf(time, is_marker) > newest AS has_ended,
      ${rates} AS rates,
      timeSeriesResampleToGridWithStalenessIf(${ENDS}, {lookback:UInt32})(time, value, NOT ${isRate} AND NOT ${isAtEnd}) AS gauges${ofGpus(GPU_MOMENTS)}
    FROM (${samples})
    WHERE time > fromUnixTimestamp64Milli(multiIf(${isRate}, {rates_from:Int64}, ${isAtEnd}, {end_from:Int64}, ${ofGpus(`${IS_GPU}, {gpus_from:Int64}, `)}{gauges_from:Int64}))
      AND NOT (metric_name IN {file_systems:Array(String)} AND match(series_labels['fstype'], {not_real:String}))
      AND NOT (metric_name IN {network:Array(String)} AND match(series_labels['device'], {not_physical:String}))
    GROUP BY metric_name, series_id HAVING newest > fromUnixTimestamp64Milli(0)`;
  const names = (parameter: string): string =>
    `splitByChar(',', {${parameter}:Array(String)}[indexOf({names:Array(String)}, metric_name)])`;
  const parted = `SELECT metric_name, node_name, newest, latest_value, has_ended, if(${isRate}, rates, ${withoutMarkers("gauges")}) AS values,
      metric_name = '${CPU}' AND labels['mode'] = 'idle' AS is_idle,
      mapFilter((name, value) -> NOT has(${names("left_out")}, name), labels) AS rest,
      arrayMap(name -> labels[if(labels[concat('exported_', name)] = '', name, concat('exported_', name))], ${names("member_labels")}) AS member${ofGpus(`, ${withoutMarkers("times")} AS sampled, peak, if(isNaN(was), NULL, was) AS before`)}
    FROM (${series})`;
  return `SELECT metric_name, rest AS labels, node_name, is_idle, sumForEach(values) AS grid,
      argMax(latest_value, newest) AS latest, toUnixTimestamp64Milli(max(newest)) AS newest_ms,
      min(has_ended) AS is_ended,
      groupArrayIf(${STATE_ROWS_MAX})((member, toUnixTimestamp64Milli(newest), latest_value),
        member[1] != '' AND newest > ${time("end_from")} AND NOT has_ended AND (is_idle OR metric_name != '${CPU}')
          AND (latest_value = 1 OR metric_name NOT IN {flags:Array(String)})) AS members
      ${ofGpus(`, anyIf(sampled, ${IS_GPU}) AS times, max(peak) AS peak, max(before) AS before`)}
    FROM (${parted}) GROUP BY metric_name, rest, node_name, is_idle LIMIT ${STATE_ROWS_MAX}`;
}

/** Where a stale marker is the newest of a grid's step there is no value. */
function withoutMarkers(values: string): string {
  return `arrayMap(value -> if(isNaN(value), NULL, value), ${values})`;
}

/** GpuMoments of a series. */
const GPU_MOMENTS = `,
      timeSeriesResampleToGridWithStalenessIf(${ENDS}, {lookback:UInt32})(time, if(is_marker, nan, toFloat64(toUnixTimestamp64Milli(time))), ${IS_GPU}) AS times,
      maxOrNullIf(value, ${IS_GPU} AND NOT is_marker AND time > ${time("idle")}) AS peak,
      argMaxOrNullIf(value, time, ${IS_GPU} AND time <= ${time("idle")} AND time > ${time("idle_from")}) AS was`;
