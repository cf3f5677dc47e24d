import { assert } from "#lib/assert.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { missingIn, type Interval } from "./intervals.ts";
import { addGap, hashPromql, watermarkOf, type ClusterProgress, type QueryProgress } from "./progress.ts";
import {
  countReread,
  countWindow,
  noSamples,
  stretchAt,
  stretchStart,
  totalOf,
  type ClusterProof,
  type QueryProof,
  type SampleCounts,
  type StretchProof,
} from "./proof.ts";
import type { WindowRead } from "./window-ledger.ts";

/** Late samples of one stretch, found and stored in this collection. */
export interface LateSamples {
  query: string;
  from: number;
  samples: number;
}

/** What one collection does with the counts of its windows. */
export interface ProofLedger {
  stretchMs: number;
  /** Begins to count queries that are new, or whose PromQL changed. Called when each query has its progress. */
  begin(progress: ClusterProgress, queries: readonly Query[], endMs: number): void;
  /** Time of the query that is to be read again. */
  toReread(query: string): Interval[];
  /** Borders of the stretches that are to be read again: no window reaches over one. */
  boundaries(): number[];
  /** The start of the oldest time that is to be read again. */
  earliest(): number | undefined;
  /** Counts a settled window. False: it was read again, and was committed before. */
  count(read: WindowRead): boolean;
  /** No Pod has samples of this time: what is to be read again does not wait for it. */
  absent(query: string, time: Interval): void;
  /** Found so far. */
  late: readonly LateSamples[];
}

/** Stretches of all queries together, and the least of one query: the record must not grow without limit. */
const STRETCHES_MAX = 20_000;
const STRETCHES_OF_QUERY = { min: 30, max: 1000 };

/** The part of the stretch that is counted: time before the query was counted is not. */
export function countedPart(query: QueryProof, stretch: StretchProof, stretchMs: number): Interval {
  return [Math.max(stretch.from, query.from), stretch.from + stretchMs];
}

/**
 * Stretches that were to be read again and can't be are left as they are: those that are older than `floorMs`, and those of another Pod
 * than `pod`.
 */
export function createProofLedger(
  proof: ClusterProof,
  { pod, floorMs }: { pod: string; floorMs: number },
): ProofLedger {
  const { stretchMs } = proof;
  const late: LateSamples[] = [];
  let progress: ClusterProgress | undefined;

  for (const query of Object.values(proof.queries)) {
    for (const stretch of query.stretches) {
      if (!stretch.reread) continue;
      if (countedPart(query, stretch, stretchMs)[0] < floorMs) giveUp(stretch, "too_old");
      else if (stretch.countedMs > 0 && stretch.pod !== pod) giveUp(stretch, "other_prometheus");
    }
  }

  const toReread = (query: QueryProof): Interval[] =>
    query.stretches.flatMap((stretch) =>
      stretch.reread ? missingIn(countedPart(query, stretch, stretchMs), stretch.reread.settled) : [],
    );

  const recount = (name: string, query: QueryProof, stretch: StretchProof, read: WindowRead): void => {
    const { reread } = stretch;
    if (!reread) return;
    if (stretch.countedMs > 0 && read.pod !== stretch.pod && read.read > 0)
      return giveUp(stretch, "several_prometheus");
    countReread(reread, [read.fromMs, read.task.window.toMs], countsOf(read));
    endReread(name, query, stretch, read.refused[0]?.reason);
  };

  /** Takes over the new counts once all of the stretch was read again. */
  const endReread = (name: string, query: QueryProof, stretch: StretchProof, refusal?: string): void => {
    const { reread, counts: old } = stretch;
    const part = countedPart(query, stretch, stretchMs);
    if (!reread || missingIn(part, reread.settled).length > 0) return;
    const partMs = part[1] - part[0];
    // Samples whose counts were lost with the process are not late, and their refusals are on record.
    const isCounted = stretch.countedMs === partMs;
    // What was stored stays stored, whatever the source has lost since.
    if (isCounted && totalOf(reread.counts) < totalOf(old)) return giveUp(stretch, "source_has_fewer");
    const samples = isCounted ? totalOf(reread.counts) - totalOf(old) : 0;
    const refused = reread.counts.refused - old.refused;
    if (isCounted && refused > 0) {
      const reason = refusal ?? "samples that were read again were refused";
      addGap(progress!.queries[name]!, {
        from: part[0],
        to: part[1],
        state: "refused",
        reason,
        points: refused,
      });
    }
    Object.assign(stretch, { counts: reread.counts, countedMs: partMs, pod, comparedAt: null, reread: null });
    stretch.late += samples;
    query.lateTotal += samples;
    if (samples > 0) late.push({ query: name, from: stretch.from, samples });
  };

  return {
    stretchMs,
    late,
    begin: (current, queries, endMs) => {
      progress = current;
      const kept = clamp(Math.floor(STRETCHES_MAX / queries.length), STRETCHES_OF_QUERY);
      const names = new Set(queries.map(({ name }) => name));
      for (const name of Object.keys(proof.queries)) if (!names.has(name)) delete proof.queries[name];
      for (const { name, promql } of queries) {
        const known = proof.queries[name];
        const promqlHash = hashPromql(promql);
        if (known?.promqlHash !== promqlHash) {
          const from = countingStart(current.queries[name]!, stretchMs);
          proof.queries[name] = { promqlHash, from, lateTotal: known?.lateTotal ?? 0, stretches: [] };
        }
        addStretches(proof.queries[name]!, stretchMs, endMs, kept);
      }
    },
    toReread: (name) => {
      const query = proof.queries[name];
      return query ? toReread(query) : [];
    },
    boundaries: () =>
      Object.values(proof.queries).flatMap(({ stretches }) =>
        stretches.flatMap(({ reread, from }) => (reread ? [from, from + stretchMs] : [])),
      ),
    earliest: () => {
      const starts = Object.values(proof.queries).flatMap((query) => toReread(query).map(([from]) => from));
      return starts.length === 0 ? undefined : starts.reduce((a, b) => Math.min(a, b));
    },
    count: (read) => {
      const { query: of, window } = read.task;
      const query = proof.queries[of.name]!;
      if (read.inStretches) {
        spread(query, read, read.inStretches, stretchMs);
        return true;
      }
      const stretch = stretchAt(query, stretchStart(window.toMs, stretchMs));
      if (stretch.reread) {
        recount(of.name, query, stretch, read);
        return false;
      }
      countWindow(stretch, [read.fromMs, window.toMs], countsOf(read), read.pod);
      return true;
    },
    absent: (name, [from, to]) => {
      const query = proof.queries[name]!;
      for (const stretch of query.stretches) {
        const time: Interval = [Math.max(from, stretch.from), Math.min(to, stretch.from + stretchMs)];
        if (!stretch.reread || time[0] >= time[1]) continue;
        countReread(stretch.reread, time, noSamples());
        endReread(name, query, stretch);
      }
    },
  };
}

