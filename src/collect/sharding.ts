import { SHARDS_MAX } from "#clusters/cluster.ts";

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

interface OperatorName {
  /** Name of shard 0's StatefulSet. */
  base: string;
  shard: number;
}

/** Prometheus operator's StatefulSets: prometheus-NAME for shard 0, prometheus-NAME-shard-1 and so on; a Pod's name ends with its ordinal. */
const OPERATOR_NAME = /^(.+?)(?:-shard-(0|[1-9]\d{0,3}))?-\d+$/;
/** A Deployment's Pod: two suffixes from the letters and digits that Kubernetes makes names of. */
const DEPLOYMENT_NAME = /^(.+)-[bcdfghjklmnpqrstvwxz2456789]{5,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$/;

function parseOperatorName(pod: string): OperatorName {
  const [, base, shard = "0"] = OPERATOR_NAME.exec(pod) ?? [];
  return { base: base ?? pod, shard: Number(shard) };
}

/** A Pod's name that outlives it: a StatefulSet's Pod keeps its name, a Deployment's has its Deployment's. */
export function stableName(pod: string): string {
  return DEPLOYMENT_NAME.exec(pod)?.[1] ?? pod;
}

export function operatorShardOf(pod: string): number {
  return parseOperatorName(pod).shard;
}

/** Shards by the names of the Pods. */
export interface NamedShards {
  base: string;
  /** Ascending, below SHARDS_MAX. */
  numbers: number[];
  /** Pods of another Prometheus, or with a number beyond the limit. */
  strangers: string[];
}

/**
 * The shards that Pod names show; undefined when no Prometheus has Pods of two shards, or of one that is not the first if `isExpected`.
 * With several Prometheus behind the Service, that of `preferred` counts, a Pod's name.
 */
export function shardsByName(
  pods: readonly string[],
  preferred: string | undefined,
  isExpected = false,
): NamedShards | undefined {
  const bases = Map.groupBy(pods, (pod) => parseOperatorName(pod).base);
  const numbersOf = (base: string): number[] =>
    [...new Set(bases.get(base)?.map(operatorShardOf))].sort((a, b) => a - b);
  const isSharded = (base: string): boolean => {
    const numbers = numbersOf(base);
    return numbers.length > 1 || (isExpected && numbers.some((number) => number > 0));
  };
  const wanted = preferred === undefined ? undefined : parseOperatorName(preferred).base;
  const base = [...bases.keys()].sort((a, b) => Number(b === wanted) - Number(a === wanted)).find(isSharded);
  if (base === undefined) return undefined;
  const numbers = numbersOf(base).filter((number) => number < SHARDS_MAX);
  // A StatefulSet exists for each number below the highest, whether it has Pods or not.
  const all = Array.from({ length: numbers.at(-1)! + 1 }, (_, number) => number);
  return { base, numbers: all, strangers: pods.filter((pod) => !isOf(base, pod)) };
}

function isOf(base: string, pod: string): boolean {
  const name = parseOperatorName(pod);
  return name.base === base && name.shard < SHARDS_MAX;
}

export function namedMembers(base: string, number: number): ShardMembers {
  return { number, name: number === 0 ? base : `${base}-shard-${number}`, members: [] };
}

/** Does the Pod belong to the shard? */
export function isMember({ by, shards }: Sharding, shard: ShardMembers, pod: string): boolean {
  if (shard.members.length > 0) return shard.members.includes(stableName(pod));
  const base = shards.find(({ number }) => number === 0)?.name;
  return by !== "targets" && base !== undefined && isOf(base, pod) && operatorShardOf(pod) === shard.number;
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

/** Do two of the Pods scrape mostly the same targets? Those can't be shards, whatever their names say. */
export function areAlike(pods: readonly PodTargets[]): [string, string] | undefined {
  for (const [i, a] of pods.entries()) {
    for (const b of pods.slice(i + 1)) {
      if (!a.targets || !b.targets) continue;
      const common = a.targets.intersection(b.targets).size;
      if (common * 2 > Math.min(a.targets.size, b.targets.size)) return [a.pod, b.pod];
    }
  }
  return undefined;
}
