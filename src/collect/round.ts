import { randomUUID } from "node:crypto";
import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError, toBridgeError, toErrorBody } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { toClusterStatus, toDamagedStatus, uncheckedWarning } from "./cluster-state.ts";
import type { CollectCluster } from "./collect-cluster.ts";
import { deleteProgress, readProgress } from "./progress-store.ts";
import type {
  ClusterResult,
  ClusterStatus,
  Collection,
  CollectionStatus,
  RoundResult,
  RoundStart,
  RoundTrigger,
} from "./status.ts";

export interface RoundDeps {
  registry: ClusterRegistry;
  collectCluster: CollectCluster;
  store: StateStore;
  clock: Clock;
  logger: Logger;
  metrics: Pick<OwnMetrics, "roundFinished" | "collectionFinished" | "errorOccurred" | "clusterWatermark">;
}

export interface RoundSettings {
  enabled: boolean;
  scheduler: "dapr" | "internal";
  intervalMs: number;
  lagMs: number;
  clustersMax: number;
  clusterDeadlineMs: number;
  queryNames: readonly string[];
  /** Warnings about the configuration, for the status. */
  warnings: readonly string[];
}

export interface Rounds extends Collection {
  /** Begins no new work, lets what is under way end for `graceMs`, then aborts it; resolves when nothing runs any more. */
  stop(graceMs: number): Promise<void>;
  /**
   * Of a cluster that the registry does not list any more: aborts its collection, waits for its end and removes its progress record. Throws
   * state_unavailable.
   */
  forget(clusterId: string): Promise<void>;
}

/** The last part of a cluster's deadline, at most a tenth of it: what was read is delivered, nothing more is read. */
const DELIVERY_MS_MAX = 10_000;
/** Progress records that one status reads at once: the store may be a sidecar behind HTTP. */
const STATUS_READS_AT_ONCE = 16;

/** A cluster that is being collected, or waits for its turn. */
interface BusyCluster {
  done: Promise<void>;
  abort: (reason: Error) => void;
}

