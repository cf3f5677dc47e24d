import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { ClusterStatus, LiveCluster, LiveEvent, LiveRound } from "./api-types.ts";
import { ApiError } from "./api.ts";
import { after, nowMs } from "./clock.ts";
import { readEvents } from "./events.ts";
import { settings } from "./settings.ts";

const BACKOFF_MS = 1000;
const BACKOFF_MS_MAX = 60_000;

interface Followed extends LiveCluster {
  /** When the result came, ms since 1970. */
  resultAt: number;
}

/** The rounds under way, or the last one, as their events tell. */
export interface Live {
  rounds: LiveRound[];
  /** By their ids; of several rounds the latest that does not skip the cluster. */
  clusters: ReadonlyMap<string, Followed>;
}

/** null: nothing is followed, because the role has no collection, the stream is refused or broken, or nobody sees the page. */
const live = signal<Live | null>(null);

/** Changes when a round has ended: what is known of the clusters is old then. */
export const roundsEnded = signal(0);

let followers = 0;
let stop = (): void => {};

/** Follows the rounds while the component is there and the page is seen. */
export function useLive(): Live | null {
  useEffect(() => {
    if (!settings.parts.collection) return undefined;
    if (++followers === 1) start();
    return () => {
      if (--followers === 0) stop();
    };
  }, []);
  return live.value;
}

function start(): void {
  let ended = new AbortController();
  const look = (): void => {
    ended.abort();
    ended = new AbortController();
    if (document.visibilityState === "visible") void follow(ended.signal);
    else live.value = null;
  };
  document.addEventListener("visibilitychange", look);
  stop = () => {
    document.removeEventListener("visibilitychange", look);
    ended.abort();
    live.value = null;
  };
  look();
}

async function follow(end: AbortSignal): Promise<void> {
  for (let failures = 0; !end.aborted; failures++) {
    try {
      await readEvents("GET", "/metrics/events", end, (name, data) => {
        failures = 0;
        apply(name, data as LiveEvent);
      });
    } catch (error) {
      // Without the right to read, no view is there either: there is no use in asking again.
      if (error instanceof ApiError && error.status >= 400 && error.status < 429) return;
    }
    if (end.aborted) return;
    live.value = null;
    const waitMs = Math.min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** failures);
    await new Promise<void>((resolve) => {
      const cancel = after(waitMs, resolve);
      end.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
  }
}

function apply(name: string, { round, rounds = [], clusters = [] }: LiveEvent): void {
  const isWhole = name === "state";
  const told = round ? [round] : rounds;
  const before = isWhole ? null : live.peek();
  const known = (before?.rounds ?? []).filter(({ id }) => !told.some((each) => each.id === id));
  const all = [...known, ...told];
  // The last one stays until another begins.
  const isUnderWay = all.some((each) => each.finished_at === null);
  const next = new Map(before?.clusters);
  for (const cluster of clusters) {
    const { cluster_id: id, result } = cluster;
    const other = next.get(id);
    if (result?.outcome === "skipped" && other) continue;
    const isNew =
      result !== null &&
      all.some((each) => each.id === cluster.round && (each.finished_at === null || !isWhole));
    next.set(id, { ...cluster, resultAt: isNew ? nowMs() : 0 });
  }
  live.value = {
    rounds: isUnderWay ? all.filter((each) => each.finished_at === null) : all.slice(-1),
    clusters: next,
  };
  if (name === "round_finished") roundsEnded.value++;
}

/** The cluster in a round under way. */
export function underWay(now: Live | null, id: string): LiveCluster | null {
  const found = now?.clusters.get(id);
  const round = now?.rounds.find((each) => each.id === found?.round);
  return found && round?.finished_at === null ? found : null;
}

/** The status of a cluster with the result of its collection, if that came after the status, which was read at `readAt`. */
export function withResult(status: ClusterStatus, now: Live | null, readAt: number): ClusterStatus {
  const { result = null, resultAt = 0 } = now?.clusters.get(status.cluster_id) ?? {};
  if (!result || result.outcome === "skipped" || resultAt <= readAt) return status;
  if (!result.error) {
    const isGood = ["failing", "pending", "stale"].includes(status.state);
    return isGood ? { ...status, state: "healthy", last_error: null } : status;
  }
  return {
    ...status,
    state: result.outcome === "failed" ? "failing" : "partial",
    last_error: { ...result.error, at: new Date(resultAt).toISOString() },
  };
}
