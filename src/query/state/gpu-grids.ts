import { GPU_FREE, GPU_USED, type StateGrid, type StateRow, type Values } from "./rows.ts";
import { largest, mean, percent } from "./node-values.ts";

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

const UTILIZATION = "DCGM_FI_DEV_GPU_UTIL";
const POWER = "DCGM_FI_DEV_POWER_USAGE";

export const GPU_METRICS = [UTILIZATION, GPU_USED, GPU_FREE, POWER];

/**
 * undefined: there is no GPU. The parts of a partitioned GPU (MIG) have memory of their own, which is added up in its row, while each of them repeats the
 * GPU's power.
 */
export function toGpuGrids(rows: readonly StateRow[], grid: StateGrid): GpuGrids | undefined {
  const own = rows.filter(({ metric_name }) => GPU_METRICS.includes(metric_name));
  if (own.length === 0) return undefined;
  const gpus = [...Map.groupBy(own, ({ labels }) => labels["UUID"]).values()];
  const since = grid.lastMs - grid.lookbackMs;
  const times = Array.from({ length: (grid.lastMs - grid.firstMs) / grid.stepMs + 1 }, (_, i) => i);
  const of = (metric: string): Values[] =>
    own.filter(({ metric_name }) => metric_name === metric).map((row) => row.grid);
  const across = (metric: string, reduce: (values: Values) => number | null): Values => {
    const grids = of(metric);
    return times.map((i) => reduce(grids.map((values) => values[i] ?? null)));
  };
  const memory = gpus.map((gpu) => ({
    used: gpu.find(({ metric_name }) => metric_name === GPU_USED)?.grid ?? [],
    free: gpu.find(({ metric_name }) => metric_name === GPU_FREE)?.grid ?? [],
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
    utilizationAverage: across(UTILIZATION, mean),
    utilizationMax: across(UTILIZATION, largest),
    memoryUsed: across(GPU_USED, total),
    memoryFree: across(GPU_FREE, total),
    memoryPercentMax: times.map(fullest),
    power: across(POWER, total),
  };
}

function total(values: Values): number | null {
  const present = values.filter((value) => value !== null);
  return present.length === 0 ? null : present.reduce((sum, value) => sum + value, 0);
}
