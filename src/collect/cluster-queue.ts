import type { Cluster } from "#clusters/cluster.ts";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import { createLimiter, type Limiter } from "#lib/limit.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { CollectCluster } from "./collect-cluster.ts";
import type { CollectionWatch } from "./live-rounds.ts";
import { isLeaseLost, type ClusterLease } from "./ownership.ts";
import { emptyResult } from "./round-result.ts";
import type { ClusterResult } from "./status.ts";

export interface ClusterQueueDeps {
  collectCluster: CollectCluster;
  clock: Clock;
  logger: Logger;
}

export interface ClusterQueueSettings {
  /** Clusters that are collected at once. */
  clustersMax: number;
  /** Time that the collection of one cluster may take, from its turn on. */
  clusterDeadlineMs: number;
}

/** The last part of a cluster's deadline, at most a tenth of it: samples that are read already are delivered, nothing more is read. */
const DELIVERY_MS_MAX = 10_000;

/** Clusters wait here for their turn. Each is collected within its deadline; the failure of one never affects another. */
export class ClusterQueue {
  readonly #deps: ClusterQueueDeps;
  readonly #deadlineMs: number;
  readonly #limit: Limiter;
  readonly #aborted = new AbortController();
  #isStopping = false;

  constructor(deps: ClusterQueueDeps, settings: ClusterQueueSettings) {
    this.#deps = deps;
    this.#deadlineMs = settings.clusterDeadlineMs;
    this.#limit = createLimiter(settings.clustersMax);
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** Begins no collection any more; those under way finish the windows that they are reading. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Ends the collections under way at once. */
  abort(reason: Error): void {
    this.#aborted.abort(reason);
  }

  /** Collects a cluster as soon as there is room; one whose lease ends meanwhile gives up its place at once. Never throws. */
  async collect(
    cluster: Cluster,
    { epoch, signal: deleted }: ClusterLease,
    watch: CollectionWatch,
  ): Promise<ClusterResult> {
    const { promise: givenUp, resolve: giveUp } = Promise.withResolvers<ClusterResult>();
    const leave = (): void => giveUp(endedResult(cluster, deleted.reason as BridgeError));
    // The request that deletes a cluster must not wait for the turns of all clusters before it.
    deleted.addEventListener("abort", leave, { once: true });
    const turn = this.#limit(async () => {
      deleted.removeEventListener("abort", leave);
      if (deleted.aborted) return await givenUp;
      if (!this.#isStopping) return await this.#collectInTime(cluster, { epoch, signal: deleted }, watch);
      return emptyResult(cluster, "failed", new BridgeError("shutting_down", "the process is ending"));
    });
    return await Promise.race([turn, givenUp]);
  }

  async #collectInTime(
    cluster: Cluster,
    { epoch, signal: deleted }: ClusterLease,
    watch: CollectionWatch,
  ): Promise<ClusterResult> {
    watch.began();
    const { clock, logger, collectCluster } = this.#deps;
    const deadlineMs = this.#deadlineMs;
    const exceeded = (): BridgeError =>
      new BridgeError(
        "cluster_deadline_exceeded",
        `the cluster did not finish in ${Math.round(deadlineMs / 1000)} s`,
      );
    const whole = deadline(clock, deadlineMs, exceeded, AbortSignal.any([this.#aborted.signal, deleted]));
    const readingMs = deadlineMs - Math.min(DELIVERY_MS_MAX, deadlineMs / 10);
    const reading = deadline(clock, readingMs, exceeded, whole.signal);
    try {
      return await collectCluster(cluster, {
        epoch,
        signal: whole.signal,
        readSignal: reading.signal,
        isStopping: () => this.#isStopping || deleted.aborted,
        offerProgress: (read) => watch.offer(read),
      });
    } catch (thrown) {
      logger.error({ err: thrown, cluster_id: cluster.id }, "collecting a cluster ended with a defect");
      return emptyResult(cluster, "failed", toBridgeError(thrown));
    } finally {
      reading.dispose();
      whole.dispose();
    }
  }
}

function endedResult(cluster: Cluster, error: BridgeError): ClusterResult {
  return emptyResult(cluster, isLeaseLost(error) ? "skipped" : "failed", error);
}
