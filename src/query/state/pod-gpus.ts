import type { GpuState } from "./gpus.ts";

/** What the exporters of GPU metrics say of a Pod; null where none says anything. */
export interface PodGpus {
  /** GPUs and parts of GPUs that it holds. */
  gpu_count: number | null;
  /** The mean of them: of its share of the GPU where the exporter tells shares apart, else of the GPU. */
  gpu_utilization_percent: number | null;
}

/** The GPUs that a Pod holds. A partitioned GPU that is reported beside its parts is not one more. */
export function toPodGpus(
  { namespace, pod }: { namespace: string; pod: string },
  gpus: readonly GpuState[],
): PodGpus {
  const holds = (gpu: GpuState) => gpu.pods.find((each) => each.namespace === namespace && each.pod === pod);
  const held = gpus.filter((gpu) => holds(gpu) !== undefined);
  const parted = new Set(held.flatMap(({ uuid, mig_instance }) => (mig_instance === null ? [] : uuid)));
  const own = held.filter(({ uuid, mig_instance }) => mig_instance !== null || !parted.has(uuid));
  const shares = own.flatMap((gpu) => holds(gpu)?.utilization_percent ?? gpu.utilization_percent ?? []);
  return {
    gpu_count: own.length === 0 ? null : own.length,
    gpu_utilization_percent:
      shares.length === 0 ? null : shares.reduce((sum, value) => sum + value, 0) / shares.length,
  };
}
