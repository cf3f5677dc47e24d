import { expectedMetrics, GPU_SUMMARY_METRICS } from "#query/gpu-metrics.ts";
import { toGpuGridRows } from "./gpu-grid-rows.ts";
import { gpuNumbers, NO_GPUS, type GpuNumbers } from "./gpu-grids.ts";
import { NODE_METRICS, NODE_ROW_METRICS, readNodeGrids, type NodeGrids } from "./node-grids.ts";
import {
  cpuShare,
  deviceShare,
  diskShare,
  largest,
  load,
  mean,
  memoryShare,
  percent,
  sumShares,
  type Share,
} from "./node-values.ts";
import type { StateContext, CreateContext, StateHead, StateRequest, StateWindowAnswer } from "./context.ts";
import { POD_INFO, POD_PHASE, type StateGrid, type StateRow, type StateRowReader } from "./rows.ts";
import { toTimestamp } from "#query/range.ts";
import { chooseMembers } from "./sources.ts";
import type { WindowRules } from "./window.ts";

/**
 * One cluster in numbers; null where nothing is known. `total_`, `used_` and counts are as of `as_of`. `avg_` is the mean over the window's
 * steps of the whole cluster's value; `max_` the largest value that a single node, file system or GPU had at a step. GB are 2^30 bytes.
 */
export interface SummaryAnswer extends StateHead, GpuNumbers {
  window: StateWindowAnswer & { step_seconds: number };
  /**
   * What the `avg_` and `max_` are made of: samples, at steps that end at `as_of`; or hours of the roll-ups (steps of whole hours: over more than 60 hours), at
   * the multiples of the step, where they are the same but for rounding.
   */
  storage: "raw" | "hours";
  node_count: number | null;
  total_cpu_cores: number | null;
  avg_cpu_usage_percent: number | null;
  max_cpu_usage_percent: number | null;
  total_memory_gb: number | null;
  used_memory_gb: number | null;
  avg_memory_usage_percent: number | null;
  max_memory_usage_percent: number | null;
  total_disk_gb: number | null;
  used_disk_gb: number | null;
  avg_disk_usage_percent: number | null;
  max_disk_usage_percent: number | null;
  avg_load_1: number | null;
  avg_load_5: number | null;
  avg_load_15: number | null;
  pod_count: number | null;
  running_pod_count: number | null;
  /** Time of the newest sample of what is measured on nodes, and of the lists of nodes and Pods, by the sources whose values count. */
  node_last_sample: string | null;
  kubernetes_last_sample: string | null;
}

type Numbers = Omit<SummaryAnswer, keyof StateHead | "storage">;

export type Summary = (request: StateRequest) => Promise<SummaryAnswer>;

interface SummaryDeps {
  createContext: CreateContext;
  readRows: StateRowReader;
  /** The same from the roll-ups. */
  readHourRows: StateRowReader;
}

const METRICS = [...NODE_METRICS, POD_INFO, POD_PHASE, ...GPU_SUMMARY_METRICS];
/** Of Pods only their number at the end counts, which hours do not have. */
const ROW_METRICS = [...NODE_ROW_METRICS, POD_INFO, POD_PHASE, ...GPU_SUMMARY_METRICS];
const HOUR_METRICS = [...NODE_ROW_METRICS, ...GPU_SUMMARY_METRICS];
const isOfGpus = new Set(GPU_SUMMARY_METRICS);
const STEPS_SECONDS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200];
const LONGEST_STEP_SECONDS = 86_400;
const POINTS_MAX = 120;
const HOUR_MS = 3_600_000;
const GIB = 2 ** 30;

/** The answer of a cluster without any sample in the window. */
const NOTHING: Numbers = {
  node_count: null,
  total_cpu_cores: null,
  avg_cpu_usage_percent: null,
  max_cpu_usage_percent: null,
  total_memory_gb: null,
  used_memory_gb: null,
  avg_memory_usage_percent: null,
  max_memory_usage_percent: null,
  total_disk_gb: null,
  used_disk_gb: null,
  avg_disk_usage_percent: null,
  max_disk_usage_percent: null,
  avg_load_1: null,
  avg_load_5: null,
  avg_load_15: null,
  pod_count: null,
  running_pod_count: null,
  node_last_sample: null,
  kubernetes_last_sample: null,
  ...NO_GPUS,
};

