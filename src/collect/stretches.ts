import { assert } from "#lib/assert.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { missingIn } from "./intervals.ts";
import { LOSS_TEXTS, settledIntervals, type QueryProgress } from "./progress.ts";
import {
  noSamples,
  totalOf,
  type ClusterProof,
  type QueryProof,
  type StretchProof,
  type UnprovedReason,
} from "./proof.ts";

/**
 * - pending: it has not ended, or was not compared with the source yet.
 * - open: a part of it is still to be read, or it is read again because the source has more samples.
 * - proved: every sample that the source had is acknowledged by the Collector.
 * - refused: the same, but some of the samples were refused for good.
 * - lost: a part of it can't be read any more.
 * - unproved: the reason says why it can't be compared, or how it differs.
 */
type StretchState = "pending" | "open" | "proved" | "unproved" | "refused" | "lost";

/** One query in one stretch of time (from, to], ms by Prometheus' clock. */
export interface Stretch {
  from: number;
  to: number;
  state: StretchState;
  /** One sentence without a full stop, at most 1 KiB; of unproved, refused, lost and open stretches. */
  reason?: string;
  /** Samples at the source when that was last compared; null: never. */
  source: number | null;
  /** Samples that were read; the samples of native histograms, which are left out, are among them. */
  read: number;
  acknowledged: number;
  refused: number;
  /** Samples that reached the source after the stretch was read, and were read since. */
  late: number;
  /** When it was last compared, ms by Prometheus' clock. */
  comparedAt?: number;
}

const UNPROVED_TEXTS: Record<UnprovedReason, string> = {
  source_has_fewer:
    "the source has fewer samples now than were read: it deleted some, so the others can't be compared",
  differs_again: "the source has more samples than were read, also after reading them again",
  several_prometheus: "it was read from several Prometheus Pods, which scrape at different times",
  other_prometheus: "the Prometheus Pod that it was read from does not answer any more",
  partial_answers: "prometheus.accept_partial accepts answers that lack a part of the data",
  comparison_failed: "its samples could not be counted at the source",
};
const EXPRESSION = "an expression is evaluated on a grid: it has no samples at the source to compare with";
const NOT_COUNTED = "it was read before its samples were counted";
const NOT_COMPARED = "it left MAX_BACKFILL before it was compared";
const AGAIN = "the source has more samples than were read: it is being read again";
const NOT_READ = "a part of it is still to be read";
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
  const stretches: Stretch[] = [];
  for (let from = first; from < range.to; from += stretchMs) {
    const stretch = byStart.get(from);
    const counts = stretch?.counts ?? noSamples();
    stretches.push({
      from,
      to: from + stretchMs,
      ...stateOf(query, progress, counted, stretch, [from, from + stretchMs]),
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

type StateAndReason = Pick<Stretch, "state" | "reason">;

function stateOf(
  query: Query,
  progress: QueryProgress,
  proof: QueryProof | undefined,
  stretch: StretchProof | undefined,
  [from, to]: readonly [number, number],
): StateAndReason {
  const isIn = (part: { from: number; to: number }): boolean => part.from < to && part.to > from;
  const lost = progress.gaps.find((gap) => gap.state === "lost" && isIn(gap));
  if (lost) return { state: "lost", reason: lost.reason };
  if (progress.unlisted_lost?.some(([start, end]) => isIn({ from: start, to: end })))
    return { state: "lost", reason: LOSS_TEXTS.older_than_max_backfill };
  if (to > progress.attempted) return { state: "pending" };
  const missing = missingIn([Math.max(from, progress.from), to], settledIntervals(progress));
  if (missing.length > 0) return { state: "open", reason: NOT_READ };
  if (stretch?.reread) return { state: "open", reason: AGAIN };
  const refused = progress.gaps.find((gap) => gap.state === "refused" && isIn(gap));
  const isRefused = stretch ? stretch.counts.refused > 0 : refused !== undefined;
  const reason = refused?.reason ?? "refused by the Collector or the bridge";
  if (query.kind === "expression")
    return isRefused ? { state: "refused", reason } : { state: "unproved", reason: EXPRESSION };
  if (stretch?.unproved) return { state: "unproved", reason: UNPROVED_TEXTS[stretch.unproved] };
  if (stretch?.comparedAt == null) return uncompared(progress, proof, [from, to]);
  return isRefused ? { state: "refused", reason } : { state: "proved" };
}

function uncompared(
  progress: QueryProgress,
  proof: QueryProof | undefined,
  [from, to]: readonly [number, number],
): StateAndReason {
  if (!proof || proof.from >= to) return { state: "unproved", reason: NOT_COUNTED };
  if (progress.from > Math.max(from, proof.from)) return { state: "unproved", reason: NOT_COMPARED };
  return { state: "pending" };
}
