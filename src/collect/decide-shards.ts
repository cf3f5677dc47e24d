import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import { decideAnew } from "./first-decision.ts";
import { updateShards } from "./later-pods.ts";
import type { ClusterProgress } from "./progress.ts";
import {
  list,
  serviceOf,
  type DecisionContext,
  type ServicePods,
  type ShardDecision,
  type ShardPods,
} from "./shard-decision.ts";
import { isMember, type ShardMembers, type Sharding } from "./sharding.ts";

/**
 * Tells shards from replicas. Prometheus operator's names of Pods show shards, unless two of those Pods scrape mostly the same targets. Other
 * Pods are shards when their targets have nothing in common, seen in two collections. In doubt they are replicas: reading two replicas would
 * put the samples of both into one series. What was decided is kept in `progress`.
 */
export async function decideShards(
  deps: DecisionContext["deps"],
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
  const context: DecisionContext = {
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

function toShards({ progress: { sharding }, pods }: DecisionContext): ShardPods[] {
  if (sharding?.decision !== "shards") return [{ members: undefined, pods: [...pods.ready] }];
  return sharding.shards.map((members) => ({
    members,
    pods: pods.ready.filter(({ name }) => isMember(sharding, members, name)),
  }));
}

/** Another Service, or none of the known Pods: the decision was about another Prometheus. */
function forgetAnother({ progress, cluster, names }: DecisionContext): void {
  const { sharding } = progress;
  if (!sharding) return;
  const isKnown = (name: string): boolean =>
    sharding.decision === "replicas" || sharding.shards.some((shard) => isMember(sharding, shard, name));
  if (sharding.service !== serviceOf(cluster) || !names.some(isKnown)) delete progress.sharding;
}

/**
 * A shard without any Pod is a failing shard, until all of its time that is not read is older than MAX_BACKFILL: then there is nothing left to
 * wait for. Fewer expected shards (`prometheus.shards`) end the wait.
 */
function dropGone(context: DecisionContext, sharding: Sharding, maxBackfillMs: number): void {
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
function checkExpected({ cluster, progress, decision, pods }: DecisionContext): void {
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
