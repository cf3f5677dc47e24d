import type { Clock } from "#lib/clock.ts";
import type { CollectionRecords, ReadRecords } from "./collection-record.ts";

/** A record that is older is read again. */
const AGE_MS_MAX = 5000;
const CLUSTERS_MAX = 1000;
/** Beginnings of ranges, of one cluster. */
const BASES_MAX = 50;
/** An answer needs about 1 KB for each query of the catalogue: without this, thousands of queries would fill the memory. */
const QUERIES_MAX = 2000;

export interface Remembered extends ReadRecords {
  /** When the reading began; of Clock.monotonic. */
  readAtMs: number;
}

interface RememberedRecords extends CollectionRecords {
  read(...request: Parameters<CollectionRecords["read"]>): Promise<Remembered>;
}

/**
 * The records with a memory of five seconds: a page of many charts asks for the same record many times in a second. A record says what is stored, so an answer reads it
 * before its data: the data then have at least what the record says. Bounded; errors are not remembered.
 */
export function rememberRecords(deps: { records: CollectionRecords; clock: Clock }): RememberedRecords {
  const { records, clock } = deps;
  const clusters = new Map<string, Remembered[]>();
  const firsts = new Map<string, { readAtMs: number; firstMs: number | undefined }>();
  const isFresh = ({ readAtMs }: { readAtMs: number }): boolean => clock.monotonic() - readAtMs < AGE_MS_MAX;

  const keep = <Value>(map: Map<string, Value>, clusterId: string, value: Value): void => {
    map.delete(clusterId);
    map.set(clusterId, value);
    const [oldest] = map.keys();
    if (map.size > CLUSTERS_MAX && oldest !== undefined) map.delete(oldest);
  };

  return {
    read: async (clusterId, times, signal) => {
      const fresh = (clusters.get(clusterId) ?? []).filter(isFresh);
      const found = fresh.find((each) => holdsAt(each, times.baseMs));
      if (found) return found;
      const readAtMs = clock.monotonic();
      const known = { ...(await records.read(clusterId, times, signal)), readAtMs };
      if (known.record.queries.length <= QUERIES_MAX) {
        keep(clusters, clusterId, [known, ...fresh].slice(0, BASES_MAX));
      }
      return known;
    },
    firstAttempt: async (clusterId, signal) => {
      const found = firsts.get(clusterId);
      if (found && isFresh(found)) return found.firstMs;
      const readAtMs = clock.monotonic();
      const firstMs = await records.firstAttempt(clusterId, signal);
      keep(firsts, clusterId, { readAtMs, firstMs });
      return firstMs;
    },
  };
}

/** Are the records before `baseMs` the same as those that were read? They are until the next report. */
function holdsAt({ beforeHolds }: ReadRecords, baseMs: number): boolean {
  return baseMs >= beforeHolds.fromMs && baseMs < beforeHolds.toMs;
}
