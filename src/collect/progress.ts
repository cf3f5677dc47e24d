import { createHash } from "node:crypto";
import type { ErrorBody } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import { createRecord } from "#lib/records.ts";
import { boundText } from "#lib/bounds.ts";
import { STRETCH_REASONS } from "#lib/stretch-states.ts";
import type { KnownTransport } from "#prometheus/sample-transport.ts";
import type { MetricType } from "#prometheus/metadata.ts";
import { addInterval, coveredUntil, dropBefore, isDisjoint, missingIn, type Interval } from "./intervals.ts";
import type { Sharding } from "./sharding.ts";
import type { WindowLength } from "./window-length.ts";
import type { LinkSpeed } from "#prometheus/compression.ts";

/** A stretch that is not stored and will not be: lost can't be read any more, refused was refused by the Collector or the bridge (other points of it are stored). */
export interface Gap {
  from: number;
  to: number;
  state: "lost" | "refused";
  reason: string;
  points: number;
}

/** The kind that a metric's points are sent as, for windows that end after `since`. */
interface TypeSince {
  kind: MetricType["kind"];
  since: number;
}

/** No ready Pod had samples of (from, to], seen at `seen_at` by the bridge's clock. */
export interface AbsentStretch {
  from: number;
  to: number;
  seen_at: number;
}

/** The progress of one query of one cluster. Times in ms since the epoch, by Prometheus' clock. */
export interface QueryProgress {
  /** Hash of the PromQL that the rest is about. */
  promql_hash: string;
  /** Collecting began here: nothing before it was ever promised. */
  from: number;
  /** Windows whose every point is acknowledged or in `gaps`; sorted, disjoint. */
  committed: Interval[];
  gaps: Gap[];
  /** Lost stretches whose gap is no longer kept; absent: none. Sorted, disjoint. */
  unlisted_lost?: Interval[];
  /** End of the latest window that may have been sent, in whole or in part. */
  attempted: number;
  types: Record<string, TypeSince[]>;
  /** The length of window that the source can answer; absent while that is the longest one. */
  window?: WindowLength;
  /** When a window of it was last read, by the bridge's clock; absent: never. Queries that were read longest ago are read first. */
  read_at?: number;
  /**
   * The back-fill goes on at `from`, behind windows that failed, so many of them one after another; absent: at the oldest open window.
   */
  backfill?: { from: number; failures: number };
  /** Stretches without a sample in any ready Pod, and when that was first seen. */
  absent?: AbsentStretch[];
  /** Samples before this time are stored if Prometheus has them, but were never promised: they can't be lost. */
  promised_from?: number;
  /** Samples in committed windows: as read, and as acknowledged. */
  samples_read: number;
  samples_sent: number;
}

/** How the last collection of a cluster went, kept for the status. */
export interface LastCollection {
  at: number;
  success_at: number | null;
  error: (ErrorBody & { at: string }) | null;
  points: number;
  series: number;
  /** Samples that were read, by transport, and stale markers that were acknowledged; absent in records of earlier versions. */
  samples_by?: Record<KnownTransport["transport"], number>;
  markers?: number;
  groups: Record<string, "present" | "absent" | "unknown">;
  clock_skew_ms: number | null;
  warnings: string[];
}

/** The state record `progress:<cluster id>`, and `progress:<cluster id>:<n>` of a further shard of its Prometheus. Its objects with outside names as keys have no prototype (`createRecord`). */
export interface ClusterProgress {
  version: 1;
  /** The Prometheus Pod that windows are read from, and since when. */
  pod: { uid: string; name: string; since: number; samples_by?: KnownTransport } | null;
  /** The database that the committed windows are stored in; absent when the program does not know it. */
  database?: string;
  /** The start of the cluster's collection is in a record of its own (`collected:<id>`). */
  is_begin_recorded?: true;
  /** The earlier progress was lost: until the next plan, queries begin at this time, the start of the collection. */
  restart_from?: number;
  /** The first queries of a shard that was found later begin here, as far as MAX_BACKFILL reaches: where the cluster's collection began. */
  begin_from?: number;
  /** How the Pods behind the Service are read; absent in the records of further shards, and while there is one Pod. */
  sharding?: Sharding;
  /** Prometheus has had samples of `up`: the oldest of them shows since when it has data. */
  up_seen?: boolean;
  /** The speed of the link to Prometheus: answers over a slow one are asked for compressed. */
  link?: LinkSpeed;
  queries: Record<string, QueryProgress>;
  last: LastCollection | null;
}

const GAPS_MAX = 50;
const GAP_REASON_BYTES_MAX = 1 << 10;
const GAPS_KEPT_MS = 7 * 86_400_000;
/** Changes of a metric's kind that are remembered; beyond them the kind stays until the oldest is out of reach. */
const KINDS_MAX = 4;

export function emptyProgress(): ClusterProgress {
  return { version: 1, pod: null, queries: createRecord(), last: null };
}

export function hashPromql(promql: string): string {
  return createHash("sha256").update(promql).digest("hex").slice(0, 16);
}

/** A query that is collected from `from` on. */
export function newQueryProgress(promql: string, from: number): QueryProgress {
  return {
    promql_hash: hashPromql(promql),
    from,
    committed: [],
    gaps: [],
    attempted: from,
    types: createRecord(),
    samples_read: 0,
    samples_sent: 0,
  };
}

