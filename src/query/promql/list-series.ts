import type { Labels } from "#promql/labels.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { SampleTable } from "#storage/samples-sql.ts";
import { assert } from "#lib/assert.ts";
import { HISTOGRAM_TABLES, type HistogramTable } from "./histogram-tables.ts";
import { toSeriesLabels } from "./cluster-labels.ts";
import type { Selection } from "./selection.ts";
import { toRangeParameters, toSeriesRows, type SampleRange, type SeriesSources } from "./series-rows.ts";

/** A series of an answer. More than one stored series where the labels of a cluster make two of them the same. */
export interface ListedSeries {
  labels: Labels;
  stored: readonly StoredSeries[];
}

interface StoredSeries {
  /** UInt64 in decimal. */
  id: string;
  clusterId: string;
  metric: string;
  /** gauge, sum, counter, or a table of histograms; several after its type changed. */
  kinds: readonly string[];
  /** Where its samples are. */
  tables: readonly StoredTable[];
}

export type StoredTable = SampleTable | HistogramTable;

/** `isCut`: there are more. */
export interface SeriesList<Series extends ListedSeries = ListedSeries> {
  series: readonly Series[];
  isCut: boolean;
}

/** The series that may have samples in the range, of at most `max` stored ones, by cluster and metric. */
export type ListSeries = (
  selection: Selection,
  range: SampleRange,
  max: number,
  signal: AbortSignal,
) => Promise<SeriesList>;

interface Row {
  cluster_id: string;
  metric: string;
  id: string;
  kinds: string[];
  own: Record<string, string>;
  /** ms in decimal. */
  first: string;
  last: string;
}

/** Of all its days that were asked for: there may be no sample in between. */
export interface DatedSeries extends ListedSeries {
  firstMs: number;
  lastMs: number;
}

/** Reads a list from the database; `sources`: where its rows are. Has series that the selection's `keeps` refuses. */
export type ReadSeries = (
  selection: Selection,
  range: SampleRange,
  sources: SeriesSources,
  max: number,
  signal: AbortSignal,
) => Promise<SeriesList<DatedSeries>>;

export function createReadSeries(database: LimitedDatabase, databaseName: string): ReadSeries {
  return async ({ clusters, sql, parameters }, range, sources, max, signal) => {
    const rows = await database.query<Row>(
      `SELECT toString(cluster_id) AS cluster_id, toString(metric_name) AS metric, toString(series_id) AS id,
        groupUniqArray(toString(kind)) AS kinds, argMax(labels, last_time) AS own,
        toString(toUnixTimestamp64Milli(min(first_time))) AS first, toString(toUnixTimestamp64Milli(max(last_time))) AS last
      FROM ${toSeriesRows(databaseName, sources, sql)}
      GROUP BY cluster_id, metric_name, series_id ORDER BY cluster_id, metric_name, series_id LIMIT ${max + 1}`,
      { ...parameters, ...toRangeParameters(range) },
      signal,
    );
    const found = new Map<string, DatedSeries & { stored: StoredSeries[] }>();
    for (const { cluster_id, metric, id, kinds, own, first, last } of rows.slice(0, max)) {
      const cluster = clusters.get(cluster_id);
      assert(cluster !== undefined, "a series is of a cluster that was asked for");
      const labels = toSeriesLabels(metric, own, cluster);
      const stored = { id, clusterId: cluster_id, metric, kinds, tables: tablesOf(kinds) };
      const [firstMs, lastMs] = [Number(first), Number(last)];
      const same = found.get(labels.key);
      if (same) {
        same.stored.push(stored);
        same.firstMs = Math.min(same.firstMs, firstMs);
        same.lastMs = Math.max(same.lastMs, lastMs);
      } else found.set(labels.key, { labels, stored: [stored], firstMs, lastMs });
    }
    return { series: [...found.values()], isCut: rows.length > max };
  };
}

/** A marker of a native histogram may be in the table of the other kind. */
function tablesOf(kinds: readonly string[]): StoredTable[] {
  const isHistogram = (kind: string): boolean => HISTOGRAM_TABLES.some((table) => table === kind);
  const tables: StoredTable[] = [];
  if (kinds.includes("gauge")) tables.push("gauge");
  if (kinds.some((kind) => kind !== "gauge" && !isHistogram(kind))) tables.push("sum");
  if (kinds.some(isHistogram)) tables.push(...HISTOGRAM_TABLES);
  return tables;
}
