import type { Cluster } from "#clusters/cluster.ts";
import type { Clock } from "#lib/clock.ts";
import { assert } from "#lib/assert.ts";
import type { CollectionProgress, ReadProgress } from "./collection-progress.ts";
import { isIdleRound } from "./round-result.ts";
import type { ClusterResult, RoundResult } from "./status.ts";

/** waiting: for its turn; connecting: nothing is read yet; reading: `progress` says how far; finished: `result` says how. */
type LiveState = "waiting" | "connecting" | "reading" | "finished";

/** One cluster of a round, as it is at one time. Never changes: a later state is another object. */
export interface LiveCluster {
  cluster_id: string;
  cluster_name: string;
  /** The id of the round. */
  round: string;
  state: LiveState;
  /** When its turn came; null while it waits, and for a skipped one. RFC 3339. */
  started_at: string | null;
  /** The last that is known; null when nothing was read. */
  progress: CollectionProgress | null;
  /** null until it is finished. */
  result: ClusterResult | null;
}

export interface LiveRound {
  round: RoundResult;
  /** All of its clusters, by their ids. */
  clusters: ReadonlyMap<string, LiveCluster>;
}

/** `cluster`: the new state of one of the round's clusters. */
export type LiveChange =
  | { kind: "round_started" | "round_finished"; live: LiveRound }
  | { kind: "cluster"; live: LiveRound; cluster: LiveCluster };

/** Rounds as they happen. */
export interface LiveRounds {
  /** The rounds under way, oldest first; when there is none, the last one that did something. */
  now(): readonly LiveRound[];
  /** Calls `onChange` for each change, until the returned function is called. Progress is looked at twice a second, and only while somebody listens. */
  listen(onChange: (change: LiveChange) => void): () => void;
}

/** What a collection tells about itself while it runs. */
export interface CollectionWatch {
  /** Its turn has come. */
  began(): void;
  /** From now on `read` tells how far it is. */
  offer(read: ReadProgress): void;
}

const LOOK_MS = 500;

interface Round extends LiveRound {
  clusters: Map<string, LiveCluster>;
  /** Of the clusters that are being collected. */
  probes: Map<string, ReadProgress>;
}

/** The record of the rounds under way that listeners follow. */
export class RoundWatch implements LiveRounds {
  readonly #clock: Clock;
  readonly #rounds = new Map<string, Round>();
  #last: LiveRound | undefined;
  readonly #listeners = new Set<(change: LiveChange) => void>();
  #cancelLook: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): readonly LiveRound[] {
    return this.#rounds.size > 0 ? [...this.#rounds.values()] : this.#last ? [this.#last] : [];
  }

  listen(onChange: (change: LiveChange) => void): () => void {
    // Each listener is another object, also when the same function listens twice.
    const listener = (change: LiveChange): void => onChange(change);
    this.#listeners.add(listener);
    this.#lookLater();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#stopLooking();
    };
  }

  /** A round over `clusters` begins. One that finds all of them busy is not shown. */
  roundStarted(round: RoundResult, clusters: readonly Cluster[]): void {
    if (isIdleRound(round)) return;
    const results = new Map(round.clusters.map((result) => [result.cluster_id, result]));
    const live: Round = {
      round,
      probes: new Map(),
      clusters: new Map(clusters.map((each) => [each.id, waiting(round, each, results.get(each.id))])),
    };
    this.#rounds.set(round.id, live);
    this.#tell({ kind: "round_started", live });
  }

  watch(roundId: string, clusterId: string): CollectionWatch {
    return {
      began: () => {
        const started_at = new Date(this.#clock.now()).toISOString();
        this.#change(roundId, clusterId, { state: "connecting", started_at });
      },
      offer: (read) => {
        this.#rounds.get(roundId)?.probes.set(clusterId, read);
        this.#lookLater();
      },
    };
  }

  clusterFinished(roundId: string, result: ClusterResult): void {
    const live = this.#rounds.get(roundId);
    const read = live?.probes.get(result.cluster_id);
    live?.probes.delete(result.cluster_id);
    const progress = read?.();
    const { points, series } = result;
    // What a worker told last may be older than the result.
    const last = progress ? { progress: { ...progress, points, series, reading: [] } } : {};
    this.#change(roundId, result.cluster_id, { state: "finished", result, ...last });
  }

  roundFinished(round: RoundResult): void {
    const live = this.#rounds.get(round.id);
    if (!live) return;
    assert(live.probes.size === 0, "no cluster of a finished round is being collected");
    this.#rounds.delete(round.id);
    this.#last = live;
    this.#tell({ kind: "round_finished", live });
  }

  #change(roundId: string, clusterId: string, change: Partial<LiveCluster>): void {
    const live = this.#rounds.get(roundId);
    const before = live?.clusters.get(clusterId);
    if (!live || !before) return;
    const cluster = { ...before, ...change };
    live.clusters.set(clusterId, cluster);
    this.#tell({ kind: "cluster", live, cluster });
  }

  #tell(change: LiveChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  #lookLater(): void {
    if (this.#cancelLook || this.#listeners.size === 0) return;
    if (![...this.#rounds.values()].some(({ probes }) => probes.size > 0)) return;
    this.#cancelLook = this.#clock.after(LOOK_MS, () => {
      this.#cancelLook = undefined;
      for (const live of this.#rounds.values()) this.#look(live);
      this.#lookLater();
    });
  }

  #stopLooking(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }

  #look({ round, clusters, probes }: Round): void {
    for (const [clusterId, read] of probes) {
      const progress = read();
      if (!progress || isSame(progress, clusters.get(clusterId)?.progress ?? null)) continue;
      this.#change(round.id, clusterId, { state: "reading", progress });
    }
  }
}

function waiting(round: RoundResult, cluster: Cluster, result: ClusterResult | undefined): LiveCluster {
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    round: round.id,
    state: result ? "finished" : "waiting",
    started_at: null,
    progress: null,
    result: result ?? null,
  };
}

function isSame(a: CollectionProgress, b: CollectionProgress | null): boolean {
  return b !== null && JSON.stringify(a) === JSON.stringify(b);
}
