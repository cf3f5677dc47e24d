import { samplesSource } from "#storage/samples-sql.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import { hostOf, NODE_NAME, type NodeAddresses } from "#query/node-addresses.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import { allRows, STATE_ROWS_MAX } from "./sql.ts";
import { toTimestamp } from "#query/range.ts";
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
  /** The Pods that hold it: none when it is free, several when they share it. */
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

const XID = "DCGM_FI_DEV_XID_ERRORS";
const USED = "DCGM_FI_DEV_FB_USED";
const FREE = "DCGM_FI_DEV_FB_FREE";
const UTILIZATION = "DCGM_FI_DEV_GPU_UTIL";
const COPY = "DCGM_FI_DEV_MEM_COPY_UTIL";
const TEMPERATURE = "DCGM_FI_DEV_GPU_TEMP";
const POWER = "DCGM_FI_DEV_POWER_USAGE";
const CLOCK = "DCGM_FI_DEV_SM_CLOCK";

export const GPU_STATE_METRICS = [UTILIZATION, USED, FREE, COPY, TEMPERATURE, POWER, CLOCK, XID];

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
          xid: XID,
          from: Math.min(context.fromMs, sinceMs),
          since: sinceMs,
          as_of: context.asOfMs,
        },
        signal,
      ),
      context.nodeAddresses(),
    ]);
    const gpus = [
      ...Map.groupBy(allRows(rows), ({ labels }) =>
        JSON.stringify([labels["UUID"], labels["GPU_I_ID"]]),
      ).values(),
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
      AND (metric_name = {xid:String} OR time > fromUnixTimestamp64Milli({since:Int64}))`,
  );
  return `SELECT metric_name, argMax(series_labels, (series_labels['${NODE_NAME}'] != '', time)) AS labels,
      argMax(value, time) AS latest, toUnixTimestamp64Milli(max(time)) AS at_ms,
      argMaxIf(value, time, value != 0) AS error, toUnixTimestamp64Milli(maxIf(time, value != 0)) AS error_ms
    FROM (${samples}) GROUP BY metric_name, series_id LIMIT ${STATE_ROWS_MAX}`;
}

/** From all rows of one GPU: each Pod that held it is a series of its own, and the newest counts. */
function toGpu(rows: readonly Row[], sinceMs: number, addresses: NodeAddresses): FoundGpu {
  const newestMs = Math.max(...rows.map((row) => Number(row.at_ms)));
  const newest = rows.filter((row) => Number(row.at_ms) === newestMs);
  const { labels } = newest[0]!;
  const value = (metric: string): number | null =>
    newestOf(rows.filter((row) => row.metric_name === metric && Number(row.at_ms) > sinceMs))?.latest ?? null;
  const used = value(USED);
  const free = value(FREE);
  const errors = rows.filter((row) => row.metric_name === XID && row.error !== 0);
  const holders = newest
    .map((row) => toHolder(row.labels))
    .filter(({ pod, container }) => pod !== "" && !container.includes("dcgm-exporter"));
  const state = {
    uuid: labels["UUID"] ?? "",
    gpu: labels["gpu"] ?? "",
    mig_instance: labels["GPU_I_ID"] || null,
    node:
      labels["node"] ||
      labels["Hostname"] ||
      labels[NODE_NAME] ||
      addresses.nodeOf(hostOf(labels["instance"] ?? ""), newestMs) ||
      labels["instance"] ||
      "",
    model: labels["modelName"] ?? "",
    pods: [...new Map(holders.map((holder) => [JSON.stringify(holder), holder])).values()],
    utilization_percent: value(UTILIZATION),
    memory_used_mib: used,
    memory_total_mib: used === null || free === null ? null : used + free,
    memory_copy_utilization_percent: value(COPY),
    temperature_celsius: value(TEMPERATURE),
    power_watts: value(POWER),
    sm_clock_mhz: value(CLOCK),
    xid_error:
      errors.reduce<Row | undefined>(
        (last, row) => (last === undefined || Number(row.error_ms) > Number(last.error_ms) ? row : last),
        undefined,
      )?.error ?? null,
    last_sample: toTimestamp(newestMs),
  };
  return { present: newestMs > sinceMs, state };
}

/** As `podLabel`. */
function toHolder(labels: Row["labels"]): GpuState["pods"][number] {
  const prefix = labels["exported_pod"] ? "exported_" : "";
  const of = (name: string): string => labels[`${prefix}${name}`] ?? "";
  return { namespace: of("namespace"), pod: of("pod"), container: of("container") };
}

function newestOf(rows: readonly Row[]): Row | undefined {
  return rows.reduce<Row | undefined>(
    (last, row) => (last === undefined || Number(row.at_ms) > Number(last.at_ms) ? row : last),
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
