import {
  gpuExporterOf,
  gpuMetrics,
  GPU_STATE_METRICS,
  GPU_SUMMARY_METRICS,
  type GpuQuantity,
} from "#query/gpu-metrics.ts";
import { samplesSource } from "#storage/samples-sql.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { hostOf, NODE_NAME, type NodeAddresses } from "#query/node-addresses.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import { allRows, STATE_ROWS_MAX } from "./sql.ts";
import { toTimestamp } from "#query/range.ts";
import { largest, mean, percent } from "./node-values.ts";
import type { StateGrid, StateRow, Values } from "./rows.ts";
import type { WindowRules } from "./window.ts";

/** A GPU, or a part of one (MIG), as of the answer's `as_of`; null where nothing is known. */
export interface GpuState {
  uuid: string;
  /** The GPU's number on its node. */
  gpu: string;
  /** Of a partitioned GPU's part, else null. */
  mig_instance: string | null;
  node: string;
  model: string;
  /** The Pods that use it: none when it is free, several when they share it. */
  pods: { namespace: string; pod: string; container: string }[];
  utilization_percent: number | null;
  memory_used_mib: number | null;
  /** Used and free; what the driver reserves is in neither. */
  memory_total_mib: number | null;
  memory_copy_utilization_percent: number | null;
  temperature_celsius: number | null;
  power_watts: number | null;
  sm_clock_mhz: number | null;
  /** The last XID error in the window that is not 0; null: none. */
  xid_error: number | null;
  last_sample: string;
}

export interface GpusAnswer extends StateHead {
  gpu_count: number;
  /** Sorted by node and number. */
  gpus: GpuState[];
}

export type Gpus = (request: StateRequest) => Promise<GpusAnswer>;

/** A GPU that had a sample in the window; `present` while it still has them. */
interface FoundGpu {
  present: boolean;
  state: GpuState;
}

export type GpuReader = (context: StateContext, signal: AbortSignal | undefined) => Promise<FoundGpu[]>;

interface Row {
  metric_name: string;
  labels: Readonly<Record<string, string>>;
  latest: number;
  at_ms: string;
  /** The newest value that is not 0, and its time; 0: none. */
  error: number;
  error_ms: string;
}

export function createGpus(
  deps: { createContext: CreateContext; readGpus: GpuReader },
  settings: { window: WindowRules },
): Gpus {
  return async (request) => {
    const context = await deps.createContext(request, GPU_STATE_METRICS, settings.window);
    const [head, found] = await Promise.all([
      context.head(GPU_STATE_METRICS),
      deps.readGpus(context, request.signal),
    ]);
    const gpus = found.filter(({ present }) => present).map(({ state }) => state);
    return { ...head, gpu_count: gpus.length, gpus };
  };
}

/** XID errors count from the whole window, the rest from the lookback. */
export function createGpuReader(
  database: LimitedDatabase,
  settings: { databaseName: string; lookbackMs: number },
): GpuReader {
  return async (context, signal) => {
    if (context.asOfMs === null) return [];
    const sinceMs = context.asOfMs - settings.lookbackMs;
    const [rows, addresses] = await Promise.all([
      database.query<Row>(
        gpuSql(settings.databaseName),
        {
          cluster: context.clusterId,
          names: GPU_STATE_METRICS,
          xid: gpuMetrics("xid"),
          from: Math.min(context.fromMs, sinceMs),
          since: sinceMs,
          as_of: context.asOfMs,
        },
        signal,
      ),
      context.nodeAddresses(),
    ]);
    const gpus = [
      ...Map.groupBy(allRows(rows), ({ metric_name, labels }) => {
        const names = gpuExporterOf(metric_name)!.labels;
        return JSON.stringify([labels[names.device], labels[names.part]]);
      }).values(),
    ];
    return gpus.map((own) => toGpu(own, sinceMs, addresses)).sort((a, b) => byPlace(a.state, b.state));
  };
}

function gpuSql(databaseName: string): string {
  const samples = samplesSource(
    databaseName,
    ["gauge", "sum"],
    "metric_name, series_id, labels AS series_labels, time, value",
    `cluster_id = {cluster:String} AND metric_name IN {names:Array(String)} AND isFinite(value)
      AND time > fromUnixTimestamp64Milli({from:Int64}) AND time <= fromUnixTimestamp64Milli({as_of:Int64})
      AND (metric_name IN {xid:Array(String)} OR time > fromUnixTimestamp64Milli({since:Int64}))`,
  );
  return `SELECT metric_name, argMax(series_labels, (series_labels['${NODE_NAME}'] != '', time)) AS labels,
      argMax(value, time) AS latest, toUnixTimestamp64Milli(max(time)) AS at_ms,
      argMaxIf(value, time, value != 0) AS error, toUnixTimestamp64Milli(maxIf(time, value != 0)) AS error_ms
    FROM (${samples}) GROUP BY metric_name, series_id LIMIT ${STATE_ROWS_MAX}`;
}

