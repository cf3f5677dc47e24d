import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateStore } from "#state/store.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { BusyClusters } from "./busy-clusters.ts";
import { ClusterListing } from "./cluster-listing.ts";
import { ClusterQueue, type ClusterQueueDeps, type ClusterQueueSettings } from "./cluster-queue.ts";
import { isLeaseLost, type ClusterLease, type Ownership } from "./ownership.ts";
import { deleteProgress } from "./progress-store.ts";
import {
  readClusterStatus,
  readCollectionStatus,
  readWatermark,
  type StatusSettings,
} from "./read-status.ts";
import { type LiveRounds, RoundWatch } from "./live-rounds.ts";
import { addResult, finishRound, isIdleRound, newRound, reportResult, reportRound } from "./round-result.ts";
import type {
  ClusterStatus,
  ClusterResult,
  Collection,
  CollectionStatus,
  RoundResult,
  RoundStart,
  RoundTrigger,
} from "./status.ts";

export interface RoundDeps extends ClusterQueueDeps {
  registry: ClusterRegistry;
  store: StateStore;
  ownership: Ownership;
  turns: Turns;
  metrics: Pick<OwnMetrics, "roundFinished" | "collectionFinished" | "errorOccurred" | "clusterWatermark">;
}

export interface RoundSettings extends ClusterQueueSettings, StatusSettings {
  lagMs: number;
  queries: readonly Query[];
  /** Length of the stretches that are proved, ms; 0: none is. */
  stretchMs: number;
}

type Leases = ReadonlyMap<string, ClusterLease>;

export interface Rounds extends Collection {
  /** As `Collection`, of the clusters of this replica. `id`: of the round that this one is a part of. */
  start(trigger: RoundTrigger, id?: string): Promise<RoundStart>;
  readonly live: LiveRounds;
  /** Begins no new work, gives the work under way `graceMs` to end, then aborts it; resolves when nothing runs any more. */
  stop(graceMs: number): Promise<void>;
  /** Collects clusters at once that this replica took over from another one that died or ended. */
  collectNow(clusterIds: readonly string[]): void;
  /** Is it being collected, or does it wait for its turn? */
  isBusy(clusterId: string): boolean;
  /**
   * For a cluster that the registry does not list any more: aborts its collection, on whichever replica, waits for its end and removes its progress
   * record. Throws BridgeError `state_unavailable`.
   */
  forget(clusterId: string): Promise<void>;
}

/** Rounds over all clusters: some at once, each at most once at a time. */
export function createRounds(deps: RoundDeps, settings: RoundSettings): Rounds {
  return new CollectionRounds(deps, settings);
}

class CollectionRounds implements Rounds {
  readonly #deps: RoundDeps;
  readonly #settings: RoundSettings;
  readonly #listing = new ClusterListing();
  readonly #queue: ClusterQueue;
  readonly #busy = new BusyClusters();
  readonly #watch: RoundWatch;
  /** Rounds that are not finished, the latest last. */
  readonly #current = new Set<RoundResult>();
  #last: RoundResult | null = null;

  constructor(deps: RoundDeps, settings: RoundSettings) {
    this.#deps = deps;
    this.#settings = settings;
    this.#queue = new ClusterQueue(deps, settings);
    this.#watch = new RoundWatch(deps.clock);
  }

  get live(): LiveRounds {
    return this.#watch;
  }

