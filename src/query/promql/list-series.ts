import type { Labels } from "#promql/labels.ts";
import type { LimitedDatabase } from "#query/limits.ts";
import type { IsInSeriesTable } from "#query/series/series-table.ts";
import type { SampleTable } from "#storage/samples-sql.ts";
import { HISTOGRAM_TABLES, type HistogramTable, type MayBeHistogram } from "./histogram-tables.ts";
import { assert } from "#lib/assert.ts";
import { toSeriesLabels } from "./cluster-labels.ts";
import type { Selection } from "./selection.ts";
import { toRangeParameters, toSeriesRows, type SampleRange } from "./series-rows.ts";

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
  /** Where its samples are: several after its type changed. */
  tables: readonly StoredTable[];
}

export type StoredTable = SampleTable | HistogramTable;

/** At most `max` series that may have samples in the range, by cluster and metric; one more says that there are more. */
export type ListSeries = (
  selection: Selection,
  range: SampleRange,
  max: number,
  signal: AbortSignal,
) => Promise<ListedSeries[]>;

interface Row {
  cluster_id: string;
  metric: string;
  id: string;
  kinds: string[];
  own: Record<string, string>;
}

export function createListSeries(
  deps: { database: LimitedDatabase; isInSeriesTable: IsInSeriesTable; mayBeHistogram: MayBeHistogram },
  { databaseName }: { databaseName: string },
): ListSeries {
  return async (selection, range, max, signal) => {
    const { clusters, sql, parameters, keeps, metric } = selection;
    if (clusters.size === 0) return [];
    const from = toSeriesRows(
      databaseName,
      {
        isInSeriesTable: await deps.isInSeriesTable(Math.max(range.fromMs, 0), signal),
        withHistograms: await deps.mayBeHistogram(metric, signal),
      },
      sql,
    );
    const rows = await deps.database.query<Row>(
      `SELECT toString(cluster_id) AS cluster_id, toString(metric_name) AS metric, toString(series_id) AS id,
        groupUniqArray(toString(kind)) AS kinds, argMax(labels, last_time) AS own
      FROM ${from} GROUP BY cluster_id, metric_name, series_id ORDER BY cluster_id, metric_name, series_id LIMIT ${max + 1}`,
      { ...parameters, ...toRangeParameters(range) },
      signal,
    );
    const found = new Map<string, { labels: Labels; stored: StoredSeries[] }>();
    for (const { cluster_id, metric: name, id, kinds, own } of rows) {
      const cluster = clusters.get(cluster_id);
      assert(cluster !== undefined, "a series is of a cluster that was asked for");
      const labels = toSeriesLabels(name, own, cluster);
      if (!keeps(labels)) continue;
      const stored = { id, clusterId: cluster_id, metric: name, tables: tablesOf(kinds) };
      const same = found.get(labels.key);
      if (same) same.stored.push(stored);
      else found.set(labels.key, { labels, stored: [stored] });
    }
    return [...found.values()];
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