/**
 * Counts a window that reaches into several stretches. Which of them refused samples are of is not known: without a count, each stretch is read
 * again alone.
 */
function spread(query: QueryProof, read: WindowRead, inStretches: number[], stretchMs: number): void {
  if (read.refusedPoints > 0) return;
  const sum = inStretches.reduce((total, samples) => total + samples, 0);
  assert(sum === read.acknowledged, "each acknowledged sample is in one stretch");
  const { fromMs, toMs } = read.task.window;
  let from = stretchStart(fromMs + 1, stretchMs);
  for (const acknowledged of inStretches) {
    const part: Interval = [Math.max(from, read.fromMs), Math.min(from + stretchMs, toMs)];
    const counts = { ...noSamples(), acknowledged };
    if (part[0] < part[1]) countWindow(stretchAt(query, from), part, counts, read.pod);
    from += stretchMs;
  }
}

/** The start of a new query. One that was read before is counted from the next stretch on: what was read of this one is not known. */
function countingStart(progress: QueryProgress, stretchMs: number): number {
  const watermark = watermarkOf(progress);
  return watermark === progress.from ? watermark : Math.ceil(watermark / stretchMs) * stretchMs;
}

/** Adds the stretches up to `endMs` that nothing is known of, and forgets the oldest beyond `kept`. */
function addStretches(query: QueryProof, stretchMs: number, endMs: number, kept: number): void {
  const newest = stretchStart(endMs, stretchMs);
  const oldest = newest - (kept - 1) * stretchMs;
  query.stretches = query.stretches.filter(({ from }) => from >= oldest);
  for (
    let from = Math.max(oldest, stretchStart(query.from + 1, stretchMs));
    from <= newest;
    from += stretchMs
  )
    stretchAt(query, from);
}

function giveUp(stretch: StretchProof, reason: NonNullable<StretchProof["unproved"]>): void {
  stretch.reread = null;
  stretch.unproved = reason;
}

function countsOf(read: WindowRead): SampleCounts {
  return {
    ...noSamples(),
    acknowledged: read.acknowledged,
    refused: read.refusedPoints,
  };
}

function clamp(value: number, { min, max }: { min: number; max: number }): number {
  return Math.min(max, Math.max(min, value));
}
