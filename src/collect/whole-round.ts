import type { ReplicaReport } from "#lib/replica-report.ts";
import { isIdleRound } from "./round-result.ts";
import type { CollectionStatus, RoundResult } from "./status.ts";

/** What is known of all replicas. */
export interface WholeFacts {
  /** Of this replica. */
  name: string;
  replicas: readonly ReplicaReport[];
  /** The owner of each cluster; null for none. */
  owners: ReadonlyMap<string, string | null>;
  /** The last rounds of the other replicas that are alive, by name. */
  parts: ReadonlyMap<string, RoundResult>;
}

/** Parts of one tick begin so close to each other: the jitter, and clocks that differ. */
const SAME_TICK_MS = 60_000;

/** The round of all replicas: sums of their parts. */
export function joinParts(parts: readonly RoundResult[]): RoundResult | null {
  const [first, ...others] = parts;
  if (!first || others.length === 0) return first ?? null;
  const sum = (of: (part: RoundResult) => number): number => parts.reduce((all, part) => all + of(part), 0);
  const started = parts.map(({ started_at }) => started_at).sort();
  const isFinished = parts.every(({ finished_at }) => finished_at !== null);
  const finished = parts.map(({ finished_at }) => finished_at ?? "").sort();
  return {
    ...first,
    started_at: started[0]!,
    finished_at: isFinished ? finished.at(-1)! : null,
    duration_seconds: isFinished ? (Date.parse(finished.at(-1)!) - Date.parse(started[0]!)) / 1000 : null,
    total: sum(({ total }) => total),
    successful: sum(({ successful }) => successful),
    partial: sum(({ partial }) => partial),
    failed: sum(({ failed }) => failed),
    skipped: sum(({ skipped }) => skipped),
    points: sum(({ points }) => points),
    bytes: sum(({ bytes }) => bytes),
    clusters: parts.flatMap(({ clusters }) => clusters),
  };
}

/** The status of all replicas from this one's: rounds as a whole, and who owns which cluster. */
export function toWholeStatus(
  status: CollectionStatus,
  { name, replicas, owners, parts }: WholeFacts,
): CollectionStatus {
  const others = [...parts.values()];
  const { current_round: current, last_round: last } = status;
  const underWay = others.filter(({ finished_at }) => finished_at === null);
  const finished = others.filter((part) => part.finished_at !== null && !isIdleRound(part));
  return {
    ...status,
    replicas: [...replicas],
    current_round: joinParts([...(current ? [current] : []), ...underWay]),
    last_round: joinParts(sameRound([...(last ? [last] : []), ...finished])),
    clusters: status.clusters.map((cluster) => {
      const owner = owners.get(cluster.cluster_id) ?? null;
      const part = owner === null || owner === name ? undefined : parts.get(owner);
      return { ...cluster, owner, collecting: cluster.collecting || isCollecting(part, cluster.cluster_id) };
    }),
  };
}

/** Those of the newest round: with the same id, or of the same tick. */
function sameRound(parts: readonly RoundResult[]): RoundResult[] {
  const newest = parts.toSorted((a, b) => (a.started_at < b.started_at ? 1 : -1))[0];
  if (!newest) return [];
  const isSame = (part: RoundResult): boolean => {
    if (part.id === newest.id) return true;
    if (part.trigger === "request" || newest.trigger === "request") return false;
    return Date.parse(newest.started_at) - Date.parse(part.started_at) < SAME_TICK_MS;
  };
  return parts.filter(isSame);
}

/** Of another replica only the begin and the end of its part are known. */
function isCollecting(part: RoundResult | undefined, clusterId: string): boolean {
  if (!part || part.finished_at !== null) return false;
  return !part.clusters.some(({ cluster_id }) => cluster_id === clusterId);
}
