import type { Clock } from "#lib/clock.ts";
import { BridgeError } from "#errors/error.ts";
import {
  createCollectionRecords,
  type CollectionRecord,
  type CollectionRecords,
  type QueryRecord,
  type ReadRecords,
} from "./collection-record.ts";
import { rememberRecords, type Remembered } from "./remembered-records.ts";
import { toTimestamp } from "./range.ts";
import type { LimitedDatabase } from "./limits.ts";

/** How completely an answer covers the samples that the cluster's Prometheus had in the window. */
export interface Completeness {
  /** Every sample up to `as_of` is stored, as far as the collection knows: no query is behind, no gap, nothing refused. */
  complete: boolean;
  /** The oldest watermark among the answer's queries: everything before it is stored or recorded as a gap. */
  watermark: string | null;
  /** From the watermark to now. */
  lag_seconds: number | null;
  /** Time of the cluster's first collection, if it is inside the window: earlier samples may be missing. */
  collected_since: string | null;
  /** Could the cluster's Prometheus be reached at the last attempt? */
  cluster_up: boolean | null;
  cluster_up_at: string | null;
  /** How many queries of the catalogue the answer is made of. */
  queries: number;
  /** Queries whose samples are not stored up to `as_of`; at most 50. */
  behind: { query: string; watermark: string }[];
  /** Metrics of the answer that no query of the catalogue collects. */
  not_collected: string[];
  /** Time ranges that will still be read. */
  open_gaps: number;
  /** Time ranges that can no longer be read, found since the window's start. */
  lost_gaps: number;
  /** Samples that were read from Prometheus since the window's start. */
  samples_read: number;
  /** Samples that were stored of these. */
  samples_sent: number;
}

const BEHIND_MAX = 50;

/** The records of the queries that collect the metrics; all records, when a user's catalogue names its queries otherwise. */
export function relevantQueries(record: CollectionRecord, metrics: readonly string[]): QueryRecord[] {
  const wanted = new Set(metrics);
  const relevant = record.queries.filter(({ query }) => wanted.has(query));
  return relevant.length === 0 ? record.queries : relevant;
}

/**
 * The time up to which every query is stored, ms. A query that is behind the newest by more than `staleMs` does not count: the answer
 * lists it as behind instead.
 */
export function storedUntil(
  queries: readonly Pick<QueryRecord, "watermarkMs">[],
  staleMs: number,
): number | null {
  if (queries.length === 0) return null;
  const newestMs = Math.max(...queries.map(({ watermarkMs }) => watermarkMs));
  return Math.min(
    ...queries
      .map(({ watermarkMs }) => watermarkMs)
      .filter((watermarkMs) => watermarkMs >= newestMs - staleMs),
  );
}

interface StoredRange {
  clusterId: string;
  /** The metric of the answer; left out: all of the cluster. */
  metric?: string;
  fromMs: number;
  toMs: number;
  signal: AbortSignal | undefined;
}

interface ReadAnswer {
  /** When the reading of the record began; of Clock.monotonic. */
  readAtMs: number;
  /** null: nothing is on record about the cluster's collection, so its samples come from elsewhere. */
  completeness: Completeness | null;
}

/** How long a cluster without a record is not looked for again, and how many of these are known. */
const MISSING_AGE_MS_MAX = 5000;
const MISSING_MAX = 1000;

/**
 * The completeness of an answer about a range, up to the range's end or the collection's watermark, whichever is earlier: of the query that
 * collects the metric, or of all queries when that is not known. It is at most five seconds old: read it before the data that it describes. Throws what a
 * LimitedDatabase throws.
 */
export type ReadCompleteness = (range: StoredRange) => Promise<ReadAnswer>;

