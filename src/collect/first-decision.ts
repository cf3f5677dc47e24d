import { operatorShardOf, shardsByName, stableName, type NamedShards } from "#clusters/pod-names.ts";
import { addNamed } from "./later-pods.ts";
import { readTargets } from "./pod-targets.ts";
import type { PodRef } from "./ports.ts";
import { list, serviceOf, type DecisionContext } from "./shard-decision.ts";
import { findAlike, findDifferent, groupByTargets, type Sharding } from "./sharding.ts";

/** Replicas are compared again after this time: their configuration may have changed. */
const LOOK_AGAIN_MS = 3_600_000;

export async function decideAnew(context: DecisionContext): Promise<void> {
  const { cluster, names, pods, preferred, progress, nowMs } = context;
  const expected = cluster.prometheus.shards;
  const named = shardsByName(names, preferred, expected !== undefined);
  if (named) return await decideByName(context, named);
  if (pods.ready.length < 2 || (expected === undefined && !isLookDue(progress.sharding, pods.ready, nowMs)))
    return;
  const seen = await readTargets(context.deps, context.deps.connections, pods.ready, context.signal);
  const groups = groupByTargets(seen);
  const known = seen.filter(({ targets }) => targets).map(({ pod }) => stableName(pod));
  const unknown = seen.filter(({ targets }) => !targets).map(({ pod }) => pod);
  if (unknown.length > 0) context.decision.warnings.push(unknownTargets(unknown));
  const before = progress.sharding?.look?.disjoint;
  const isSeenTwice = before !== undefined && JSON.stringify(before) === JSON.stringify(groups);
  if (expected === groups.length) return adoptGroups(context, groups, "setting");
  if (groups.length > 1 && isSeenTwice && expected === undefined)
    return adoptGroups(context, groups, "targets");
  setReplicas(context, known, unknown);
  if (expected !== undefined) return;
  const different = findDifferent(seen);
  if (groups.length > 1) noteDisjoint(context, groups);
  else if (different) noteDifferent(context, different);
}

function noteDisjoint({ progress, decision }: DecisionContext, groups: string[][]): void {
  const sharding = progress.sharding!;
  sharding.look!.disjoint = groups;
  sharding.reason = "the Pods have no target in common, but that was seen only once";
  decision.warnings.push(
    `the Prometheus Pods ${list(groups.map((group) => group.join(" = ")))} have no target in common: if the next collection finds the same, each is read as a shard`,
  );
}

/** Neither replicas nor shards: reading one of them leaves something out, reading both stores something twice. */
function noteDifferent({ progress, decision }: DecisionContext, pods: readonly [string, string]): void {
  const sharding = progress.sharding!;
  sharding.reason = `${pods.join(" and ")} have targets in common, but most of their targets differ`;
  sharding.look!.pods = [];
  decision.warnings.push(
    `the Prometheus Pods ${sharding.reason}: one of them is read; lead prometheus.service to one Prometheus`,
  );
}

async function decideByName(context: DecisionContext, named: NamedShards): Promise<void> {
  const { cluster, pods, progress, nowMs, deps } = context;
  const known = progress.sharding;
  if (cluster.prometheus.shards === undefined) {
    if (known && !isLookDue(known, pods.ready, nowMs)) return warnAlike(context, named);
    const one = named.numbers.flatMap((number) =>
      pods.ready
        .filter(({ name }) => operatorShardOf(name) === number && !named.strangers.includes(name))
        .slice(0, 1),
    );
    const alike =
      one.length < 2 ? undefined : findAlike(await readTargets(deps, deps.connections, one, context.signal));
    if (alike) {
      setReplicas(
        context,
        pods.ready.map(({ name }) => stableName(name)),
        [],
      );
      progress.sharding!.reason = `${alike.join(" and ")} have names of shards, but scrape the same targets`;
      return warnAlike(context, named);
    }
  }
  adopt(context, {
    by: "pod_names",
    reason: `the names of the Pods show shards of ${named.base}`,
    shards: [],
  });
  addNamed(context, progress.sharding!, named);
  // The progress up to now is that of the Pod that was read.
  const { pod, queries } = progress;
  if (!pod || Object.keys(queries).length === 0) return;
  const before = operatorShardOf(pod.name);
  if (before !== 0 && named.numbers.includes(before) && !named.strangers.includes(pod.name))
    context.decision.move = { from: 0, to: before };
}

function warnAlike({ decision, progress }: DecisionContext, { base }: NamedShards): void {
  decision.warnings.push(
    `${progress.sharding!.reason}: they are read as replicas of ${base}; set prometheus.shards if they are shards`,
  );
}

/** Replicas of one shard have the shard's number, so they are never compared. */
function setReplicas(
  { progress, cluster, nowMs }: DecisionContext,
  known: string[],
  unknown: readonly string[],
): void {
  const before = progress.sharding;
  progress.sharding = {
    service: serviceOf(cluster),
    decision: "replicas",
    by: "targets",
    reason:
      unknown.length > 0
        ? "it is not known which targets some of the Pods scrape"
        : "the Pods scrape the same targets",
    decided_at: before?.decided_at ?? nowMs,
    shards: [],
    look: { at: nowMs, pods: known },
  };
}

function adoptGroups(context: DecisionContext, groups: readonly string[][], by: "setting" | "targets"): void {
  const own = stableName(context.preferred);
  const ordered = groups.toSorted((a, b) => Number(b.includes(own)) - Number(a.includes(own)));
  adopt(context, {
    by,
    reason:
      by === "targets"
        ? "the Pods have no target in common, seen in two collections"
        : "prometheus.shards says so, and the Pods have no target in common",
    shards: ordered.map((members, number) => ({ number, name: members.join(" = "), members })),
  });
}

function adopt(
  { progress, cluster, nowMs, deps }: DecisionContext,
  facts: Pick<Sharding, "by" | "reason" | "shards">,
): void {
  progress.sharding = { service: serviceOf(cluster), decision: "shards", ...facts, decided_at: nowMs };
  deps.logger.info(
    { by: facts.by },
    `each shard of Prometheus is read with a progress of its own: ${facts.reason}`,
  );
}

function isLookDue(sharding: Sharding | undefined, ready: readonly PodRef[], nowMs: number): boolean {
  const look = sharding?.look;
  if (!look || look.disjoint || nowMs - look.at >= LOOK_AGAIN_MS) return true;
  return ready.some(({ name }) => !look.pods.includes(stableName(name)));
}

function unknownTargets(pods: readonly string[]): string {
  return `it is not known which targets the Prometheus Pods ${list(pods)} scrape: they count as replicas; set prometheus.shards if they are shards`;
}
