/**
 * The operations that the program needs from ClickHouse: implemented over HTTP (storage/clickhouse.ts) and by the embedded engine (allinone/chdb.ts).
 * Table names are qualified by the caller; values are bound as `{name:Type}` parameters, never spliced. Every failure is BridgeError
 * `storage_unavailable` (it does not answer, or not now) or `storage_failed` (ClickHouse refused; `details.clickhouse_code` has its number).
 */
export interface Database {
  /** A statement without a result. */
  command(sql: string, parameters?: QueryParameters, signal?: AbortSignal): Promise<void>;
  /**
   * Rows of a SELECT (without FORMAT) as objects, all in memory: the statement must have a LIMIT or aggregate. 64-bit integers arrive as
   * strings, NaN and infinities as "nan", "inf", "-inf", DateTime64 as "2026-01-31 10:00:00.123" in its column's time zone.
   */
  query<Row>(sql: string, parameters?: QueryParameters, signal?: AbortSignal): Promise<Row[]>;
  /**
   * The answer of a SELECT (without FORMAT) in ClickHouse's format Native, whole in memory (storage/native-columns.ts reads it): for columns of many numbers, whose bits stay
   * what they are.
   */
  queryNative(sql: string, parameters?: QueryParameters, signal?: AbortSignal): Promise<Uint8Array>;
  close(): Promise<void>;
}

export type QueryParameters = Record<string, string | number | readonly string[]>;
