/**
 * What the program needs of ClickHouse: implemented over HTTP (storage/clickhouse.ts) and by the embedded engine (allinone/chdb.ts).
 * Table names are qualified by the caller; values are bound as `{name:Type}` parameters, never spliced. Every failure is BridgeError
 * `storage_unavailable` (nobody answers) or `storage_failed` (ClickHouse refused; `details.clickhouse_code` has its number).
 */
export interface Database {
  /** A statement without a result. */
  command(sql: string, signal?: AbortSignal): Promise<void>;
  /** Rows as objects; 64-bit integers arrive as strings (JSONEachRow with output_format_json_quote_64bit_integers=1). */
  query<Row>(sql: string, parameters?: QueryParameters, signal?: AbortSignal): Promise<Row[]>;
  /** Inserts rows (JSONEachRow: DateTime64 as strings, 64-bit integers as strings, NaN as "nan", infinities as "inf" and "-inf"). */
  insert(table: string, rows: readonly Record<string, unknown>[], signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export type QueryParameters = Record<string, string | number | readonly string[]>;
