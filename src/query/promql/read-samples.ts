import type { Series, Windows } from "#promql/source.ts";
import type { LimitedColumns } from "#query/limits.ts";
import { toLongList } from "#query/long-list.ts";
import { IS_MARKER } from "#storage/samples-sql.ts";
import type { QueryParameters } from "#storage/database.ts";
import { STALE_PREFIX } from "#storage/stale-markers.ts";
import { readNative } from "#storage/native-columns.ts";
import { HISTOGRAM_TABLES } from "./histogram-tables.ts";
import type { ListedSeries, StoredTable } from "./list-series.ts";
import { toHistogramBlocks, toHistogramSql } from "./read-histograms.ts";
import { IN_RANGE, toRangeParameters, type SampleRange } from "./series-rows.ts";
import { placeSamples, type SampleBlock } from "./place-samples.ts";

/** `marker`: 1 for a stale marker. */
export const SAMPLE_COLUMNS = { id: "UInt64", time: "Float64", value: "Float64", marker: "UInt8" } as const;

const FLOAT_TABLES = ["gauge", "sum"] as const;

/** Series that one statement is about. `isAll`: the chunk has every series of its metrics. */
export interface ChunkRead {
  chunk: readonly ListedSeries[];
  range: SampleRange;
  /** What is needed of the range; undefined: all. */
  windows?: Windows | undefined;
  isAll: boolean;
  signal: AbortSignal;
}

/** The series of a chunk with their samples in the range; those without one are left out. */
export async function readSamples(
  database: LimitedColumns,
  databaseName: string,
  { chunk, range, windows, isAll, signal }: ChunkRead,
): Promise<Series[]> {
  const read = async (
    table: StoredTable,
    toSql: (where: string) => string,
    toBlocks: (bytes: Uint8Array) => SampleBlock[],
  ): Promise<SampleBlock[]> => {
    const wanted = chunk.filter(({ stored }) => stored.some(({ tables }) => tables.includes(table)));
    if (wanted.length === 0) return [];
    const { where, parameters } = toSampleScope(wanted, isAll);
    const ranged = { ...parameters, ...toRangeParameters(range), ...toWindowParameters(windows) };
    const sql = toSql(windows ? `${where} AND ${IN_WINDOWS}` : where);
    return toBlocks(await database.queryNative(sql, ranged, signal));
  };
  const answers = await Promise.all([
    ...FLOAT_TABLES.map((table) =>
      read(
        table,
        (
          where,
        ) => `SELECT series_id AS id, toFloat64(toUnixTimestamp64Milli(TimeUnix)) AS time, Value AS value, CAST(${IS_MARKER}, 'UInt8') AS marker
      FROM ${databaseName}.otel_metrics_${table} WHERE ${where}`,
        (bytes) => [...readNative(bytes, SAMPLE_COLUMNS)],
      ),
    ),
    ...HISTOGRAM_TABLES.map((table) =>
      read(table, (where) => toHistogramSql(databaseName, table, where), toHistogramBlocks),
    ),
  ]);
  return placeSamples(chunk, answers.flat());
}

const IN_WINDOWS =
  "positiveModulo({window_end:Int64} - toUnixTimestamp64Milli(TimeUnix), {window_step:Int64}) < {window_range:Int64}";

function toWindowParameters(windows: Windows | undefined): QueryParameters {
  if (windows === undefined) return {};
  const { endMs, stepMs, rangeMs } = windows;
  return { window_end: String(endMs), window_step: String(stepMs), window_range: String(rangeMs) };
}

/** Conditions for the rows of series in the range: their samples and their stale markers. `isAll`: there are no other series of their metrics. */
export function toSampleScope(
  wanted: readonly ListedSeries[],
  isAll: boolean,
): { where: string; parameters: QueryParameters } {
  const stored = wanted.flatMap((series) => series.stored);
  const ids = distinct(stored.map(({ clusterId }) => clusterId));
  const marked = ids.map((id) => STALE_PREFIX + id);
  const clusters = toLongList("clusters", [...ids, ...marked]);
  const metrics = toLongList("metrics", distinct(stored.map(({ metric }) => metric)));
  const series = isAll ? undefined : ofSeries(stored.map(({ id }) => id));
  const only = series ? `AND ${series.sql}` : "";
  return {
    where: `cluster_id IN ${clusters.sql} AND MetricName IN ${metrics.sql} AND ${IN_RANGE} ${only}`,
    parameters: { ...clusters.parameters, ...metrics.parameters, ...series?.parameters },
  };
}

/** Ids of up to 20 digits that fit into one parameter (long-list.ts). */
const ONE_PARAMETER_MAX = 2000;

/** A condition for the rows of series, with its parameters. `ids`: UInt64 in decimal. */
export function ofSeries(ids: readonly string[]): { sql: string; parameters: QueryParameters } {
  // A constant becomes a set while the statement is planned; a subquery takes a millisecond, and ClickHouse compares each row with each id of an arrayMap.
  if (ids.length <= ONE_PARAMETER_MAX)
    return { sql: "series_id IN {series:Array(UInt64)}", parameters: { series: `[${ids.join(",")}]` } };
  const { sql, parameters } = toLongList("series", ids);
  return { sql: `series_id IN (SELECT arrayJoin(arrayMap(text -> toUInt64(text), ${sql})))`, parameters };
}

export function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

/** How many series fit into one statement's list. */
export const CHUNK_SERIES_MAX = 10_000;