/** All time that is not read any more: committed windows and lost gaps. */
export function settledIntervals(query: QueryProgress): Interval[] {
  return query.gaps
    .filter((gap) => gap.state === "lost")
    .map(({ from, to }): Interval => [from, to])
    .concat(query.unlisted_lost ?? [])
    .reduce(addInterval, query.committed);
}

/** Every sample at or before this time is stored, or its time is named in `gaps`. */
export function watermarkOf(query: QueryProgress): number {
  return coveredUntil(query.from, settledIntervals(query));
}

/** Marks a window committed. `counts`: its samples as read, and as acknowledged. */
export function commit(query: QueryProgress, window: Interval, counts: { read: number; sent: number }): void {
  assert(counts.sent <= counts.read, "acknowledged samples were read");
  const watermark = watermarkOf(query);
  query.committed = addInterval(query.committed, window);
  assert(isDisjoint(query.committed), "committed windows are sorted and disjoint");
  assert(watermarkOf(query) >= watermark, "the watermark never goes back");
  query.samples_read += counts.read;
  query.samples_sent += counts.sent;
}

/** Time that became lost in this round, for the status, the log and the metrics. */
export interface Loss {
  query: string;
  from: number;
  to: number;
  reason: LossReason;
}

export type LossReason = "older_than_max_backfill" | "no_pod_has_it" | "query_changed";

export const LOSS_TEXTS: Record<LossReason, string> = {
  older_than_max_backfill: STRETCH_REASONS.older_than_max_backfill.text,
  no_pod_has_it: STRETCH_REASONS.no_pod_has_it.text,
  query_changed: STRETCH_REASONS.query_changed.text,
};

/** Gives up the unsettled parts of a stretch: they become lost gaps. Returns them. */
export function lose(name: string, query: QueryProgress, stretch: Interval, reason: LossReason): Loss[] {
  return missingIn(stretch, settledIntervals(query)).map(([from, to]) => {
    addGap(query, { from, to, state: "lost", reason: LOSS_TEXTS[reason], points: 0 });
    return { query: name, from, to, reason };
  });
}

/**
 * Adds a gap, as one with its neighbour of the same state and reason. Beyond 50 the two refused ones that are closest to each other become one:
 * their points are somewhere between its ends. Where that is not possible the oldest is dropped. A reason
 * has up to 1 KiB.
 */
export function addGap(query: QueryProgress, added: Gap): void {
  const gap = { ...added, reason: boundText(added.reason, GAP_REASON_BYTES_MAX) };
  const same = query.gaps.find(
    (known) =>
      known.state === gap.state &&
      known.reason === gap.reason &&
      known.from <= gap.to &&
      gap.from <= known.to,
  );
  if (same) {
    same.from = Math.min(same.from, gap.from);
    same.to = Math.max(same.to, gap.to);
    same.points += gap.points;
  } else {
    query.gaps.push(gap);
  }
  query.gaps.sort((a, b) => a.from - b.from);
  while (query.gaps.length > GAPS_MAX) {
    if (!joinRefused(query.gaps)) forgetGap(query, query.gaps.shift()!);
  }
}

/** Makes one gap of the two refused ones of the same reason that are closest to each other. False when there are no such two. */
function joinRefused(gaps: Gap[]): boolean {
  const last = new Map<string, number>();
  let best: { at: number; next: number; distance: number } | undefined;
  for (const [next, gap] of gaps.entries()) {
    if (gap.state !== "refused") continue;
    const at = last.get(gap.reason);
    last.set(gap.reason, next);
    if (at === undefined) continue;
    const distance = gap.from - gaps[at]!.to;
    if (!best || distance < best.distance) best = { at, next, distance };
  }
  if (!best) return false;
  const [joined] = gaps.splice(best.next, 1);
  const kept = gaps[best.at]!;
  kept.to = Math.max(kept.to, joined!.to);
  kept.points += joined!.points;
  return true;
}

/** Forgets which windows before `ms` were committed, and gaps a week before it: the record must not grow for ever. */
export function forgetBefore(query: QueryProgress, ms: number): void {
  if (watermarkOf(query) < ms || query.from >= ms) return;
  query.committed = dropBefore(ms, query.committed);
  query.gaps = query.gaps.filter((gap) => gap.to > ms - GAPS_KEPT_MS);
  const unlisted = dropBefore(ms, query.unlisted_lost ?? []);
  if (unlisted.length > 0) query.unlisted_lost = unlisted;
  else delete query.unlisted_lost;
  for (const types of Object.values(query.types)) {
    while (types.length > 1 && types[1]!.since <= ms) types.shift();
  }
  query.from = ms;
}

/** A lost stretch whose gap is no longer kept must not be read again, and is not committed either. */
function forgetGap(query: QueryProgress, gap: Gap): void {
  if (gap.state === "lost") query.unlisted_lost = addInterval(query.unlisted_lost ?? [], [gap.from, gap.to]);
}

/**
 * The kind of a metric in a window that ends at `toMs`. The first answer is kept; when the source says another kind later, that counts only
 * for windows beyond everything that may have been sent, so that no sample is stored in two tables.
 */
export function fixedKind(
  query: QueryProgress,
  metric: string,
  kind: MetricType["kind"],
  toMs: number,
): MetricType["kind"] {
  const known = (query.types[metric] ??= [{ kind, since: query.from }]);
  const latest = known.at(-1)!;
  if (latest.kind !== kind && query.attempted > latest.since && known.length < KINDS_MAX) {
    known.push({ kind, since: query.attempted });
  }
  return (known.findLast((type) => type.since < toMs) ?? known[0]!).kind;
}