export function createSummary(
  deps: SummaryDeps,
  settings: { lookbackMs: number; window: WindowRules },
): Summary {
  const { createContext, readRows, readHourRows } = deps;
  const { lookbackMs } = settings;

  const readSamples = async (context: Known, stepMs: number, signal: AbortSignal | undefined) => {
    const grid = toGrid(context.fromMs, context.asOfMs, stepMs, lookbackMs);
    const [rows] = await Promise.all([
      readRows(context.clusterId, grid, ROW_METRICS, signal),
      context.nodeAddresses(),
    ]);
    return await toNumbers(rows, grid, context);
  };

  const readHours = async (context: Known, stepMs: number, signal: AbortSignal | undefined) => {
    const { clusterId, fromMs, asOfMs } = context;
    const steps = toAlignedGrid(fromMs, asOfMs, stepMs);
    const end = toGrid(asOfMs - 1000, asOfMs, 1000, lookbackMs);
    const [hours, samples] = await Promise.all([
      readHourRows(clusterId, steps, HOUR_METRICS, signal),
      readRows(clusterId, end, ROW_METRICS, signal),
      context.nodeAddresses(),
    ]);
    const overSteps = Object.entries(await toNumbers(hours, steps, context)).filter(([name]) =>
      /^(avg|max)_/.test(name),
    );
    return { ...(await toNumbers(samples, end, context)), ...Object.fromEntries(overSteps) };
  };

  return async (request) => {
    const context = await createContext(request, METRICS, settings.window);
    const { fromMs, asOfMs } = context;
    const { signal } = request;
    const rangeMs = (asOfMs ?? context.toMs) - fromMs;
    const stepMs = stepFor(rangeMs);
    const ofHours = stepMs % HOUR_MS === 0;
    const read = ofHours ? readHours : readSamples;
    const [head, numbers] = await Promise.all([
      context.head(expectedMetrics(METRICS, (metric) => context.collects(metric))),
      asOfMs === null ? NOTHING : read({ ...context, asOfMs }, stepMs, signal),
    ]);
    return {
      ...head,
      window: { ...head.window, step_seconds: stepMs / 1000 },
      storage: ofHours ? "hours" : "raw",
      ...numbers,
    };
  };
}

type Known = StateContext & { asOfMs: number };

async function toNumbers(all: readonly StateRow[], grid: StateGrid, context: StateContext) {
  const rows = all.filter(({ metric_name }) => !isOfGpus.has(metric_name));
  const nodes = await readNodeGrids(rows, context);
  const { newestMs, ...pods } = podNumbers(rows, grid);
  return {
    ...nodeNumbers(nodes, grid),
    ...pods,
    node_last_sample: toTime(nodes.map((node) => node.newestMs)),
    kubernetes_last_sample: toTime([newestMs, ...nodes.map(({ listedMs }) => listedMs)]),
    ...gpuNumbers(
      toGpuGridRows(all),
      grid,
      GPU_SUMMARY_METRICS.some((metric) => context.collects(metric)) ? 0 : null,
    ),
  };
}

/** The newest of times, of which 0 is none. */
function toTime(times: readonly number[]): string | null {
  const newestMs = times.reduce((a, b) => Math.max(a, b), 0);
  return newestMs === 0 ? null : toTimestamp(newestMs);
}

/** Steps of a minute at least, at most 120 of them. */
function stepFor(rangeMs: number): number {
  const fits = (seconds: number): boolean => rangeMs / 1000 / seconds <= POINTS_MAX;
  return (STEPS_SECONDS.find(fits) ?? LONGEST_STEP_SECONDS) * 1000;
}

