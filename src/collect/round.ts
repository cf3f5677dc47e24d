import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateStore } from "#state/store.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { BusyClusters } from "./busy-clusters.ts";
import { ClusterListing } from "./cluster-listing.ts";
import { ClusterQueue, type ClusterQueueDeps, type ClusterQueueSettings } from "./cluster-queue.ts";
import { deleteProgress } from "./progress-store.ts";
import {
  readClusterStatus,
  readCollectionStatus,
  readWatermark,
  type StatusSettings,
} from "./read-status.ts";
import { addResult, finishRound, isIdleRound, newRound, reportResult, reportRound } from "./round-result.ts";
import type {
  ClusterStatus,
  Collection,
  CollectionStatus,
  RoundResult,
  RoundStart,
  RoundTrigger,
} from "./status.ts";

export interface RoundDeps extends ClusterQueueDeps {
  registry: ClusterRegistry;
  store: StateStore;
  turns: Turns;
  metrics: Pick<OwnMetrics, "roundFinished" | "collectionFinished" | "errorOccurred" | "clusterWatermark">;
}

export interface RoundSettings extends ClusterQueueSettings, StatusSettings {
  lagMs: number;
  queries: readonly Query[];
  /** Length of the stretches that are proved, ms; 0: none is. */
  stretchMs: number;
}

export interface Rounds extends Collection {
  /** Begins no new work, gives the work under way `graceMs` to end, then aborts it; resolves when nothing runs any more. */
  stop(graceMs: number): Promise<void>;
  /**
   * For a cluster that the registry does not list any more: aborts its collection, waits for its end and removes its progress record. Throws
   * BridgeError `state_unavailable`.
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
  readonly #listing: ClusterListing;
  readonly #queue: ClusterQueue;
  readonly #busy = new BusyClusters();
  /** Rounds that are not finished, the latest last. */
  readonly #current = new Set<RoundResult>();
  #last: RoundResult | null = null;

  constructor(deps: RoundDeps, settings: RoundSettings) {
    this.#deps = deps;
    this.#settings = settings;
    this.#listing = new ClusterListing(deps.registry);
    this.#queue = new ClusterQueue(deps, settings);
  }

  async start(trigger: RoundTrigger): Promise<RoundStart> {
    if (!this.#settings.enabled) throw new BridgeError("collection_disabled", "collecting is switched off");
    if (this.#queue.isStopping) throw new BridgeError("shutting_down", "the process is ending");
    const clusters = (await this.#list()).filter((cluster) => cluster.enabled);
    // From here to the start of the collections nothing waits: two rounds can't both find a cluster free.
    const busy = clusters.filter((cluster) => this.#busy.has(cluster.id));
    const round = newRound(trigger, clusters, busy, this.#deps.clock.now());
    this.#current.add(round);
    const done = this.#run(
      round,
      clusters.filter((cluster) => !busy.includes(cluster)),
    );
    return { round, busy: busy.map((cluster) => cluster.id), done };
  }

  async status(): Promise<CollectionStatus> {
    const rounds = { current: [...this.#current].at(-1) ?? null, last: this.#last };
    const statusOf = (cluster: Cluster): Promise<ClusterStatus> => this.#statusOf(cluster);
    return await readCollectionStatus(this.#deps.registry, statusOf, rounds, this.#settings);
  }

  async forget(clusterId: string): Promise<void> {
    this.#listing.forget(clusterId);
    await this.#busy.cancel(clusterId, new BridgeError("cluster_deleted", "the cluster was deleted"));
    this.#deps.metrics.clusterWatermark(clusterId, null);
    await deleteProgress(this.#deps.store, clusterId);
  }

  async stop(graceMs: number): Promise<void> {
    this.#queue.stop();
    const cancel = this.#deps.clock.after(graceMs, () =>
      this.#queue.abort(new BridgeError("shutting_down", "the process is ending; the window was abandoned")),
    );
    await this.#busy.idle();
    cancel();
  }

  async #list(): Promise<Cluster[]> {
    try {
      return await this.#listing.list();
    } catch (thrown) {
      // This start makes no round, so no result counts the error.
      this.#deps.metrics.errorOccurred(toBridgeError(thrown, "state_unavailable").code);
      throw thrown;
    }
  }

  async #run(round: RoundResult, clusters: readonly Cluster[]): Promise<RoundResult> {
    const { clock, metrics, logger } = this.#deps;
    const startedAt = clock.monotonic();
    await Promise.all(
      clusters.map((cluster) =>
        this.#busy.run(cluster.id, (deleted) => this.#collect(round, cluster, deleted)),
      ),
    );
    finishRound(round, clock.now(), (clock.monotonic() - startedAt) / 1000);
    this.#current.delete(round);
    // The round before is still the last one that did something.
    if (isIdleRound(round)) return round;
    this.#last = round;
    reportRound(round, metrics, logger);
    return round;
  }

  async #collect(round: RoundResult, cluster: Cluster, deleted: AbortSignal): Promise<void> {
    const { metrics, logger, store } = this.#deps;
    const result = await this.#queue.collect(cluster, deleted);
    addResult(round, result);
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
