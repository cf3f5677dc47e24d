import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { PodConnections } from "./pod-connections.ts";
import { readTargets } from "./pod-targets.ts";
import type { PodRef } from "./ports.ts";
import type { ClusterProgress } from "./progress.ts";
import {
  areAlike,
  groupByTargets,
  isMember,
  namedMembers,
  operatorShardOf,
  shardsByName,
  stableName,
  type NamedShards,
  type PodTargets,
  type ShardMembers,
  type Sharding,
} from "./sharding.ts";

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

interface Context {
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

/** Pods without a common target are shards when two comparisons, at least so long apart, both say so. */
const SECOND_LOOK_MS = 60_000;
/** Replicas are compared again after this time: their configuration may have changed. */
const LOOK_AGAIN_MS = 3_600_000;
const NAMES_MAX = 10;

/**
 * Tells shards from replicas. Prometheus operator's names of Pods show shards, unless two of those Pods scrape mostly the same targets. Other
 * Pods are shards when their targets have nothing in common, seen in two collections. In doubt they are replicas: reading two replicas would
 * put the samples of both into one series. What was decided is kept in `progress`.
 */
export async function decideShards(
  deps: Context["deps"],
  settings: { maxBackfillMs: number },
  run: { cluster: Cluster; progress: ClusterProgress; pods: ServicePods },
  signal: AbortSignal,
): Promise<ShardDecision> {
  const { cluster, progress, pods } = run;
  const setting = cluster.prometheus.shards ?? "auto";
  const decision: ShardDecision = { shards: [], dropped: [], warnings: [], errors: [] };
  if (setting === "none" || setting === 1) {
    delete progress.sharding;
    return { ...decision, shards: [{ members: undefined, pods: [...pods.ready] }] };
  }
  const context: Context = {
    deps,
    cluster,
    progress,
    pods,
    signal,
    decision,
    nowMs: deps.clock.now(),
    names: [...pods.ready.map(({ name }) => name), ...pods.unready],
    preferred: progress.pod?.name ?? pods.ready[0]!.name,
  };
  forgetAnother(context);
  if (progress.sharding?.decision === "shards") await updateShards(context, progress.sharding);
  else await decideAnew(context);
  if (progress.sharding?.decision === "shards") dropGone(context, progress.sharding, settings.maxBackfillMs);
  checkExpected(context);
  decision.shards = toShards(context);
  return decision;
}

function toShards({ progress: { sharding }, pods }: Context): ShardPods[] {
  if (sharding?.decision !== "shards") return [{ members: undefined, pods: [...pods.ready] }];
  return sharding.shards.map((members) => ({
    members,
    pods: pods.ready.filter(({ name }) => isMember(sharding, members, name)),
  }));
}

/** Another Service, or none of the known Pods: the decision was about another Prometheus. */
function forgetAnother({ progress, cluster, names }: Context): void {
  const { sharding } = progress;
  if (!sharding) return;
  const isKnown = (name: string): boolean =>
    sharding.decision === "replicas" || sharding.shards.some((shard) => isMember(sharding, shard, name));
  if (sharding.service !== serviceOf(cluster) || !names.some(isKnown)) delete progress.sharding;
}

async function decideAnew(context: Context): Promise<void> {
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
  const before = progress.sharding?.look;
  const isSeenTwice =
    before?.disjoint !== undefined &&
    JSON.stringify(before.disjoint) === JSON.stringify(groups) &&
    nowMs - before.at >= SECOND_LOOK_MS;
  if (expected === groups.length) return adoptGroups(context, groups, "setting");
  if (groups.length > 1 && isSeenTwice && expected === undefined)
    return adoptGroups(context, groups, "targets");
  setReplicas(context, known, unknown);
  if (groups.length < 2 || expected !== undefined) return;
  const isSame = JSON.stringify(before?.disjoint) === JSON.stringify(groups);
  progress.sharding!.look = { at: isSame ? before!.at : nowMs, pods: known, disjoint: groups };
  progress.sharding!.reason = "the Pods have no target in common, but that was seen only once";
  context.decision.warnings.push(
    `the Prometheus Pods ${list(groups.map((group) => group.join(" = ")))} have no target in common: if the next collection finds the same, each is read as a shard`,
  );
}

async function decideByName(context: Context, named: NamedShards): Promise<void> {
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
      one.length < 2 ? undefined : areAlike(await readTargets(deps, deps.connections, one, context.signal));
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

function warnAlike({ decision, progress }: Context, { base }: NamedShards): void {
  decision.warnings.push(
    `${progress.sharding!.reason}: they are read as replicas of ${base}; set prometheus.shards if they are shards`,
  );
}

/** Replicas of one shard have the shard's number, so they are never compared. */
function setReplicas(
  { progress, cluster, nowMs }: Context,
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

function adoptGroups(context: Context, groups: readonly string[][], by: "setting" | "targets"): void {
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
  { progress, cluster, nowMs, deps }: Context,
  facts: Pick<Sharding, "by" | "reason" | "shards">,
): void {
  progress.sharding = { service: serviceOf(cluster), decision: "shards", ...facts, decided_at: nowMs };
  deps.logger.info(
    { by: facts.by },
    `each shard of Prometheus is read with a progress of its own: ${facts.reason}`,
  );
}

/** Pods that came since: of a known shard, of a new one, or of none. */
async function updateShards(context: Context, sharding: Sharding): Promise<void> {
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
function addNamed(
  { cluster, decision }: Context,
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
  if (strangers.length > 0) decision.errors.push(unassigned(strangers));
}

async function assignStrangers(
  context: Context,
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
  if (unread.length > 0) decision.errors.push(unassigned(unread));
  const before = sharding.look?.disjoint;
  const isSeenTwice =
    JSON.stringify(before) === JSON.stringify(disjoint) && nowMs - sharding.look!.at >= SECOND_LOOK_MS;
  if (disjoint.length > 0 && isSeenTwice) {
    for (const members of disjoint) {
      const number = Math.max(...sharding.shards.map((shard) => shard.number)) + 1;
      sharding.shards.push({ number, name: members[0]!, members });
    }
    delete sharding.look;
    return;
  }
  const isSame = JSON.stringify(before) === JSON.stringify(disjoint);
  sharding.look = { at: isSame ? sharding.look!.at : nowMs, pods: [], disjoint };
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

/**
 * A shard without any Pod is a failing shard, until all of its time that is not read is older than MAX_BACKFILL: then there is nothing left to
 * wait for. Fewer expected shards (`prometheus.shards`) end the wait.
 */
function dropGone(context: Context, sharding: Sharding, maxBackfillMs: number): void {
  const { names, nowMs, cluster, decision, deps } = context;
  const expected = cluster.prometheus.shards;
  const hasPod = (shard: ShardMembers): boolean => names.some((name) => isMember(sharding, shard, name));
  for (const shard of sharding.shards.filter(hasPod)) delete shard.gone_since;
  for (const shard of sharding.shards.filter((each) => !hasPod(each))) {
    shard.gone_since ??= nowMs;
    const isExtra = typeof expected === "number" && sharding.shards.length > expected;
    const isFirstByName = sharding.by === "pod_names" && shard.number === 0;
    if ((!isExtra && nowMs - shard.gone_since < maxBackfillMs) || isFirstByName) continue;
    sharding.shards.splice(sharding.shards.indexOf(shard), 1);
    deps.logger.warn({ shard: shard.name }, "a shard of Prometheus is gone and not waited for any more");
    decision.warnings.push(
      `shard ${shard.number} (${shard.name}) is gone: what it had not delivered is not stored`,
    );
    if (shard.number > 0) decision.dropped.push(shard.number);
    else if (sharding.shards.length > 0) {
      const next = sharding.shards[0]!;
      decision.move = { from: next.number, to: 0 };
      next.number = 0;
    }
  }
  if (sharding.shards.length < 2) delete context.progress.sharding;
}

/** `prometheus.shards: N`: any other number of shards is an error. */
function checkExpected({ cluster, progress, decision, pods }: Context): void {
  const expected = cluster.prometheus.shards;
  if (typeof expected !== "number") return;
  const { sharding } = progress;
  const count = sharding?.decision === "shards" ? sharding.shards.length : 1;
  if (count === expected) return;
  const found =
    count > 1
      ? `${count} shards are there: ${list(sharding!.shards.map(({ name }) => name))}`
      : `the ready Pods (${list(pods.ready.map(({ name }) => name))}) can't be told apart: neither their names nor their targets show so many shards`;
  decision.errors.push(
    new BridgeError("prometheus_shards_mismatch", `prometheus.shards is ${expected}, but ${found}`, {
      details: { expected, found: count },
    }),
  );
}

function isLookDue(sharding: Sharding | undefined, ready: readonly PodRef[], nowMs: number): boolean {
  const look = sharding?.look;
  if (!look || look.disjoint || nowMs - look.at >= LOOK_AGAIN_MS) return true;
  return ready.some(({ name }) => !look.pods.includes(stableName(name)));
}

function unassigned(pods: readonly string[]): BridgeError {
  return new BridgeError(
    "prometheus_shards_mismatch",
    `the Pods ${list(pods)} behind the Service belong to none of its shards and are not read`,
    { details: { pods: pods.slice(0, NAMES_MAX) } },
  );
}

function unknownTargets(pods: readonly string[]): string {
  return `it is not known which targets the Prometheus Pods ${list(pods)} scrape: they count as replicas; set prometheus.shards if they are shards`;
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_MAX).join(", ");
  return names.length > NAMES_MAX ? `${shown} and ${names.length - NAMES_MAX} more` : shown;
}

function serviceOf({ prometheus: { namespace, service } }: Cluster): string {
  return `${namespace}/${service}`;
}
