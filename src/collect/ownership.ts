import type { BridgeError } from "#errors/error.ts";
import type { ReplicaReport } from "#lib/replica-report.ts";

/** A cluster that this replica may collect and commit now. */
export interface ClusterLease {
  /** Each record of the cluster that is written has it: a former owner's is lower. */
  epoch: number;
  /** Aborted with lease_lost. */
  signal: AbortSignal;
}

/** All replicas, as this one sees them. */
export interface Fleet {
  /** Of this replica. */
  readonly name: string;
  replicas(): ReplicaReport[];
  /** The owner of each of the clusters; null: no live replica. Throws state_unavailable. */
  owners(clusterIds: readonly string[]): Promise<ReadonlyMap<string, string | null>>;
}

/** Which clusters are this replica's. */
export interface Ownership {
  /** The leases of those of the clusters that this replica owns now. Throws state_*, replica_name_taken. */
  claim(clusterIds: readonly string[]): Promise<ReadonlyMap<string, ClusterLease>>;
  /** The cluster's collection has ended, and writes nothing any more. `epochSeen`: of a record that ended it. Never throws. */
  ended(clusterId: string, epochSeen?: number): Promise<void>;
  /** Of a cluster that is being deleted: resolves when no replica works on it any more, and none can begin. Throws state_*. */
  close(clusterId: string): Promise<void>;
  /** Of a cluster whose records are deleted. Throws state_*. */
  remove(clusterId: string): Promise<void>;
}

/** Did another replica take the cluster over? Then its own records say how it fares. */
export function isLeaseLost(error: Pick<BridgeError, "code"> | null | undefined): boolean {
  return error?.code === "lease_lost";
}
