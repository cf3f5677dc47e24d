import type { GpuQuantity } from "#query/gpu-exporters.ts";
import { gpuMetrics, gpuQuantityOf } from "#query/gpu-metrics.ts";
import type { GpuGridRow } from "./gpu-grid-rows.ts";
import { busiest, countUses, gpuUseOf, type GpuUse, type GpuUseCounts } from "./gpu-use.ts";
import { largest, mean, percent } from "./node-values.ts";
import type { StateGrid, Values } from "./rows.ts";
import { chooseSource } from "./sources.ts";

/** The fields of a summary about GPUs. GB are 2^30 bytes; null where nothing is known. */
export interface GpuNumbers {
  /** Devices: a partitioned GPU and its parts are one. */
  gpu_count: number | null;
  gpu_uses: GpuUseCounts | null;
  avg_gpu_utilization_percent: number | null;
  max_gpu_utilization_percent: number | null;
  total_gpu_memory_gb: number | null;
  used_gpu_memory_gb: number | null;
  avg_gpu_memory_usage_percent: number | null;
  max_gpu_memory_usage_percent: number | null;
  gpu_power_watts: number | null;
  avg_gpu_power_watts: number | null;
}

export const NO_GPUS: GpuNumbers = {
  gpu_count: null,
  gpu_uses: null,
  avg_gpu_utilization_percent: null,
  max_gpu_utilization_percent: null,
  total_gpu_memory_gb: null,
  used_gpu_memory_gb: null,
  avg_gpu_memory_usage_percent: null,
  max_gpu_memory_usage_percent: null,
  gpu_power_watts: null,
  avg_gpu_power_watts: null,
};

const MIB_PER_GIB = 1024;

/** `none`: the number of GPUs where no GPU has a sample. */
export function gpuNumbers(rows: readonly GpuGridRow[], grid: StateGrid, none: 0 | null): GpuNumbers {
  if (rows.length === 0) return { ...NO_GPUS, gpu_count: none };
  const sinceMs = grid.lastMs - grid.lookbackMs;
  const gpus = [...Map.groupBy(rows, ({ device }) => device).values()].map((own) => toGpuGrid(own, grid));
  const times = Array.from({ length: (grid.lastMs - grid.firstMs) / grid.stepMs + 1 }, (_, i) => i);
  const at = (i: number, of: keyof GpuGrid["values"]): Values =>
    gpus.map(({ values }) => values[of][i] ?? null);
  const memory = (i: number) => {
    const known = gpus.map(({ values }) => ({
      used: values.used[i] ?? null,
      total: values.total[i] ?? null,
    }));
    return known.flatMap(({ used, total }) => (used === null || total === null ? [] : [{ used, total }]));
  };
  const last = times.length - 1;
  const present = gpus.filter(({ newestMs }) => newestMs > sinceMs);
  return {
    gpu_count: present.length,
    gpu_uses: countUses(present.map(({ use }) => use)),
    avg_gpu_utilization_percent: mean(times.map((i) => mean(at(i, "utilization")))),
    max_gpu_utilization_percent: largest(times.map((i) => largest(at(i, "utilization")))),
    total_gpu_memory_gb: inGib(sumOf(at(last, "total"))),
    used_gpu_memory_gb: inGib(sumOf(at(last, "used"))),
    avg_gpu_memory_usage_percent: mean(
      times.map((i) => {
        const [used, total] = [
          sumOf(memory(i).map((each) => each.used)),
          sumOf(memory(i).map((each) => each.total)),
        ];
        return used === null || total === null ? null : percent({ used, total });
      }),
    ),
    max_gpu_memory_usage_percent: largest(times.flatMap((i) => memory(i).map(percent))),
    gpu_power_watts: sumOf(at(last, "power")),
    avg_gpu_power_watts: mean(times.map((i) => sumOf(at(i, "power")))),
  };
}

