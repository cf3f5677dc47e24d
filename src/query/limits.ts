import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { CLUSTER_ID_RULE, isClusterId } from "#lib/cluster-id.ts";
import type { Database, QueryParameters } from "#storage/database.ts";
import { FINAL_SETTINGS } from "#storage/samples-sql.ts";
import { clickHouseCode } from "#storage/storage-error.ts";

/** The limits of one request. A refusal names the limit and the remedy. */
export interface QueryLimits {
  /** From start to end. */
  rangeMaxMs: number;
  /** Of one series of the answer. */
  pointsPerSeriesMax: number;
  /** Of all series of an answer together. */
  pointsMax: number;
  /** Stored series that one request may read. */
  seriesMax: number;
  /** Rows that ClickHouse may read for one statement, before filters and deduplication. */
  rowsReadMax: number;
  /** Memory that ClickHouse may use for one statement. */
  memoryBytesMax: number;
  /** Time limit of one statement, rounded up to whole seconds. */
  timeoutMs: number;
}

/** A Database that applies the limits to every statement. */
export interface LimitedDatabase {
  /** As a Database's, but with `query_too_large` and `query_timeout` for a limit, `request_invalid` for a regular expression; `sql` has no SETTINGS of its own. */
  query<Row>(sql: string, parameters: QueryParameters, signal: AbortSignal | undefined): Promise<Row[]>;
}

/** The same for answers in the format Native. */
export interface LimitedColumns {
  queryNative(sql: string, parameters: QueryParameters, signal: AbortSignal | undefined): Promise<Uint8Array>;
}

const TOO_MANY_ROWS = 158;
const TIMEOUT_EXCEEDED = 159;
const TOO_SLOW = 160;
const MEMORY_LIMIT_EXCEEDED = 241;
const CANNOT_COMPILE_REGEXP = 427;

/**
 * Puts the limits into the SETTINGS of every statement: they hold on a server and in the embedded engine alike. `more`: further settings that
 * the statements need, as "name = value".
 */
export function limitDatabase(
  database: Database,
  limits: QueryLimits,
  more: readonly string[] = [],
): LimitedDatabase & LimitedColumns {
  const settings = [
    `max_execution_time = ${Math.ceil(limits.timeoutMs / 1000)}`,
    `max_memory_usage = ${limits.memoryBytesMax}`,
    `max_rows_to_read = ${limits.rowsReadMax}`,
    ...FINAL_SETTINGS,
    // It would rewrite sum(x / c) to sum(x) / c, which overflows earlier.
    "optimize_arithmetic_operations_in_aggregate_functions = 0",
    ...more,
  ].join(", ");
  const limited = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (error) {
      throw toLimitError(error, limits);
    }
  };
  return {
    query: <Row>(sql: string, parameters: QueryParameters, signal: AbortSignal | undefined) =>
      limited(database.query<Row>(`${sql} SETTINGS ${settings}`, parameters, signal)),
    queryNative: (sql, parameters, signal) =>
      limited(database.queryNative(`${sql} SETTINGS ${settings}`, parameters, signal)),
  };
}

function toLimitError(error: unknown, limits: QueryLimits): unknown {
  const refuse = (code: ErrorCode, message: string, limit: string): BridgeError =>
    new BridgeError(code, message, { cause: error, details: { limit } });
  const number = clickHouseCode(error) ?? 0;
  switch (number) {
    case TOO_MANY_ROWS:
      return refuse(
        "query_too_large",
        `more than ${limits.rowsReadMax} rows would have to be read`,
        "rows_read",
      );
    case MEMORY_LIMIT_EXCEEDED:
      return refuse("query_too_large", "the query needs more memory than it may have", "memory");
    case TIMEOUT_EXCEEDED:
    case TOO_SLOW:
      return refuse("query_timeout", `the query took longer than ${limits.timeoutMs / 1000} s`, "time");
    case CANNOT_COMPILE_REGEXP:
      return refuseField(
        "filters",
        "a regular expression is not one of RE2",
        "Send one that https://github.com/google/re2/wiki/Syntax allows.",
      );
    default:
      return error;
  }
}

/** `request_invalid` about one field of the request: the problem, and the remedy. */
export function refuseField(field: string, problem: string, remedy: string): BridgeError {
  return new BridgeError("request_invalid", `${field}: ${problem}`, {
    hint: remedy,
    details: { fields: [{ field, problem }] },
  });
}

/** `query_too_large` because of one of the limits of QueryLimits. */
export function refuseSize(limit: string, message: string, remedy: string): BridgeError {
  return new BridgeError("query_too_large", message, { hint: remedy, details: { limit } });
}

/** `cluster_not_found`, for an id of which nothing is stored. */
export function clusterNotFound(clusterId: string): BridgeError {
  return new BridgeError("cluster_not_found", `no samples of a cluster ${clusterId} are stored`, {
    hint: "Check the id (GET /cluster-metrics lists them); a new cluster appears with its first collection.",
  });
}

/** Throws `request_invalid`. */
export function checkClusterId(clusterId: string): void {
  if (isClusterId(clusterId)) return;
  throw refuseField("cluster_id", CLUSTER_ID_RULE, "Send the id of a cluster from GET /clusters.");
}
