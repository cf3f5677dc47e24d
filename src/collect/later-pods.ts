import { SHARDS_MAX } from "#clusters/cluster.ts";
import { operatorShardOf, shardsByName, stableName, type NamedShards } from "#clusters/pod-names.ts";
import { BridgeError } from "#errors/error.ts";
import { readTargets } from "./pod-targets.ts";
import type { PodRef } from "./ports.ts";
import { list, type DecisionContext } from "./shard-decision.ts";
import { isMember, namedMembers, type PodTargets, type ShardMembers, type Sharding } from "./sharding.ts";

/** Pods that came since: of a known shard, of a new one, or of none. */
export async function updateShards(context: DecisionContext, sharding: Sharding): Promise<void> {
  const { names, pods } = context;
  const base = sharding.shards.find(({ number }) => number === 0)?.name;
  if (sharding.by === "pod_names" && base !== undefined) {
    const named = shardsByName(names, `${base}-0`, true);
    return addNamed(context, sharding, named?.base === base ? named : { base, numbers: [], strangers: [] });
  }
  const strangers = pods.ready.filter(
    ({ name }) => !sharding.shards.some((shard) => isMember(sharding, shard, name)),
  );
  if (strangers.length > 0) await assignStrangers(context, sharding, strangers);
}

/** The shards that the names show, and those that are expected. */
export function addNamed(
  { cluster, decision }: DecisionContext,
  { shards }: Sharding,
  { base, numbers, strangers }: NamedShards,
): void {
  const expected = cluster.prometheus.shards;
  const all = new Set(numbers);
  for (let number = 0; typeof expected === "number" && number < expected; number++) all.add(number);
  for (const number of all) {
    if (!shards.some((shard) => shard.number === number)) shards.push(namedMembers(base, number));
  }
  shards.sort((a, b) => a.number - b.number);
  const beyond = strangers.filter((pod) => operatorShardOf(pod) >= SHARDS_MAX);
  if (beyond.length > 0) decision.errors.push(tooMany(beyond));
  const others = strangers.filter((pod) => !beyond.includes(pod));
  if (others.length > 0) decision.warnings.push(notRead(others));
}

async function assignStrangers(
  context: DecisionContext,
  sharding: Sharding,
  strangers: readonly PodRef[],
): Promise<void> {
  const { deps, pods, nowMs, signal, decision } = context;
  const seen = await readTargets(deps, deps.connections, pods.ready, signal);
  const disjoint: string[][] = [];
  const unread: string[] = [];
  for (const { name } of strangers) {
    const { targets } = seen.find(({ pod }) => pod === name)!;
    const others = sharding.shards.filter((shard) => hasCommon(sharding, shard, seen, targets));
    if (targets && others.length === 1) others[0]!.members.push(stableName(name));
    else if (targets && others.length === 0) disjoint.push([stableName(name)]);
    else unread.push(name);
  }
  if (unread.length > 0) decision.warnings.push(notRead(unread));
  const isSeenTwice = JSON.stringify(sharding.look?.disjoint) === JSON.stringify(disjoint);
  if (disjoint.length > 0 && isSeenTwice) {
    for (const members of disjoint) {
      const number = Math.max(...sharding.shards.map((shard) => shard.number)) + 1;
      sharding.shards.push({ number, name: members[0]!, members });
    }
    delete sharding.look;
    return;
  }
  sharding.look = { at: nowMs, pods: [], disjoint };
  if (disjoint.length === 0) return;
  decision.warnings.push(
    `the Prometheus Pods ${list(disjoint.flat())} have no target in common with the known shards: if the next collection finds the same, each is read as a shard`,
  );
}

function hasCommon(
  sharding: Sharding,
  shard: ShardMembers,
  seen: readonly PodTargets[],
  targets: ReadonlySet<string> | undefined,
): boolean {
  return seen.some(
    (other) =>
      isMember(sharding, shard, other.pod) &&
      other.targets !== undefined &&
      targets !== undefined &&
      !other.targets.isDisjointFrom(targets),
  );
}

function tooMany(pods: readonly string[]): BridgeError {
  const text = `the Pods ${list(pods)} are of more shards than the ${SHARDS_MAX} that are read`;
  return new BridgeError("prometheus_shards_mismatch", text, { details: { shards_max: SHARDS_MAX } });
}

function notRead(pods: readonly string[]): string {
  return `the Prometheus Pods ${list(pods)} belong to none of the known shards, as far as their names and targets tell, and are not read`;
}
