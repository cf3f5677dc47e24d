import type { LimitedDatabase } from "./limits.ts";
import type { StateGrid, Values } from "./node-grids.ts";

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
const USED = "DCGM_FI_DEV_FB_USED";
const FREE = "DCGM_FI_DEV_FB_FREE";
const POWER = "DCGM_FI_DEV_POWER_USAGE";

export const GPU_METRICS = [UTILIZATION, USED, FREE, POWER];

interface Row {
  count: string;
  utilization_average: Values;
  utilization_max: Values;
  used: Values;
  free: Values;
  memory_percent_max: Values;
  power: Values;
}

/**
 * A GPU is its UUID: the samples of all Pods that held it are one series. The parts of a partitioned GPU (MIG) have memory of their own,
 * while each of them repeats the GPU's power.
 */
export type GpuGridReader = (
  clusterId: string,
  grid: StateGrid,
  signal: AbortSignal | undefined,
) => Promise<GpuGrids | undefined>;

export function createGpuGridReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): GpuGridReader {
  return async (clusterId, grid, signal) => {
    const [row] = await database.query<Row>(
      gpuSql(`${settings.databaseName}.samples_gauge`),
      {
        cluster: clusterId,
        names: GPU_METRICS,
        utilization: UTILIZATION,
        used_name: USED,
        free_name: FREE,
        power_name: POWER,
        first: grid.firstMs,
        last: grid.lastMs,
        step: grid.stepMs / 1000,
        lookback: grid.lookbackMs / 1000,
        points: (grid.lastMs - grid.firstMs) / grid.stepMs + 1,
      },
      signal,
    );
    if (row === undefined) return undefined;
    return {
      count: Number(row.count),
      utilizationAverage: row.utilization_average,
      utilizationMax: row.utilization_max,
      memoryUsed: row.used,
      memoryFree: row.free,
      memoryPercentMax: row.memory_percent_max,
      power: row.power,
    };
  };
}

function gpuSql(samples: string): string {
  // A metric that a GPU does not have must be as long as the others.
  const grid = (reduce: string, name: string): string =>
    `arrayResize(${reduce}ForEachIf(values, metric_name = {${name}:String}), {points:UInt32}, NULL)`;
  return `SELECT sum(present) AS count,
      avgForEach(utilization_grid) AS utilization_average, maxForEach(utilization_grid) AS utilization_max,
      sumForEach(used_grid) AS used, sumForEach(free_grid) AS free, sumForEach(power_grid) AS power,
      maxForEach(arrayMap((u, f) -> 100 * u / nullIf(u + f, 0), used_grid, free_grid)) AS memory_percent_max
    FROM (
      SELECT uuid, ${grid("max", "utilization")} AS utilization_grid, ${grid("max", "power_name")} AS power_grid,
        ${grid("sum", "used_name")} AS used_grid, ${grid("sum", "free_name")} AS free_grid,
        max(newest) > fromUnixTimestamp64Milli({last:Int64}) - toIntervalSecond({lookback:UInt32}) AS present
      FROM (
        SELECT metric_name, labels['UUID'] AS uuid, labels['GPU_I_ID'] AS part, max(time) AS newest,
          timeSeriesResampleToGridWithStaleness(fromUnixTimestamp64Milli({first:Int64}),
            fromUnixTimestamp64Milli({last:Int64}), {step:UInt32}, {lookback:UInt32})(time, value) AS values
        FROM ${samples}
        WHERE metric_name IN {names:Array(String)} AND cluster_id = {cluster:String} AND isFinite(value)
          AND time > fromUnixTimestamp64Milli({first:Int64}) - toIntervalSecond({lookback:UInt32})
          AND time <= fromUnixTimestamp64Milli({last:Int64})
        GROUP BY metric_name, uuid, part
      )
      GROUP BY uuid
    )
    HAVING count() > 0`;
}
