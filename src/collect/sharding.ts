import { isPodOf, operatorShardOf, shardName, stableName } from "#clusters/pod-names.ts";

/** How the Pods behind a Service are read. Remembered in the progress: it stays the same while Pods come, restart and go. */
export interface Sharding {
  /** namespace/name of the Service. */
  service: string;
  /** replicas: all Pods scrape the same targets, and one of them is read. shards: each shard is read. */
  decision: "replicas" | "shards";
  by: "pod_names" | "targets" | "setting";
  /** Why, as a sentence for the status. */
  reason: string;
  /** By the bridge's clock, ms. */
  decided_at: number;
  /** Empty for replicas. */
  shards: ShardMembers[];
  /** The last comparison of the Pods' targets. */
  look?: TargetLook;
}

export interface ShardMembers {
  /** 0: its progress is in the cluster's own record. Prometheus operator's numbers where it named the Pods. */
  number: number;
  /** For errors and the status. */
  name: string;
  /** `stableName` of its Pods; empty where the Pods' names have the number. */
  members: string[];
  /** Its last collection failed: it is read after the others. */
  failed?: true;
  /** The Service has had no Pod of it since this time, by the bridge's clock. */
  gone_since?: number;
}

interface TargetLook {
  /** By the bridge's clock, ms. */
  at: number;
  /** `stableName` of the Pods whose targets are known. */
  pods: string[];
  /** Groups of Pods without a common target, seen once. */
  disjoint?: string[][];
}

/** A Pod and the targets that it scrapes; undefined when it could not be asked or has none. */
export interface PodTargets {
  pod: string;
  targets: ReadonlySet<string> | undefined;
}

export function namedMembers(base: string, number: number): ShardMembers {
  return { number, name: shardName(base, number), members: [] };
}

/** Does the Pod belong to the shard? */
export function isMember({ by, shards }: Sharding, shard: ShardMembers, pod: string): boolean {
  if (shard.members.length > 0) return shard.members.includes(stableName(pod));
  const base = shards.find(({ number }) => number === 0)?.name;
  return (
    by !== "targets" && base !== undefined && isPodOf(base, pod) && operatorShardOf(pod) === shard.number
  );
}

/** Pods with a common target are of one group, and so are Pods of one Deployment. Pods without known targets are in none. */
export function groupByTargets(pods: readonly PodTargets[]): string[][] {
  let groups: { pods: Set<string>; targets: Set<string> }[] = [];
  for (const { pod, targets } of pods) {
    if (!targets) continue;
    const name = stableName(pod);
    const joined = { pods: new Set([name]), targets: new Set(targets) };
    const isCommon = (group: typeof joined): boolean =>
      group.pods.has(name) || !group.targets.isDisjointFrom(targets);
    const common = groups.filter(isCommon);
    for (const group of common) {
      joined.pods = joined.pods.union(group.pods);
      joined.targets = joined.targets.union(group.targets);
    }
    groups = [...groups.filter((group) => !common.includes(group)), joined];
  }
  return groups.map((group) => [...group.pods].sort()).sort((a, b) => (a[0]! < b[0]! ? -1 : 1));
}

/** Two of the Pods that scrape mostly the same targets. Those can't be shards, whatever their names say. */
export function findAlike(pods: readonly PodTargets[]): [string, string] | undefined {
  return findPair(pods, (common, smaller) => common * 2 > smaller);
}

/** Two of the Pods that have less than half of their targets in common. Those can't be replicas. */
export function findDifferent(pods: readonly PodTargets[]): [string, string] | undefined {
  return findPair(pods, (common, _smaller, larger) => common * 2 < larger);
}

function findPair(
  pods: readonly PodTargets[],
  isMeant: (common: number, smaller: number, larger: number) => boolean,
): [string, string] | undefined {
  for (const [i, a] of pods.entries()) {
    for (const b of pods.slice(i + 1)) {
      if (!a.targets || !b.targets) continue;
      const common = a.targets.intersection(b.targets).size;
      const [smaller, larger] = [a.targets.size, b.targets.size].sort((x, y) => x - y) as [number, number];
      if (isMeant(common, smaller, larger)) return [a.pod, b.pod];
    }
  }
  return undefined;
}