/** Rounds over all clusters: bounded, each cluster at most once at a time, one cluster's failure never another's. */
export function createRounds(deps: RoundDeps, settings: RoundSettings): Rounds {
  const { clock, logger, metrics } = deps;
  const limit = createLimiter(settings.clustersMax);
  const busy = new Map<string, BusyCluster>();
  /** For each start that waits for the registry's answer: the clusters that were forgotten since it asked. */
  const starting = new Set<Set<string>>();
  const ending = new AbortController();
  let stopping = false;
  const current = new Set<RoundResult>();
  let last: RoundResult | null = null;

  const collectOne = async (cluster: Cluster, deleted: AbortSignal): Promise<ClusterResult> => {
    const late = (): BridgeError =>
      new BridgeError(
        "cluster_deadline_exceeded",
        `the cluster did not finish in ${Math.round(settings.clusterDeadlineMs / 1000)} s`,
      );
    const ended = AbortSignal.any([ending.signal, deleted]);
    const limited = deadline(clock, settings.clusterDeadlineMs, late, ended);
    const deliveryMs = Math.min(DELIVERY_MS_MAX, settings.clusterDeadlineMs / 10);
    const reading = deadline(clock, settings.clusterDeadlineMs - deliveryMs, late, limited.signal);
    const isStopping = (): boolean => stopping || deleted.aborted;
    try {
      const signals = { signal: limited.signal, readSignal: reading.signal, isStopping };
      return await deps.collectCluster(cluster, signals);
    } catch (thrown) {
      const error = toBridgeError(thrown);
      logger.error({ err: thrown, cluster_id: cluster.id }, "collecting a cluster ended with a defect");
      return emptyResult(cluster, "failed", error);
    } finally {
      reading.dispose();
      limited.dispose();
    }
  };

  const finish = async (round: RoundResult, cluster: Cluster, result: ClusterResult): Promise<void> => {
    round.clusters.push(result);
    round[result.outcome]++;
    round.points += result.points;
    round.bytes += result.bytes;
    const { error, ...facts } = result;
    metrics.collectionFinished({
      outcome: result.outcome,
      durationSeconds: result.duration_seconds,
      points: result.points,
      series: result.series,
      ...(error ? { error: error.code } : {}),
    });
    if (error) {
      metrics.errorOccurred(error.code);
      logger.warn(
        { ...facts, round: round.id, code: error.code, hint: error.hint },
        `cluster ${result.outcome}: ${error.message}`,
      );
    } else logger.info({ ...facts, round: round.id }, `cluster ${result.outcome}`);
    try {
      const status = await statusOf(cluster);
      metrics.clusterWatermark(cluster.id, status.watermark === null ? null : Date.parse(status.watermark));
    } catch (thrown) {
      logger.warn({ err: thrown, cluster_id: cluster.id }, "the cluster's lag is not known");
    }
  };

  const runCluster = async (round: RoundResult, cluster: Cluster, deleted: AbortSignal): Promise<void> => {
    const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<ClusterResult>();
    const abandon = (): void => giveUp(emptyResult(cluster, "failed", deleted.reason as BridgeError));
    // Who deletes a cluster must not wait until all those before it have had their turn.
    deleted.addEventListener("abort", abandon, { once: true });
    const turn = limit(async () => {
      deleted.removeEventListener("abort", abandon);
      if (deleted.aborted) return await givenUp;
      if (!stopping) return await collectOne(cluster, deleted);
      return emptyResult(cluster, "failed", new BridgeError("shutting_down", "the process is ending"));
    });
    await finish(round, cluster, await Promise.race([turn, givenUp]));
  };

  const run = async (round: RoundResult, clusters: readonly Cluster[]): Promise<RoundResult> => {
    const startedAt = clock.monotonic();
    await Promise.all(
      clusters.map(async (cluster) => {
        const deleted = new AbortController();
        const done = runCluster(round, cluster, deleted.signal).finally(() => busy.delete(cluster.id));
        busy.set(cluster.id, { done, abort: (reason) => deleted.abort(reason) });
        await done;
      }),
    );
    const seconds = (clock.monotonic() - startedAt) / 1000;
    round.duration_seconds = seconds;
    round.finished_at = new Date(clock.now()).toISOString();
    current.delete(round);
    // A round that found every cluster busy did nothing: the one before is still the last one.
    if (round.total > 0 && round.skipped === round.total) return round;
    last = round;
    const outcome =
      round.failed === 0 && round.partial === 0
        ? "successful"
        : round.successful + round.partial > 0
          ? "partial"
          : "failed";
    metrics.roundFinished({ outcome, durationSeconds: seconds });
    const { clusters: _results, ...summary } = round;
    logger.info(summary, `round ${outcome}`);
    return round;
  };

  const statusOf = async (cluster: Cluster): Promise<ClusterStatus> => {
    const facts = {
      nowMs: clock.now(),
      collecting: busy.has(cluster.id),
      intervalMs: settings.intervalMs,
      lagMs: settings.lagMs,
      queries: settings.queryNames,
    };
    try {
      return toClusterStatus(cluster, await readProgress(deps.store, cluster.id), facts);
    } catch (error) {
      if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
      return toDamagedStatus(cluster, error, facts);
    }
  };

  const listed = async (): Promise<Cluster[]> => {
    const forgotten = new Set<string>();
    starting.add(forgotten);
    try {
      return (await deps.registry.list()).filter(({ id }) => !forgotten.has(id));
    } catch (thrown) {
      // No round comes of it, and so no result that would count it.
      metrics.errorOccurred(toBridgeError(thrown, "state_unavailable").code);
      throw thrown;
    } finally {
      starting.delete(forgotten);
    }
  };

  const start = async (trigger: RoundTrigger): Promise<RoundStart> => {
    if (!settings.enabled) throw new BridgeError("collection_disabled", "collecting is switched off");
    if (stopping) throw new BridgeError("shutting_down", "the process is ending");
    const clusters = (await listed()).filter((cluster) => cluster.enabled);
    const held = clusters.filter((cluster) => busy.has(cluster.id));
    const round: RoundResult = {
      id: randomUUID(),
      trigger,
      started_at: new Date(clock.now()).toISOString(),
      finished_at: null,
      duration_seconds: null,
      total: clusters.length,
      successful: 0,
      partial: 0,
      failed: 0,
      skipped: held.length,
      points: 0,
      bytes: 0,
      clusters: held.map((cluster) =>
        emptyResult(
          cluster,
          "skipped",
          new BridgeError("cluster_busy", "an earlier round still works on this cluster"),
        ),
      ),
    };
    current.add(round);
    const done = run(
      round,
      clusters.filter((cluster) => !held.includes(cluster)),
    );
    return { round, busy: held.map((cluster) => cluster.id), done };
  };

  const status = async (): Promise<CollectionStatus> => {
    const clusters = await deps.registry.list();
    const limitReads = createLimiter(STATUS_READS_AT_ONCE);
    const unchecked = clusters.filter((cluster) => !cluster.validateCerts).map((cluster) => cluster.id);
    return {
      enabled: settings.enabled,
      scheduler: settings.scheduler,
      interval_seconds: settings.intervalMs / 1000,
      current_round: [...current].at(-1) ?? null,
      last_round: last,
      clusters: await Promise.all(clusters.map((cluster) => limitReads(() => statusOf(cluster)))),
      warnings: [
        ...settings.warnings,
        ...(deps.registry.warnings?.() ?? []),
        ...(unchecked.length > 0 ? [`${unchecked.slice(0, 10).join(", ")}: ${uncheckedWarning}`] : []),
      ],
    };
  };

  const forget = async (clusterId: string): Promise<void> => {
    for (const forgotten of starting) forgotten.add(clusterId);
    const work = busy.get(clusterId);
    work?.abort(new BridgeError("cluster_deleted", "the cluster was deleted"));
    await work?.done.catch(() => {});
    metrics.clusterWatermark(clusterId, null);
    await deleteProgress(deps.store, clusterId);
  };

  return {
    start,
    status,
    forget,
    stop: async (graceMs) => {
      stopping = true;
      const idle = (async () => {
        while (busy.size > 0) await Promise.allSettled([...busy.values()].map(({ done }) => done));
      })();
      const cancel = clock.after(graceMs, () =>
        ending.abort(new BridgeError("shutting_down", "the process is ending; the window was abandoned")),
      );
      await idle;
      cancel();
    },
  };
}

function emptyResult(cluster: Cluster, outcome: ClusterResult["outcome"], error: BridgeError): ClusterResult {
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    outcome,
    points: 0,
    series: 0,
    bytes: 0,
    duration_seconds: 0,
    error: toErrorBody(error),
  };
}
