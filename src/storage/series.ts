import type { Database } from "./database.ts";
import { clickHouseCode } from "./storage-error.ts";

const UNKNOWN_TABLE = 60;

/**
 * The start (Unix ms, UTC midnight; 0: everything) from which on every sample has its row in the table `series`, but for the samples of an INSERT that is not acknowledged
 * yet. Undefined: of no day is this known, or `migrate` has not made the table yet. It moves back while refreshRollups fills older days, and never forward.
 */
export async function readSeriesStart(
  database: Pick<Database, "query">,
  databaseName: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  try {
    const [row] = await database.query<{ start: number }>(
      `SELECT toUnixTimestamp(toDateTime(min(day), 'UTC')) AS start FROM ${databaseName}.series_days HAVING count() > 0`,
      {},
      signal,
    );
    return row === undefined ? undefined : row.start * 1000;
  } catch (error) {
    if (clickHouseCode(error) === UNKNOWN_TABLE) return undefined;
    throw error;
  }
}
