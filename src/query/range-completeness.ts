import type { Clock } from "#lib/clock.ts";
import { BridgeError } from "#errors/error.ts";
import type { CollectionRecords } from "./collection-record.ts";
import { relevantQueries, storedUntil, toCompleteness, type Completeness } from "./completeness.ts";

interface StoredRange {
  clusterId: string;
  /** The metric of the answer; left out: all of the cluster. */
  metric?: string;
  fromMs: number;
  toMs: number;
  signal: AbortSignal | undefined;
}

/**
 * How much an answer about a range holds of what the cluster's Prometheus had, up to the range's end or to where the collection is, whichever
 * is earlier: of the query that the metric is collected by, or of all when that can't be told. null: nothing is on record about the
 * cluster's collection, its samples come from elsewhere. Throws what a LimitedDatabase throws.
 */
export type ReadCompleteness = (range: StoredRange) => Promise<Completeness | null>;

/** What is further behind the other queries does not hold their answer back. Three collections. */
const STALE_AFTER_MS = 15 * 60_000;

export function createReadCompleteness(
  deps: { records: CollectionRecords; clock: Clock },
  settings: { staleAfterMs?: number },
): ReadCompleteness {
  const { staleAfterMs = STALE_AFTER_MS } = settings;
  const { records } = deps;
  return async ({ clusterId, metric, fromMs, toMs, signal }) => {
    const nowMs = deps.clock.now();
    let known: Awaited<ReturnType<CollectionRecords["read"]>>;
    try {
      known = await records.read(clusterId, { nowMs, baseMs: fromMs }, signal);
    } catch (error) {
      if (error instanceof BridgeError && error.code === "cluster_not_found") return null;
      throw error;
    }
    const { record, before } = known;
    const metrics = record.queries.some(({ query }) => query === metric) ? [metric!] : [];
    const storedMs = storedUntil(relevantQueries(record, metrics), staleAfterMs);
    const asOfMs = storedMs !== null && storedMs > fromMs ? Math.min(storedMs, toMs) : null;
    const firstMs = before.length === 0 ? await records.began(clusterId, signal) : undefined;
    const beganMs = firstMs !== undefined && firstMs > fromMs ? firstMs : undefined;
    return toCompleteness({ record, metrics, before, beganMs, asOfMs, nowMs });
  };
}
