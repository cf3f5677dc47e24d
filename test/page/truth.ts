import type { ClusterWorld } from "#simulator/world.ts";
import { evaluateReference, keyOfLabels, type ReferenceRequest } from "../helpers/promql-reference.ts";

// What a simulated cluster's own samples say, computed without the program: from the simulator's functions, by the formulas of docs/querying.md.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const WINDOW = 15 * MINUTE;
const LOOKBACK = 5 * MINUTE;
/** One GPU's samples further apart than this are a gap. */
const GAP = 5 * MINUTE;

interface TrueSeries {
  labels: Record<string, string>;
  samples: (readonly [ms: number, value: number])[];
}

/** The samples of a metric in (fromMs, toMs]. */
function samplesOf(world: ClusterWorld, metric: string, fromMs: number, toMs: number): TrueSeries[] {
  return world.expected({ fromMs, toMs, metric }).map(({ labels, timestamps, values }) => ({
    labels: Object.fromEntries(labels),
    samples: timestamps.map((ms, i) => [ms, values[i]!] as const),
  }));
}

/** The newest value of each series at a time. */
function newest(world: ClusterWorld, metric: string, atMs: number) {
  return samplesOf(world, metric, atMs - LOOKBACK, atMs).map(({ labels, samples }) => {
    const [ms, value] = samples.at(-1)!;
    return { labels, ms, value };
  });
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** A metric over time as Prometheus evaluates it, without labels. */
export function overTime(
  world: ClusterWorld,
  metric: string,
  request: Omit<ReferenceRequest, "groupBy">,
  keep: (labels: Record<string, string>) => boolean = () => true,
): ReadonlyMap<number, number> {
  const series = samplesOf(world, metric, request.firstMs - request.windowMs, request.lastMs);
  const points = evaluateReference(
    series.filter(({ labels }) => keep(labels)),
    { ...request, groupBy: [] },
  );
  return points.get(keyOfLabels({})) ?? new Map();
}

/** The mean of the nodes' CPU usage, %; they have as many CPUs each. */
export function cpuPercent(world: ClusterWorld, atMs: number): number {
  const request = { aggregation: "rate", counter: true, firstMs: atMs, lastMs: atMs, stepMs: 1 };
  const usages = world.layout.nodes.map(({ address }) => {
    const rate = (modes: RegExp): number =>
      overTime(
        world,
        "node_cpu_seconds_total",
        { ...request, windowMs: WINDOW },
        ({ instance, mode }) => instance === `${address}:9100` && modes.test(mode ?? ""),
      ).get(atMs)!;
    return 100 * (1 - rate(/^idle$/) / rate(/./));
  });
  return total(usages) / usages.length;
}

/** % of the memory of all nodes together. */
export function memoryPercent(world: ClusterWorld, atMs: number): number {
  const sum = (metric: string): number => total(newest(world, metric, atMs).map(({ value }) => value));
  return 100 * (1 - sum("node_memory_MemAvailable_bytes") / sum("node_memory_MemTotal_bytes"));
}

export function readyNodes(world: ClusterWorld, atMs: number): { ready: number; nodes: number } {
  const ready = newest(world, "kube_node_status_condition", atMs).filter(
    ({ labels, value }) => labels["condition"] === "Ready" && labels["status"] === "true" && value === 1,
  );
  return { ready: ready.length, nodes: newest(world, "kube_node_info", atMs).length };
}

interface TrueGpu {
  uuid: string;
  node: string;
  gpu: string;
  namespace: string | undefined;
  pod: string | undefined;
  /** Held by the same Pod for 15 minutes with memory in use, and below 1 % all the time. */
  isIdleHeld: boolean;
  celsius: number;
}

export function gpusOf(world: ClusterWorld, atMs: number): TrueGpu[] {
  const byGpu = Map.groupBy(
    newest(world, "DCGM_FI_PROF_SM_ACTIVE", atMs),
    ({ labels }) => labels["UUID"] ?? "",
  );
  const window = samplesOf(world, "DCGM_FI_PROF_SM_ACTIVE", atMs - WINDOW - LOOKBACK, atMs);
  const valueOf = (metric: string, uuid: string): number =>
    newest(world, metric, atMs)
      .filter(({ labels }) => labels["UUID"] === uuid)
      .toSorted((a, b) => a.ms - b.ms)
      .at(-1)!.value;
  return [...byGpu].map(([uuid, all]) => {
    const { labels } = all.toSorted((a, b) => a.ms - b.ms).at(-1)!;
    const { pod, namespace } = labels;
    const own = window.filter((series) => series.labels["UUID"] === uuid && series.labels["pod"] === pod);
    const samples = own.flatMap((series) => series.samples);
    const isLong = samples.some(([ms]) => ms <= atMs - WINDOW);
    const used = valueOf("DCGM_FI_DEV_FB_USED", uuid);
    const hasMemory = used / (used + valueOf("DCGM_FI_DEV_FB_FREE", uuid)) > 0.01;
    const isIdle = samples.every(([, value]) => value < 0.01);
    return {
      uuid,
      node: labels["Hostname"] ?? "",
      gpu: labels["gpu"] ?? "",
      namespace,
      pod,
      isIdleHeld: pod !== undefined && isLong && hasMemory && isIdle,
      celsius: valueOf("DCGM_FI_DEV_GPU_TEMP", uuid),
    };
  });
}

/** GPU-hours in (fromMs, toMs]: each sample stands for the time to the GPU's next one. */
export function gpuHours(world: ClusterWorld, fromMs: number, toMs: number) {
  const hours = { measured: 0, active: 0, idle: 0 };
  const byGpu = Map.groupBy(
    samplesOf(world, "DCGM_FI_PROF_SM_ACTIVE", fromMs, toMs),
    ({ labels }) => labels["UUID"],
  );
  for (const series of byGpu.values()) {
    const samples = series.flatMap((each) => each.samples).toSorted(([a], [b]) => a - b);
    for (const [i, [ms, value]] of samples.entries()) {
      const next = samples[i + 1]?.[0] ?? ms;
      const length = next - ms > GAP ? 0 : (next - ms) / (60 * MINUTE);
      hours.measured += length;
      if (value >= 0.01) hours.active += length;
      else hours.idle += length;
    }
  }
  return hours;
}
