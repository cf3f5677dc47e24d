import type { LiveChange, LiveCluster, LiveRound, LiveRounds } from "#collect/live-rounds.ts";
import type { RoundResult } from "#collect/status.ts";
import type { Clock } from "#lib/clock.ts";
import type { EventStream } from "./event-stream.ts";
import { scrubTold } from "./errors.ts";
import type { LiveEventData, LiveEventName } from "./live-schemas.ts";
import { toVisibleRound } from "./visible-status.ts";

/** Least time between two times of sending. */
const SEND_MS = 500;
/** Starts and ends of rounds that wait for a slow reader. With more, it gets the state instead. */
const ROUND_EVENTS_MAX = 8;

type LiveRoundData = LiveEventData["round_finished"]["round"];

/**
 * Sends the rounds as they happen to one reader, of which it `sees` only some clusters: at most twice a second, and only the latest state of
 * each cluster. What a slow reader did not take yet is replaced, never queued.
 */
export function feedLiveRounds(
  live: LiveRounds,
  clock: Clock,
  stream: EventStream,
  sees: "all" | ((clusterId: string) => boolean),
): void {
  const feed = new LiveFeed(live, clock, stream, sees);
  const stopListening = live.listen((change) => feed.note(change));
  stream.onReady(() => feed.sendSoon());
  const end = (): void => {
    stopListening();
    feed.stop();
  };
  if (stream.signal.aborted) end();
  else stream.signal.addEventListener("abort", end, { once: true });
  feed.sendSoon();
}

class LiveFeed {
  readonly #live: LiveRounds;
  readonly #clock: Clock;
  readonly #stream: EventStream;
  readonly #sees: "all" | ((clusterId: string) => boolean);
  /** The reader gets everything anew, instead of what waits. */
  #needsState = true;
  /** In their order. */
  readonly #roundEvents: { event: "round_started" | "round_finished"; live: LiveRound }[] = [];
  /** The latest of each, by round and cluster. */
  readonly #changed = new Map<string, { live: LiveRound; cluster: LiveCluster }>();
  #lastId = 0;
  #sentAt = -Infinity;
  #cancelSend: (() => void) | undefined;

  constructor(
    live: LiveRounds,
    clock: Clock,
    stream: EventStream,
    sees: "all" | ((clusterId: string) => boolean),
  ) {
    this.#live = live;
    this.#clock = clock;
    this.#stream = stream;
    this.#sees = sees;
  }

  note(change: LiveChange): void {
    if (!this.#needsState) this.#keep(change);
    this.sendSoon();
  }

  /** At once, if the last time is long enough ago and the reader keeps up. */
  sendSoon(): void {
    if (this.#cancelSend || !this.#stream.isReady() || this.#stream.signal.aborted) return;
    const waitMs = Math.max(0, this.#sentAt + SEND_MS - this.#clock.monotonic());
    // Never within the collection's own turn.
    this.#cancelSend = this.#clock.after(waitMs, () => {
      this.#cancelSend = undefined;
      if (this.#stream.isReady()) this.#send();
    });
  }

  stop(): void {
    this.#cancelSend?.();
    this.#clear();
  }

  #keep(change: LiveChange): void {
    const { live } = change;
    if (change.kind === "cluster") {
      const { cluster } = change;
      if (this.#canSee(cluster.cluster_id)) {
        this.#changed.set(`${live.round.id} ${cluster.cluster_id}`, { live, cluster });
      }
      return;
    }
    this.#roundEvents.push({ event: change.kind, live });
    if (this.#roundEvents.length <= ROUND_EVENTS_MAX) return;
    this.#clear();
    this.#needsState = true;
  }

  #clear(): void {
    this.#roundEvents.length = 0;
    this.#changed.clear();
  }

  #send(): void {
    this.#sentAt = this.#clock.monotonic();
    if (this.#needsState) {
      this.#needsState = false;
      const rounds = this.#live.now();
      this.#event("state", {
        rounds: rounds.map((live) => this.#round(live)),
        clusters: rounds.flatMap((live) => this.#clusters(live)),
      });
      return;
    }
    for (const { event, live } of this.#roundEvents) {
      if (event === "round_started") {
        // Its clusters as they are now: none of them is told once more.
        for (const id of live.clusters.keys()) this.#changed.delete(`${live.round.id} ${id}`);
        this.#event(event, { round: this.#round(live), clusters: this.#clusters(live) });
      } else {
        this.#sendChanged((each) => each === live);
        this.#event(event, { round: this.#round(live) });
      }
    }
    this.#sendChanged(() => true);
    this.#clear();
  }

  #sendChanged(isOf: (live: LiveRound) => boolean): void {
    const changed = [...this.#changed].filter(([, { live }]) => isOf(live));
    if (changed.length === 0) return;
    for (const [key] of changed) this.#changed.delete(key);
    const rounds = new Set(changed.map(([, { live }]) => live));
    this.#event("progress", {
      rounds: [...rounds].map((live) => this.#round(live)),
      clusters: changed.map(([, { cluster }]) => scrubbed(cluster)),
    });
  }

  #event<Name extends LiveEventName>(event: Name, data: LiveEventData[Name]): void {
    this.#stream.send({ event, data, id: String(++this.#lastId) });
  }

  #canSee(clusterId: string): boolean {
    return this.#sees === "all" || this.#sees(clusterId);
  }

  #clusters({ clusters }: LiveRound): LiveCluster[] {
    return [...clusters.values()].filter(({ cluster_id: id }) => this.#canSee(id)).map(scrubbed);
  }

  #round({ round, clusters }: LiveRound): LiveRoundData {
    if (this.#sees === "all") return withoutClusters(round);
    const underWay = [...clusters.values()].filter(
      ({ cluster_id: id, state }) => state !== "finished" && this.#canSee(id),
    );
    const ids = underWay.map(({ cluster_id: id }) => id);
    return withoutClusters(toVisibleRound(round, this.#sees, ids));
  }
}

function withoutClusters({ clusters: _clusters, ...round }: RoundResult): LiveRoundData {
  return round;
}

/** Errors may quote a remote server. */
function scrubbed(cluster: LiveCluster): LiveCluster {
  const { result } = cluster;
  if (!result?.error) return cluster;
  return { ...cluster, result: { ...result, error: scrubTold(result.error) } };
}