export function createReadCompleteness(
  deps: { database: LimitedDatabase; clock: Clock },
  settings: { databaseName: string; staleAfterMs: number },
): ReadCompleteness {
  const { database, clock } = deps;
  const records = rememberRecords({ records: createCollectionRecords(database, settings), clock });
  const missing = new Map<string, number>();

  /** Undefined: there is none. To find that out takes three statements. */
  const readRecord = async (
    clusterId: string,
    times: { nowMs: number; baseMs: number },
    signal: AbortSignal | undefined,
  ): Promise<Remembered | undefined> => {
    const readAtMs = clock.monotonic();
    try {
      return await records.read(clusterId, times, signal);
    } catch (error) {
      if (!(error instanceof BridgeError) || error.code !== "cluster_not_found") throw error;
      if (missing.size >= MISSING_MAX) missing.clear();
      missing.set(clusterId, readAtMs);
      return undefined;
    }
  };

  return async ({ clusterId, metric, fromMs, toMs, signal }) => {
    const missingAtMs = missing.get(clusterId);
    if (missingAtMs !== undefined && clock.monotonic() - missingAtMs < MISSING_AGE_MS_MAX) {
      return { readAtMs: missingAtMs, completeness: null };
    }
    const nowMs = clock.now();
    const known = await readRecord(clusterId, { nowMs, baseMs: fromMs }, signal);
    if (known === undefined) return { readAtMs: missing.get(clusterId) ?? -Infinity, completeness: null };
    const { record } = known;
    const metrics = record.queries.some(({ query }) => query === metric) ? [metric!] : [];
    const storedMs = storedUntil(relevantQueries(record, metrics), settings.staleAfterMs);
    const asOfMs = storedMs !== null && storedMs > fromMs ? Math.min(storedMs, toMs) : null;
    const answered = { clusterId, metrics, fromMs, asOfMs, nowMs };
    return { readAtMs: known.readAtMs, completeness: await toCompleteness(records, known, answered, signal) };
  };
}

interface Answered {
  clusterId: string;
  /** What the answer is made of; none: everything that is collected. */
  metrics: readonly string[];
  fromMs: number;
  /** null: nothing of the window is stored. */
  asOfMs: number | null;
  nowMs: number;
}

/** Looks up when the collection began where no record is as old as the window. Throws what a LimitedDatabase throws. */
export async function toCompleteness(
  records: CollectionRecords,
  { record, before }: ReadRecords,
  answered: Answered,
  signal: AbortSignal | undefined,
): Promise<Completeness> {
  const { clusterId, metrics, fromMs, asOfMs, nowMs } = answered;
  const firstMs = before.length === 0 ? await records.firstAttempt(clusterId, signal) : undefined;
  const collectedSinceMs = firstMs !== undefined && firstMs > fromMs ? firstMs : null;
  const queries = relevantQueries(record, metrics);
  const names = new Set(record.queries.map(({ query }) => query));
  const { lostGaps, samplesRead, samplesSent } = countSince(before, queries);
  const behind = queries.filter(({ watermarkMs }) => asOfMs !== null && watermarkMs < asOfMs);
  const watermarkMs = queries.length === 0 ? null : Math.min(...queries.map((query) => query.watermarkMs));
  const isComplete = behind.length === 0 && lostGaps === 0 && samplesSent >= samplesRead;
  return {
    complete: asOfMs !== null && collectedSinceMs === null && isComplete,
    watermark: timestampOrNull(watermarkMs),
    lag_seconds: watermarkMs === null ? null : Math.max(0, (nowMs - watermarkMs) / 1000),
    collected_since: timestampOrNull(collectedSinceMs),
    cluster_up: record.up?.value ?? null,
    cluster_up_at: timestampOrNull(record.up?.atMs ?? null),
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

/** What the queries counted since `before`; a query that is not in there counts from zero. */
function countSince(
  before: readonly QueryRecord[],
  queries: readonly QueryRecord[],
): Pick<QueryRecord, "lostGaps" | "samplesRead" | "samplesSent"> {
  const known = new Map(before.map((record) => [record.query, record]));
  const sum = (field: keyof ReturnType<typeof countSince>, sinceReset: (count: number) => number): number =>
    queries.reduce((total, query) => {
      const [count, base] = [query[field], known.get(query.query)?.[field] ?? 0];
      return total + (count >= base ? count - base : sinceReset(count));
    }, 0);
  return {
    // The bridge forgets gaps after a week.
    lostGaps: sum("lostGaps", () => 0),
    // A counter starts at zero again when the bridge's state was lost.
    samplesRead: sum("samplesRead", (count) => count),
    samplesSent: sum("samplesSent", (count) => count),
  };
}

function timestampOrNull(ms: number | null): string | null {
  return ms === null ? null : toTimestamp(ms);
}
