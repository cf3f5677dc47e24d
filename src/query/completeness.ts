import type { CollectionRecord, QueryRecord } from "./collection-record.ts";
import { toTimestamp } from "./grid.ts";

/** How much of what the cluster's Prometheus had in the window an answer is made of. */
export interface Completeness {
  /** Every sample up to `as_of` is stored, as far as the collection knows: none behind, no gap, nothing refused. */
  complete: boolean;
  /** The oldest watermark among the answer's queries: everything before it is stored or named as a gap. */
  watermark: string | null;
  /** From the watermark to now. */
  lag_seconds: number | null;
  /** When the cluster's first collection was, if that is inside of the window: there may be nothing from before it. */
  collected_since: string | null;
  /** Could the cluster's Prometheus be reached at the last attempt? */
  cluster_up: boolean | null;
  cluster_up_at: string | null;
  /** Of the catalogue's queries, those that the answer is made of. */
  queries: number;
  /** Queries whose samples are not stored up to `as_of`; at most 50. */
  behind: { query: string; watermark: string }[];
  /** Metrics of the answer that no query of the catalogue collects. */
  not_collected: string[];
  /** Stretches of time that are still to be read. */
  open_gaps: number;
  /** Stretches that can't be read any more, found since the window's start. */
  lost_gaps: number;
  /** Samples that Prometheus had in what was read since the window's start. */
  samples_read: number;
  /** Of these, stored. */
  samples_sent: number;
}

const BEHIND_MAX = 50;

/** The records of the queries that the metrics come from; all, when a catalogue of the user's own names them otherwise. */
export function relevantQueries(record: CollectionRecord, metrics: readonly string[]): QueryRecord[] {
  const wanted = new Set(metrics);
  const relevant = record.queries.filter(({ query }) => wanted.has(query));
  return relevant.length === 0 ? record.queries : relevant;
}

/**
 * Up to when every one of the queries is stored, ms. One that is further behind the others than `staleMs` does not hold them back: the
 * answer names it as behind instead.
 */
export function storedUntil(queries: readonly QueryRecord[], staleMs: number): number | null {
  if (queries.length === 0) return null;
  const newestMs = Math.max(...queries.map(({ watermarkMs }) => watermarkMs));
  return Math.min(
    ...queries
      .map(({ watermarkMs }) => watermarkMs)
      .filter((watermarkMs) => watermarkMs >= newestMs - staleMs),
  );
}

/** `before`: the queries' records at the window's start; what is missing there counts from zero. */
export function toCompleteness(input: {
  record: CollectionRecord;
  metrics: readonly string[];
  before: readonly QueryRecord[];
  /** Set when the collection began inside of the window. */
  beganMs: number | undefined;
  asOfMs: number | null;
  nowMs: number;
}): Completeness {
  const { record, metrics, asOfMs, nowMs, beganMs } = input;
  const began = beganMs !== undefined;
  const queries = relevantQueries(record, metrics);
  const names = new Set(record.queries.map(({ query }) => query));
  const before = new Map(input.before.map((known) => [known.query, known]));
  const total = (pick: (query: QueryRecord) => number): number =>
    queries.reduce((sum, query) => {
      const known = before.get(query.query);
      const base = known === undefined ? 0 : pick(known);
      // A state that was lost counts from zero again.
      return sum + (pick(query) >= base ? pick(query) - base : pick(query));
    }, 0);
  const behind = queries.filter(({ watermarkMs }) => asOfMs !== null && watermarkMs < asOfMs);
  // Not by `total`: the bridge forgets gaps after a week.
  const lostGaps = queries.reduce(
    (sum, query) => sum + Math.max(0, query.lostGaps - (before.get(query.query)?.lostGaps ?? 0)),
    0,
  );
  const samplesRead = total((query) => query.samplesRead);
  const samplesSent = total((query) => query.samplesSent);
  const watermarkMs = queries.length === 0 ? null : Math.min(...queries.map((query) => query.watermarkMs));
  return {
    complete:
      asOfMs !== null && !began && behind.length === 0 && lostGaps === 0 && samplesSent >= samplesRead,
    watermark: watermarkMs === null ? null : toTimestamp(watermarkMs),
    lag_seconds: watermarkMs === null ? null : Math.max(0, (nowMs - watermarkMs) / 1000),
    collected_since: began ? toTimestamp(beganMs) : null,
    cluster_up: record.up?.value ?? null,
    cluster_up_at: record.up === null ? null : toTimestamp(record.up.atMs),
    queries: queries.length,
    behind: behind
      .slice(0, BEHIND_MAX)
      .map((query) => ({ query: query.query, watermark: toTimestamp(query.watermarkMs) })),
    not_collected: metrics.filter((metric) => !names.has(metric)),
    open_gaps: queries.reduce((sum, query) => sum + query.openGaps, 0),
    lost_gaps: lostGaps,
    samples_read: samplesRead,
    samples_sent: samplesSent,
  };
}