  async start(trigger: RoundTrigger, id?: string): Promise<RoundStart> {
    if (!this.#settings.enabled) throw new BridgeError("collection_disabled", "collecting is switched off");
    if (this.#queue.isStopping) throw new BridgeError("shutting_down", "the process is ending");
    return await this.#start(trigger, id);
  }

  /** Over all clusters of this replica, or those of `only`. */
  async #start(trigger: RoundTrigger, id?: string, only?: ReadonlySet<string>): Promise<RoundStart> {
    const { clusters, leases } = await this.#list(only);
    // From here to the start of the collections nothing waits: two rounds can't both find a cluster free.
    const busy = clusters.filter((cluster) => this.#busy.has(cluster.id));
    const round = newRound(trigger, clusters, busy, this.#deps.clock.now(), id);
    this.#current.add(round);
    this.#watch.roundStarted(round, clusters);
    const free = clusters.filter((cluster) => !busy.includes(cluster));
    const done = this.#run(round, free, leases);
    return { round, busy: busy.map((cluster) => cluster.id), done };
  }

  async status(): Promise<CollectionStatus> {
    const rounds = { current: [...this.#current].at(-1) ?? null, last: this.#last };
    const statusOf = (cluster: Cluster): Promise<ClusterStatus> => this.#statusOf(cluster);
    return await readCollectionStatus(this.#deps.registry, statusOf, rounds, this.#settings);
  }

  collectNow(clusterIds: readonly string[]): void {
    if (!this.#settings.enabled || this.#queue.isStopping) return;
    this.#start("takeover", undefined, new Set(clusterIds)).catch((error: unknown) => {
      this.#deps.logger.warn({ err: error }, "the clusters of another replica can't be collected yet");
    });
  }

  isBusy(clusterId: string): boolean {
    return this.#busy.has(clusterId);
  }

  async forget(clusterId: string): Promise<void> {
    this.#listing.forget(clusterId);
    await this.#busy.cancel(clusterId, new BridgeError("cluster_deleted", "the cluster was deleted"));
    this.#deps.metrics.clusterWatermark(clusterId, null);
    const { ownership, store } = this.#deps;
    // The owner may be another replica.
    await ownership.close(clusterId);
    await deleteProgress(store, clusterId);
    await ownership.remove(clusterId);
  }

  async stop(graceMs: number): Promise<void> {
    this.#queue.stop();
    const cancel = this.#deps.clock.after(graceMs, () =>
      this.#queue.abort(new BridgeError("shutting_down", "the process is ending; the window was abandoned")),
    );
    await this.#busy.idle();
    cancel();
  }

  /** The enabled clusters of this replica. */
  async #list(only: ReadonlySet<string> | undefined): Promise<{ clusters: Cluster[]; leases: Leases }> {
    const { registry, ownership } = this.#deps;
    let leases: Leases = new Map();
    try {
      const clusters = await this.#listing.list(async () => {
        const enabled = (await registry.list()).filter((cluster) => cluster.enabled);
        leases = await ownership.claim(enabled.map(({ id }) => id));
        return enabled.filter(({ id }) => leases.has(id) && (only?.has(id) ?? true));
      });
      return { clusters, leases };
    } catch (thrown) {
      // This start makes no round, so no result counts the error.
      this.#deps.metrics.errorOccurred(toBridgeError(thrown, "state_unavailable").code);
      throw thrown;
    }
  }

  async #run(round: RoundResult, clusters: readonly Cluster[], leases: Leases): Promise<RoundResult> {
    const { clock, metrics, logger } = this.#deps;
    const startedAt = clock.monotonic();
    await Promise.all(
      clusters.map((cluster) =>
        this.#busy.run(cluster.id, async (deleted) => {
          const lease = leases.get(cluster.id);
          assert(lease !== undefined, "only clusters of this replica are collected");
          const signal = AbortSignal.any([deleted, lease.signal]);
          await this.#collect(round, cluster, { ...lease, signal });
        }),
      ),
    );
    finishRound(round, clock.now(), (clock.monotonic() - startedAt) / 1000);
    this.#current.delete(round);
    this.#watch.roundFinished(round);
    // The round before is still the last one that did something.
    if (isIdleRound(round)) return round;
    if (round.trigger !== "takeover") this.#last = round;
    reportRound(round, metrics, logger);
    return round;
  }

  async #collect(round: RoundResult, cluster: Cluster, lease: ClusterLease): Promise<void> {
    const { metrics, logger, store, ownership } = this.#deps;
    const result = await this.#queue.collect(cluster, lease, this.#watch.watch(round.id, cluster.id));
    await ownership.ended(cluster.id, epochIn(result));
    addResult(round, result);
    this.#watch.clusterFinished(round.id, result);
    reportResult(round, result, metrics, logger);
    try {
      metrics.clusterWatermark(cluster.id, await readWatermark(store, cluster.id, this.#settings.queries));
    } catch (thrown) {
      logger.warn({ err: thrown, cluster_id: cluster.id }, "the cluster's watermark can't be read");
    }
  }

  async #statusOf(cluster: Cluster): Promise<ClusterStatus> {
    const { intervalMs, lagMs } = this.#settings;
    const nowMs = this.#deps.clock.now();
    const facts = { nowMs, collecting: this.#busy.has(cluster.id), intervalMs, lagMs };
    return await readClusterStatus(this.#deps, cluster, facts, this.#settings);
  }
}

/** The epoch of a record that ended the collection, because it is higher than its lease's. */
function epochIn({ error }: ClusterResult): number | undefined {
  const epoch = isLeaseLost(error) ? error?.details?.["epoch"] : undefined;
  return typeof epoch === "number" ? epoch : undefined;
}
