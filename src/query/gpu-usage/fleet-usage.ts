import { BridgeError } from "#errors/error.ts";
import type { ClusterList } from "#query/cluster-list.ts";
import type { GpuUsage, GpuUsageOf, UsageGroup } from "./gpu-usage.ts";
import type { GpuUsageTotals } from "./totals.ts";

/** What one cluster did with its GPUs. */
interface ClusterUsage {
  cluster_id: string;
  name: string | null;
  as_of: string | null;
  complete: boolean;
  total: GpuUsageTotals;
}

export interface FleetUsageAnswer {
  by: UsageGroup;
  /** Those with GPUs, the most GPU-hours first. */
  clusters: ClusterUsage[];
  /** The most GPU-hours first. */
  usage: (GpuUsageOf & { cluster_id: string })[];
}

/** The use of the GPUs of all clusters that a caller may see. Throws what GpuUsage throws, of the first cluster that it refuses. */
export type FleetUsage = (
  request: { fromMs?: number; toMs?: number; by: UsageGroup; signal?: AbortSignal | undefined },
  sees: (clusterId: string) => boolean,
) => Promise<FleetUsageAnswer>;

export function createFleetUsage(deps: { listClusters: ClusterList; gpuUsage: GpuUsage }): FleetUsage {
  return async (request, sees) => {
    const clusters: ClusterUsage[] = [];
    const usage: FleetUsageAnswer["usage"] = [];
    // One after the other: a statement uses all cores.
    for (const { cluster_id, name } of await deps.listClusters({ sees, signal: request.signal })) {
      const answer = await usageOf(cluster_id, request);
      if (answer === undefined || answer.total.gpus === 0) continue;
      const { as_of, completeness, total } = answer;
      clusters.push({ cluster_id, name, as_of, complete: completeness.complete, total });
      usage.push(...answer.usage.map((of) => ({ cluster_id, ...of })));
    }
    const byHours = (a: number, b: number): number => b - a;
    return {
      by: request.by,
      clusters: clusters.sort((a, b) => byHours(a.total.gpu_hours, b.total.gpu_hours)),
      usage: usage.sort((a, b) => byHours(a.gpu_hours, b.gpu_hours)),
    };
  };

  /** undefined: the cluster's last report was deleted since it was listed. */
  async function usageOf(clusterId: string, request: Parameters<FleetUsage>[0]) {
    try {
      return await deps.gpuUsage({ clusterId, ...request });
    } catch (error) {
      if (error instanceof BridgeError && error.code === "cluster_not_found") return undefined;
      throw error;
    }
  }
}
