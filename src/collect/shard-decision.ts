import type { Cluster } from "#clusters/cluster.ts";
import type { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { PodConnections } from "./pod-connections.ts";
import type { PodRef } from "./ports.ts";
import type { ClusterProgress } from "./progress.ts";
import type { ShardMembers } from "./sharding.ts";

/** The Pods behind the cluster's Service, as one collection finds them. */
export interface ServicePods {
  /** By name; not empty. */
  ready: readonly PodRef[];
  /** Names. */
  unready: readonly string[];
}

/** A shard and its ready Pods. */
export interface ShardPods {
  /** Undefined where the Pods are replicas: all of them are one. */
  members: ShardMembers | undefined;
  pods: PodRef[];
}

export interface ShardDecision {
  /** One with every Pod where they are replicas. */
  shards: ShardPods[];
  /** The progress of one shard becomes that of another number. */
  move?: { from: number; to: number };
  /** Numbers of shards that are not waited for any more: their records are deleted. */
  dropped: number[];
  warnings: string[];
  /** Why the collection is no success, whatever is read. */
  errors: BridgeError[];
}

export interface DecisionContext {
  deps: { clock: Clock; connections: PodConnections; logger: Logger };
  cluster: Cluster;
  progress: ClusterProgress;
  pods: ServicePods;
  /** Names of all Pods. */
  names: readonly string[];
  /** Name of the Pod that was read last, else of the one that would be read. */
  preferred: string;
  nowMs: number;
  signal: AbortSignal;
  decision: ShardDecision;
}

const NAMES_MAX = 10;

export function list(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_MAX).join(", ");
  return names.length > NAMES_MAX ? `${shown} and ${names.length - NAMES_MAX} more` : shown;
}

export function serviceOf({ prometheus: { namespace, service } }: Cluster): string {
  return `${namespace}/${service}`;
}
