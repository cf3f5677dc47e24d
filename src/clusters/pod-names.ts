import { SHARDS_MAX } from "./cluster.ts";

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

/** The name of a shard's StatefulSet. */
export function shardName(base: string, number: number): string {
  return number === 0 ? base : `${base}-shard-${number}`;
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
  return { base, numbers: all, strangers: pods.filter((pod) => !isPodOf(base, pod)) };
}

/** Is it a Pod of this Prometheus, with a number below SHARDS_MAX? */
export function isPodOf(base: string, pod: string): boolean {
  const name = parseOperatorName(pod);
  return name.base === base && name.shard < SHARDS_MAX;
}
