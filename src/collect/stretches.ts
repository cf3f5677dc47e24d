import { assert } from "#lib/assert.ts";
import type { StretchReason, StretchState } from "#lib/stretch-states.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { missingIn, type Interval } from "./intervals.ts";
import { LOSS_TEXTS, settledIntervals, type LossReason, type QueryProgress } from "./progress.ts";
import { noSamples, totalOf, type ClusterProof, type QueryProof, type StretchProof } from "./proof.ts";

/** One query in one stretch of time (from, to], ms by Prometheus' clock. */
export interface Stretch {
  from: number;
  to: number;
  state: StretchState;
  /** Of unproved, refused, lost and open stretches. */
  reason?: StretchReason;
  /** What the Collector said, at most 1 KiB; of refused stretches. */
  detail?: string;
  /** Samples at the source when that was last compared; null: never. */
  source: number | null;
  /** Samples that were read, native histograms among them. */
  read: number;
  acknowledged: number;
  refused: number;
  /** Samples that reached the source after the stretch was read, and were read since. */
  late: number;
  /** When it was last compared, ms by Prometheus' clock. */
  comparedAt?: number;
}

/** A caller asks for a limited range. */
const STRETCHES_MAX = 100_000;

/**
 * The stretches of a query that reach into the range, oldest first; none from before the query's start. `from` of the range is at or after
 * the epoch.
 */
export function stretchesOf(
  query: Query,
  progress: QueryProgress,
  proof: ClusterProof,
  range: { from: number; to: number },
): Stretch[] {
  const { stretchMs } = proof;
  const known = proof.queries[query.name];
  const counted = known?.promqlHash === progress.promql_hash ? known : undefined;
  const begin = Math.min(progress.from, counted?.from ?? Infinity, counted?.stretches[0]?.from ?? Infinity);
  const first = Math.floor(Math.max(range.from, begin) / stretchMs) * stretchMs;
  assert((range.to - first) / stretchMs <= STRETCHES_MAX, "the range has a limited number of stretches");
  const byStart = new Map(counted?.stretches.map((stretch) => [stretch.from, stretch]));
  const settled = settledIntervals(progress);
  const stretches: Stretch[] = [];
  for (let from = first; from < range.to; from += stretchMs) {
    const stretch = byStart.get(from);
    const counts = stretch?.counts ?? noSamples();
    stretches.push({
      from,
      to: from + stretchMs,
      ...stateOf(query, { progress, settled, proof: counted, stretch }, [from, from + stretchMs]),
      source: stretch?.source ?? null,
      read: totalOf(counts),
      acknowledged: counts.acknowledged,
      refused: counts.refused,
      late: stretch?.late ?? 0,
      ...(typeof stretch?.comparedAt === "number" ? { comparedAt: stretch.comparedAt } : {}),
    });
  }
  return stretches;
}

type StateAndReason = Pick<Stretch, "state" | "reason" | "detail">;

interface KnownOfStretch {
  progress: QueryProgress;
  /** Of the progress. */
  settled: readonly Interval[];
  proof: QueryProof | undefined;
  stretch: StretchProof | undefined;
}

function stateOf(
  query: Query,
  { progress, settled, proof, stretch }: KnownOfStretch,
  [from, to]: Interval,
): StateAndReason {
  const isIn = (part: { from: number; to: number }): boolean => part.from < to && part.to > from;
  const lost = progress.gaps.find((gap) => gap.state === "lost" && isIn(gap));
  if (lost) return { state: "lost", reason: lossReason(lost.reason) };
  if (progress.unlisted_lost?.some(([start, end]) => isIn({ from: start, to: end })))
    return { state: "lost", reason: "older_than_max_backfill" };
  if (to > progress.attempted) return { state: "pending" };
  const missing = missingIn([Math.max(from, progress.from), to], settled);
  if (missing.length > 0) return { state: "open", reason: "not_read" };
  if (stretch?.reread) return { state: "open", reason: "read_again" };
  const refused = progress.gaps.find((gap) => gap.state === "refused" && isIn(gap));
  const isRefused = stretch ? stretch.counts.refused > 0 : refused !== undefined;
  const comparison = comparisonOf(query, { progress, settled, proof, stretch }, [from, to]);
  if (!isRefused || comparison.state === "pending") return comparison;
  return { state: "refused", reason: "refused", ...(refused ? { detail: refused.reason } : {}) };
}

/** The state of a stretch that is read, whatever was refused of it. */
function comparisonOf(
  query: Query,
  { progress, proof, stretch }: KnownOfStretch,
  time: Interval,
): StateAndReason {
  if (query.kind === "expression") return { state: "unproved", reason: "expression" };
  if (stretch?.unproved) return { state: "unproved", reason: stretch.unproved };
  if (stretch?.comparedAt == null) return uncompared(progress, proof, time);
  return { state: "proved" };
}

function uncompared(
  progress: QueryProgress,
  proof: QueryProof | undefined,
  [from, to]: Interval,
): StateAndReason {
  if (!proof || proof.from >= to) return { state: "unproved", reason: "not_counted" };
  if (progress.from > Math.max(from, proof.from)) return { state: "unproved", reason: "not_compared" };
  return { state: "pending" };
}

/** The reason of a lost gap, whose record has its text. */
export function lossReason(text: string): StretchReason {
  const known = Object.entries(LOSS_TEXTS).find(([, each]) => each === text);
  return known ? (known[0] as LossReason) : "lost";
}
