import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { LimitedDatabase } from "#query/limits.ts";

/** The tables of native histograms: those with custom buckets are explicit histograms of OTLP. */
export const HISTOGRAM_TABLES = ["exponential_histogram", "histogram"] as const;
export type HistogramTable = (typeof HISTOGRAM_TABLES)[number];

/**
 * May series of this metric (undefined: of any) be native histograms? Which names are is remembered for ten seconds, so that queries of other metrics do not look into the
 * tables of histograms. True as well where there are too many rows to find out.
 */
export type MayBeHistogram = (metric: string | undefined, signal: AbortSignal) => Promise<boolean>;

const AGE_MS_MAX = 10_000;
const NAMES_MAX = 10_000;

export function createMayBeHistogram(
  { database, clock }: { database: LimitedDatabase; clock: Clock },
  { databaseName }: { databaseName: string },
): MayBeHistogram {
  let known: { names: ReadonlySet<string> | undefined; readAtMs: number } | undefined;

  /** undefined: not known. */
  const readNames = async (signal: AbortSignal): Promise<ReadonlySet<string> | undefined> => {
    const names = HISTOGRAM_TABLES.map(
      (table) =>
        `SELECT DISTINCT toString(MetricName) AS name FROM ${databaseName}.otel_metrics_${table} LIMIT ${NAMES_MAX}`,
    );
    try {
      const rows = await database.query<{ name: string }>(
        `SELECT name FROM (${names.join(" UNION ALL ")})`,
        {},
        signal,
      );
      return rows.length < NAMES_MAX ? new Set(rows.map(({ name }) => name)) : undefined;
    } catch (error) {
      if (error instanceof BridgeError && error.code === "query_too_large") return undefined;
      throw error;
    }
  };

  return async (metric, signal) => {
    const nowMs = clock.monotonic();
    if (known === undefined || nowMs - known.readAtMs > AGE_MS_MAX)
      known = { names: await readNames(signal), readAtMs: nowMs };
    const { names } = known;
    if (names === undefined) return true;
    return metric === undefined ? names.size > 0 : names.has(metric);
  };
}