/** The steps end at `asOfMs`; the first is after `fromMs`. */
function toGrid(fromMs: number, asOfMs: number, stepMs: number, lookbackMs: number): StateGrid {
  const steps = Math.ceil((asOfMs - fromMs) / stepMs) - 1;
  const windowMs = Math.max(stepMs, lookbackMs);
  return {
    firstMs: asOfMs - steps * stepMs,
    lastMs: asOfMs,
    stepMs,
    lookbackMs: windowMs,
    rateWindowMs: windowMs,
  };
}

/** The multiples of the step in (fromMs, asOfMs], each with the step before it. */
function toAlignedGrid(fromMs: number, asOfMs: number, stepMs: number): StateGrid {
  return {
    firstMs: (Math.floor(fromMs / stepMs) + 1) * stepMs,
    lastMs: Math.floor(asOfMs / stepMs) * stepMs,
    stepMs,
    lookbackMs: stepMs,
    rateWindowMs: stepMs,
  };
}

function nodeNumbers(nodes: readonly NodeGrids[], grid: StateGrid) {
  const times = Array.from({ length: (grid.lastMs - grid.firstMs) / grid.stepMs + 1 }, (_, i) => i);
  const last = times.length - 1;
  const all = (share: (node: NodeGrids, i: number) => Share | null) => ({
    now: sumShares(nodes.map((node) => share(node, last))),
    average: mean(times.map((i) => percent(sumShares(nodes.map((node) => share(node, i)))))),
    most: largest(times.flatMap((i) => nodes.map((node) => percent(share(node, i))))),
  });
  const cpu = all(cpuShare);
  const memory = all(memoryShare);
  const disk = all(diskShare);
  const devices = nodes.flatMap((node) => node.devices);
  const averageLoad = (minutes: 1 | 5 | 15): number | null =>
    mean(times.map((i) => mean(nodes.map((node) => load(node, minutes, i)))));
  const cores = nodes.reduce((sum, node) => sum + node.cpus, 0);
  return {
    node_count: countNodes(nodes, last),
    total_cpu_cores: nodes.some((node) => node.cpuAll.length > 0) ? cores : null,
    avg_cpu_usage_percent: cpu.average,
    max_cpu_usage_percent: cpu.most,
    total_memory_gb: inGib(memory.now?.total),
    used_memory_gb: inGib(memory.now?.used),
    avg_memory_usage_percent: memory.average,
    max_memory_usage_percent: memory.most,
    total_disk_gb: inGib(disk.now?.total),
    used_disk_gb: inGib(disk.now?.used),
    avg_disk_usage_percent: disk.average,
    max_disk_usage_percent: largest(
      times.flatMap((i) => devices.map((device) => percent(deviceShare(device, i)))),
    ),
    avg_load_1: averageLoad(1),
    avg_load_5: averageLoad(5),
    avg_load_15: averageLoad(15),
  };
}

/** Kubernetes' own list counts; without it, the machines that are measured. */
function countNodes(nodes: readonly NodeGrids[], last: number): number | null {
  if (nodes.length === 0) return null;
  const isListed = nodes.some((node) => node.listed.length > 0);
  return nodes.filter((node) =>
    isListed
      ? (node.listed[last] ?? null) !== null
      : node.cpus > 0 || memoryShare(node, last) !== null || load(node, 1, last) !== null,
  ).length;
}

function inGib(bytes: number | undefined): number | null {
  return bytes === undefined ? null : bytes / GIB;
}

/** Pods at the end of the grid. */
function podNumbers(rows: readonly StateRow[], { lastMs }: StateGrid) {
  const of = (metric: string) =>
    chooseMembers(
      rows.filter(({ metric_name }) => metric_name === metric),
      ["namespace", "pod"],
      lastMs,
    );
  const [phases, infos] = [of(POD_PHASE), of(POD_INFO)];
  // Every cluster has Pods: zero means that they are not collected.
  const known = infos.length || phases.length;
  return {
    newestMs: [...phases, ...infos].reduce((newest, member) => Math.max(newest, member.newestMs), 0),
    pod_count: known === 0 ? null : known,
    running_pod_count:
      phases.length === 0 ? null : phases.filter(({ own }) => own["phase"] === "Running").length,
  };
}
