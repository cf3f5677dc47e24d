import { createRecord } from "#lib/records.ts";
import { addInterval, isDisjoint, type Interval } from "./intervals.ts";
import { assert } from "#lib/assert.ts";

/** Samples of settled windows, by what became of them. */
export interface SampleCounts {
  acknowledged: number;
  /** By the Collector or by the bridge. */
  refused: number;
  /** Samples of native histograms that an earlier version counted and left out. */
  histograms: number;
}

/** Why a stretch that was compared is not proved. */
export type UnprovedReason =
  | "source_has_fewer"
  | "differs_again"
  | "several_prometheus"
  | "other_prometheus"
  | "too_old"
  | "partial_answers"
  | "comparison_failed";

/** A stretch that is being read again. The record that the windows were committed by does not go back. */
interface Reread {
  /** Windows that were read again, and settled: sorted, disjoint. */
  settled: Interval[];
  counts: SampleCounts;
}

/** What is known of one query in one stretch of time (from, from + stretchMs]. Times are ms, by Prometheus' clock. */
export interface StretchProof {
  /** A multiple of the stretch's length. */
  from: number;
  counts: SampleCounts;
  /** Time whose windows are in `counts`. */
  countedMs: number;
  /** The name of the Prometheus Pod that was read; "" when there were several. */
  pod: string;
  /** Samples at the source when that was last compared. */
  source: number | null;
  comparedAt: number | null;
  /** Comparisons of the schedule that are done. */
  comparisons: number;
  /** Samples that arrived after the stretch was read, and were read since. */
  late: number;
  /** How often it was read again since the last comparison of the schedule. */
  rereads: number;
  /** Comparisons that failed since the last one that did not. */
  failures: number;
  reread: Reread | null;
  unproved: UnprovedReason | null;
}

/** What is known of one query. */
export interface QueryProof {
  /** Hash of the PromQL that the counts are about. */
  promqlHash: string;
  /** Windows that end after this time are counted. */
  from: number;
  /** Late samples of all time. */
  lateTotal: number;
  /** Sorted by `from`. */
  stretches: StretchProof[];
}

/** What is known of all queries of one cluster. */
export interface ClusterProof {
  stretchMs: number;
  queries: Record<string, QueryProof>;
}

export function emptyProof(stretchMs: number): ClusterProof {
  return { stretchMs, queries: createRecord() };
}

export const noSamples = (): SampleCounts => ({ acknowledged: 0, refused: 0, histograms: 0 });

export function totalOf({ acknowledged, refused, histograms }: SampleCounts): number {
  return acknowledged + refused + histograms;
}

/** The number of the stretch that (ms - 1, ms] belongs to, counted from the epoch. */
export function stretchIndex(ms: number, stretchMs: number): number {
  return Math.ceil(ms / stretchMs) - 1;
}

/** The start of the stretch that (ms - 1, ms] belongs to. */
export function stretchStart(ms: number, stretchMs: number): number {
  return stretchIndex(ms, stretchMs) * stretchMs;
}

/** The stretch that begins at `from`; it is added when nothing is known of it. */
export function stretchAt(query: QueryProof, from: number): StretchProof {
  const at = query.stretches.findIndex((stretch) => stretch.from >= from);
  const found = query.stretches[at];
  if (found?.from === from) return found;
  const added: StretchProof = {
    from,
    counts: noSamples(),
    countedMs: 0,
    pod: "",
    source: null,
    comparedAt: null,
    comparisons: 0,
    late: 0,
    rereads: 0,
    failures: 0,
    reread: null,
    unproved: null,
  };
  query.stretches.splice(at < 0 ? query.stretches.length : at, 0, added);
  return added;
}

/** Adds the samples of a settled window, which lies within the stretch. */
export function countWindow(
  stretch: StretchProof,
  [from, to]: Interval,
  counts: SampleCounts,
  pod: string,
): void {
  // An answer without samples is the same from every Pod.
  const isFirst = totalOf(stretch.counts) === 0;
  if (isFirst || (totalOf(counts) > 0 && stretch.pod !== pod)) stretch.pod = isFirst ? pod : "";
  stretch.countedMs += to - from;
  addCounts(stretch.counts, counts);
}

/** Adds the samples of a window that was read again. */
export function countReread(reread: Reread, window: Interval, counts: SampleCounts): void {
  reread.settled = addInterval(reread.settled, window);
  assert(isDisjoint(reread.settled), "windows that were read again are sorted and disjoint");
  addCounts(reread.counts, counts);
}

function addCounts(sum: SampleCounts, added: SampleCounts): void {
  sum.acknowledged += added.acknowledged;
  sum.refused += added.refused;
  sum.histograms += added.histograms;
}