/** One GPU at the times of a grid. */
interface GpuGrid {
  /** %, MiB, MiB, W. */
  values: Record<"utilization" | "used" | "total" | "power", Values>;
  /** Of what has not ended. */
  newestMs: number;
  use: GpuUse | null;
}

/**
 * The GPU's own numbers; without them, of its parts (MIG): the mean utilization, the sum of memory, and the largest power, because each part repeats the GPU's.
 */
function toGpuGrid(rows: readonly GpuGridRow[], grid: StateGrid): GpuGrid {
  const times = Array.from({ length: (grid.lastMs - grid.firstMs) / grid.stepMs + 1 }, (_, i) => i);
  const isWhole = rows.every(({ part }) => part === "");
  const parts = [...Map.groupBy(rows, ({ part }) => part)].map(([part, own]) => ({
    part,
    ...toPartGrid(own, times, isWhole),
  }));
  const own = parts.find(({ part }) => part === "");
  const split = parts.filter(({ part }) => part !== "");
  const of = (name: keyof GpuGrid["values"], merge: (values: Values) => number | null): Values =>
    times.map((i) => own?.values[name][i] ?? merge(split.map(({ values }) => values[name][i] ?? null)));
  return {
    values: {
      utilization: of("utilization", mean),
      used: of("used", sumOf),
      total: of("total", sumOf),
      power: of("power", largest),
    },
    newestMs: Math.max(...rows.map(({ newestMs, isEnded }) => (isEnded ? -Infinity : newestMs))),
    use: busiest(parts.map(({ use }) => use)),
  };
}

function toPartGrid(rows: readonly GpuGridRow[], times: readonly number[], isWhole: boolean) {
  const metrics = Map.groupBy(rows, ({ metric }) => metric);
  const chosen = new Map(
    [...metrics].map(([metric, own]) => [
      metric,
      chooseSource(own.map(({ source, grid, ...rest }) => ({ ...rest, source, parts: [grid] }))),
    ]),
  );
  const known = (quantity: GpuQuantity): string[] =>
    gpuMetrics(quantity).filter(
      (name) => chosen.has(name) && (isWhole || gpuQuantityOf(name)!.metric.unpartitioned !== true),
    );
  const factorOf = (name: string): number => gpuQuantityOf(name)!.metric.factor ?? 1;
  const at = (quantity: GpuQuantity, i: number): number | null => {
    for (const name of known(quantity)) {
      const value = chosen.get(name)!.parts[0]![i] ?? null;
      if (value !== null) return value * factorOf(name);
    }
    return null;
  };
  const total = (i: number): number | null => {
    const [used, free] = [at("memoryUsed", i), at("memoryFree", i)];
    return used === null || free === null ? at("memoryTotal", i) : used + free;
  };
  const last = times.length - 1;
  const current = known("utilization").find((name) => (chosen.get(name)!.parts[0]![last] ?? null) !== null);
  const best = current === undefined ? undefined : chosen.get(current)!.best;
  const scaled = (value: number | undefined): number | undefined =>
    value === undefined ? undefined : value * factorOf(current!);
  return {
    values: {
      utilization: times.map((i) => at("utilization", i)),
      used: times.map((i) => at("memoryUsed", i)),
      total: times.map(total),
      power: times.map((i) => at("power", i)),
    },
    use: gpuUseOf({
      isHeld: rows.some(({ isHeld }) => isHeld),
      heldLong: rows.some(({ isHeld, heldLong }) => isHeld && heldLong),
      utilization: at("utilization", last),
      peak: scaled(best?.peak),
      before: scaled(best?.before),
      memoryUsed: at("memoryUsed", last),
      memoryTotal: total(last),
    }),
  };
}

function inGib(mib: number | null): number | null {
  return mib === null ? null : mib / MIB_PER_GIB;
}

/** null: there is nothing to add. */
function sumOf(values: Values): number | null {
  const present = values.filter((value) => value !== null);
  return present.length === 0 ? null : present.reduce((sum, value) => sum + value, 0);
}