/** From all rows of one GPU. Each Pod that used it has a series of its own; the newest one counts. */
function toGpu(rows: readonly Row[], sinceMs: number, addresses: NodeAddresses): FoundGpu {
  const newestMs = Math.max(...rows.map((row) => Number(row.at_ms)));
  const newest = rows.filter((row) => Number(row.at_ms) === newestMs);
  const { labels, metric_name } = newest[0]!;
  const exporter = gpuExporterOf(metric_name)!;
  const names = exporter.labels;
  const value = (quantity: GpuQuantity): number | null => {
    const metric = exporter.metrics[quantity];
    const recent = rows.filter((row) => row.metric_name === metric && Number(row.at_ms) > sinceMs);
    return latestBy(recent, (row) => row.at_ms)?.latest ?? null;
  };
  const used = value("memoryUsed");
  const free = value("memoryFree");
  const errors = rows.filter((row) => row.metric_name === exporter.metrics.xid && row.error !== 0);
  const holders = newest
    .map((row) => toHolder(row.labels))
    .filter(({ pod, container }) => pod !== "" && !container.includes(exporter.container));
  const state = {
    uuid: labels[names.device] ?? "",
    gpu: labels[names.index] ?? "",
    mig_instance: labels[names.part] || null,
    node: toNode(labels, names.nodes, (instance) => addresses.nodeOf(hostOf(instance), newestMs)),
    model: labels[names.model] ?? "",
    pods: [...new Map(holders.map((holder) => [JSON.stringify(holder), holder])).values()],
    utilization_percent: value("utilization"),
    memory_used_mib: used,
    memory_total_mib: used === null || free === null ? null : used + free,
    memory_copy_utilization_percent: value("copyUtilization"),
    temperature_celsius: value("temperature"),
    power_watts: value("power"),
    sm_clock_mhz: value("clock"),
    xid_error: latestBy(errors, (row) => row.error_ms)?.error ?? null,
    last_sample: toTimestamp(newestMs),
  };
  return { present: newestMs > sinceMs, state };
}

function toNode(
  labels: Row["labels"],
  exporterLabels: readonly string[],
  nodeOf: (instance: string) => string | undefined,
): string {
  const named = ["node", ...exporterLabels, NODE_NAME].map((name) => labels[name] ?? "");
  const instance = labels["instance"] ?? "";
  return named.find((name) => name !== "") ?? (nodeOf(instance) || instance);
}

/** As `podLabel`. */
function toHolder(labels: Row["labels"]): GpuState["pods"][number] {
  const prefix = labels["exported_pod"] ? "exported_" : "";
  const of = (name: string): string => labels[`${prefix}${name}`] ?? "";
  return { namespace: of("namespace"), pod: of("pod"), container: of("container") };
}

/** The row with the latest of a time; undefined: there is no row. */
function latestBy(rows: readonly Row[], time: (row: Row) => string): Row | undefined {
  return rows.reduce<Row | undefined>(
    (last, row) => (last === undefined || Number(time(row)) > Number(time(last)) ? row : last),
    undefined,
  );
}

function byPlace(a: GpuState, b: GpuState): number {
  const text = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);
  return (
    text(a.node, b.node) ||
    Number(a.gpu) - Number(b.gpu) ||
    text(a.uuid, b.uuid) ||
    text(a.mig_instance ?? "", b.mig_instance ?? "")
  );
}

/** All GPUs of a cluster together, at the times of a grid. */
export interface GpuGrids {
  /** GPUs with a sample in the last lookback. */
  count: number;
  utilizationAverage: Values;
  utilizationMax: Values;
  /** MiB. */
  memoryUsed: Values;
  memoryFree: Values;
  /** Of the fullest GPU. */
  memoryPercentMax: Values;
  /** W. */
  power: Values;
}

/**
 * undefined: there is no GPU. The parts of a partitioned GPU (MIG) have memory of their own, which is added up in its row, while each of them repeats the
 * GPU's power.
 */
export function toGpuGrids(rows: readonly StateRow[], grid: StateGrid): GpuGrids | undefined {
  const own = rows.filter(({ metric_name }) => GPU_SUMMARY_METRICS.includes(metric_name));
  if (own.length === 0) return undefined;
  const gpus = [
    ...Map.groupBy(
      own,
      ({ metric_name, labels }) => labels[gpuExporterOf(metric_name)!.labels.device],
    ).values(),
  ];
  const since = grid.lastMs - grid.lookbackMs;
  const times = Array.from({ length: (grid.lastMs - grid.firstMs) / grid.stepMs + 1 }, (_, i) => i);
  const of = (rowsOf: readonly StateRow[], quantity: GpuQuantity): Values[] => {
    const metrics = gpuMetrics(quantity);
    return rowsOf.filter(({ metric_name }) => metrics.includes(metric_name)).map((row) => row.grid);
  };
  const across = (quantity: GpuQuantity, reduce: (values: Values) => number | null): Values => {
    const grids = of(own, quantity);
    return times.map((i) => reduce(grids.map((values) => values[i] ?? null)));
  };
  const memory = gpus.map((gpu) => ({
    used: of(gpu, "memoryUsed")[0] ?? [],
    free: of(gpu, "memoryFree")[0] ?? [],
  }));
  const fullest = (i: number): number | null =>
    largest(
      memory.map(({ used, free }) => {
        const [full, rest] = [used[i] ?? null, free[i] ?? null];
        return full === null || rest === null ? null : percent({ used: full, total: full + rest });
      }),
    );
  return {
    count: gpus.filter((gpu) => gpu.some(({ newestMs }) => newestMs > since)).length,
    utilizationAverage: across("utilization", mean),
    utilizationMax: across("utilization", largest),
    memoryUsed: across("memoryUsed", total),
    memoryFree: across("memoryFree", total),
    memoryPercentMax: times.map(fullest),
    power: across("power", total),
  };
}

function total(values: Values): number | null {
  const present = values.filter((value) => value !== null);
  return present.length === 0 ? null : present.reduce((sum, value) => sum + value, 0);
}
