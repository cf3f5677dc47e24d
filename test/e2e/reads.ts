import type { Simulator } from "#simulator/simulator.ts";

/** A request of a replica to a cluster's Prometheus. */
interface Request {
  cluster: string;
  replica: string;
  atMs: number;
}

/** A window of one query that it read; both ends included. */
export interface Read extends Request {
  query: string;
  fromMs: number;
  toMs: number;
}

const REMOTE_READ = "/api/v1/read";

/** Every request since the start or the last `forget`, in the order of arrival at each cluster. */
export function requestsTo(simulator: Simulator): Request[] {
  return simulator.clusters.flatMap(({ id }) =>
    simulator.faults.traffic(id).requests.flatMap(({ atMs, orgId }) => {
      return atMs === undefined || orgId === undefined ? [] : [{ cluster: id, replica: orgId, atMs }];
    }),
  );
}

/** Those that read samples. */
export function readsOf(simulator: Simulator): Read[] {
  return simulator.clusters.flatMap(({ id }) =>
    simulator.faults.traffic(id).requests.flatMap(({ what, query = "", atMs, orgId, span }) => {
      if (what !== REMOTE_READ || atMs === undefined || orgId === undefined || !span) return [];
      return [{ cluster: id, replica: orgId, query, atMs, ...span }];
    }),
  );
}

/** Number of the round that a time belongs to: rounds begin at the multiples of the interval. */
export function roundOf(atMs: number, intervalMs: number): number {
  return Math.floor(atMs / intervalMs);
}

/** Who asked the cluster in each round, by `cluster round`. */
export function readersByRound(requests: readonly Request[], intervalMs: number): Map<string, Set<string>> {
  const readers = new Map<string, Set<string>>();
  for (const { cluster, replica, atMs } of requests) {
    const key = `${cluster} ${roundOf(atMs, intervalMs)}`;
    readers.set(key, (readers.get(key) ?? new Set()).add(replica));
  }
  return readers;
}

/** How many windows of a cluster were read though they, or a part of them, had been read before: of the query with the most. */
export function repeatedWindows(reads: readonly Read[]): Map<string, number> {
  const before = new Map<string, Read[]>();
  const repeats = new Map<string, number>();
  for (const read of reads) {
    const key = `${read.cluster} ${read.query}`;
    const earlier = before.get(key) ?? [];
    if (earlier.some(({ fromMs, toMs }) => fromMs <= read.toMs && read.fromMs <= toMs))
      repeats.set(key, (repeats.get(key) ?? 0) + 1);
    before.set(key, [...earlier, read]);
  }
  const most = new Map<string, number>();
  for (const [key, count] of repeats) {
    const cluster = key.split(" ")[0]!;
    most.set(cluster, Math.max(most.get(cluster) ?? 0, count));
  }
  return most;
}

/** Times between two windows of a query that nobody read. */
export function unreadTimes(reads: readonly Read[]): string[] {
  const byQuery = Map.groupBy(reads, ({ cluster, query }) => `${cluster} ${query}`);
  return [...byQuery].flatMap(([key, windows]) => {
    let toMs = Infinity;
    return windows
      .toSorted((a, b) => a.fromMs - b.fromMs)
      .flatMap((window) => {
        const gap = window.fromMs > toMs + 1 ? [`${key}: ${toMs} to ${window.fromMs}`] : [];
        toMs = Math.max(toMs === Infinity ? -Infinity : toMs, window.toMs);
        return gap;
      });
  });
}
