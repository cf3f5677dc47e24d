import { expectedMetrics, GPU_STATE_METRICS } from "#query/gpu-metrics.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import type { XidError } from "./gpu-events.ts";
import { busiest, countUses, type GpuUse, type GpuUseCounts } from "./gpu-use.ts";
import type { WindowRules } from "./window.ts";

/** A container that uses a GPU. The numbers are of its share of the GPU; null where the exporter does not tell shares apart. */
export interface GpuPod {
  namespace: string;
  pod: string;
  /** "" where the exporter does not say it. */
  container: string;
  utilization_percent: number | null;
  memory_used_mib: number | null;
  memory_limit_mib: number | null;
}

/** A GPU, or a part of one (MIG), as of the answer's `as_of`; null where nothing is known. */
export interface GpuState {
  uuid: string;
  /** The GPU's number on its node. */
  gpu: string;
  /** Of a partitioned GPU's part, else null. */
  mig_instance: string | null;
  /** Of a part: its profile, as "3g.20gb". */
  mig_profile: string | null;
  node: string;
  model: string;
  /** The Pods that use it: none when it is free, several when they share it. */
  pods: GpuPod[];
  /** null: neither its utilization nor its memory is measured. */
  use: GpuUse | null;
  /** From the first of SM_ACTIVE, GR_ENGINE_ACTIVE, GPU_UTIL that has a value. */
  utilization_percent: number | null;
  /** The metric of `utilization_percent`. */
  utilization_source: string | null;
  tensor_active_percent: number | null;
  memory_active_percent: number | null;
  memory_used_mib: number | null;
  /** Used and free; what the driver reserves is in neither. */
  memory_total_mib: number | null;
  memory_reserved_mib: number | null;
  memory_copy_utilization_percent: number | null;
  temperature_celsius: number | null;
  memory_temperature_celsius: number | null;
  /** From here on the GPU lowers its clock. */
  slowdown_temperature_celsius: number | null;
  power_watts: number | null;
  sm_clock_mhz: number | null;
  /** Why its clock is lower; empty: it is not. */
  clock_reasons: string[] | null;
  /** Did it lower its clock because of its temperature in the window? */
  thermal_violation: boolean | null;
  pcie_transmit_bytes_per_second: number | null;
  pcie_receive_bytes_per_second: number | null;
  /** The last XID error in the window that is not 0; null: none. */
  xid_error: number | null;
  xid: XidError | null;
  /** Since the driver was loaded, and in the window. */
  ecc_uncorrected_errors: number | null;
  ecc_uncorrected_errors_new: number | null;
  /** Rows of memory that were replaced because of uncorrectable errors, and in the window. */
  remapped_rows: number | null;
  remapped_rows_new: number | null;
  row_remap_failure: boolean | null;
  last_sample: string;
  /** From the newest sample to `as_of`. */
  age_seconds: number;
}

export interface GpusAnswer extends StateHead {
  /** Devices: the parts of a partitioned GPU (MIG) are one. */
  gpu_count: number;
  /** Parts of partitioned GPUs. */
  part_count: number;
  /** Of the devices. */
  uses: GpuUseCounts;
  /** GPUs, and parts of them, that unfinished Pods request. null: kube-state-metrics does not say. */
  requested: number | null;
  /** Sorted by node and number. A partitioned GPU may have a row beside those of its parts: it has `mig_instance` null. */
  gpus: GpuState[];
}

export type Gpus = (request: StateRequest) => Promise<GpusAnswer>;

/** A GPU that had a sample in the window; `present` while it still has them. */
export interface FoundGpu {
  present: boolean;
  state: GpuState;
}

/** Finds the GPUs, and where asked for the number of `requested` ones (as GpusAnswer's), else null. */
export type GpuReader = (
  context: StateContext,
  wanted: { withRequests: boolean },
  signal: AbortSignal | undefined,
) => Promise<{ found: FoundGpu[]; requested: number | null }>;

export function createGpus(
  deps: { createContext: CreateContext; readGpus: GpuReader },
  settings: { window: WindowRules },
): Gpus {
  return async (request) => {
    const context = await deps.createContext(request, GPU_STATE_METRICS, settings.window);
    const [head, { found, requested }] = await Promise.all([
      context.head(expectedMetrics(GPU_STATE_METRICS, (metric) => context.collects(metric))),
      deps.readGpus(context, { withRequests: true }, request.signal),
    ]);
    const gpus = found.filter(({ present }) => present).map(({ state }) => state);
    const devices = [...Map.groupBy(gpus, deviceOf).values()];
    return {
      ...head,
      gpu_count: devices.length,
      part_count: gpus.filter(({ mig_instance }) => mig_instance !== null).length,
      uses: countUses(devices.map((rows) => busiest(rows.map(({ use }) => use)))),
      requested,
      gpus,
    };
  };
}

/** A device without a UUID is known by its place. */
function deviceOf({ uuid, node, gpu }: GpuState): string {
  return uuid === "" ? JSON.stringify([node, gpu]) : uuid;
}
