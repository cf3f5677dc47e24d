import { STALE_PREFIX } from "./stale-markers.ts";

/** The table of a sample: gauges, or sums (counters among them). */
export type SampleTable = "gauge" | "sum";

const KIND: Record<SampleTable, string> = {
  gauge: "'gauge'",
  sum: "if(IsMonotonic, 'counter', 'sum')",
};

/**
 * A SELECT of `columns` (of cluster_id, metric_name, series_id, labels, time, value, kind, unit) of the samples that `where` lets through, each once: what the
 * views `samples_gauge`, `samples_sum` and, of both tables, `samples` give. Planning a statement costs more than reading a day of a few series, and a view
 * a third more than its table. `copies` are kept for timeSeries*ToGrid only, to which a sample's copy makes no difference.
 */
export function samplesSource(
  databaseName: string,
  tables: readonly SampleTable[],
  columns: string,
  where: string,
  copies: "merged" | "kept" = "merged",
): string {
  return toSource(databaseName, tables, columns, where, { value: "Value AS value", copies });
}

/** Conditions of `markedSource`: the samples and the stale markers of a cluster (parameter `cluster`), or its markers. */
export const ONLY_MARKERS = `cluster_id = concat('${STALE_PREFIX}', {cluster:String})`;
export const IN_CLUSTER = `cluster_id IN ({cluster:String}, concat('${STALE_PREFIX}', {cluster:String}))`;
/** Is a row of a metric table a stale marker? */
export const IS_MARKER = `startsWith(cluster_id, '${STALE_PREFIX}')`;

/**
 * The same with the stale markers: rows with `is_marker` 1, whose value is NaN whatever was stored. `where` begins with one of these conditions, and lets markers through wherever it is about
 * values. To read them from the same tables in one go costs a granule or two more; another SELECT would cost its planning.
 */
export function markedSource(
  databaseName: string,
  columns: string,
  where: string,
  copies: "merged" | "kept" = "merged",
  tables: readonly SampleTable[] = ["gauge", "sum"],
): string {
  const value = `${IS_MARKER} AS is_marker, if(${IS_MARKER}, nan, Value) AS value`;
  return toSource(databaseName, tables, columns, where, { value, copies });
}

function toSource(
  databaseName: string,
  tables: readonly SampleTable[],
  columns: string,
  where: string,
  { value, copies }: { value: string; copies: "merged" | "kept" },
): string {
  const final = copies === "merged" ? "FINAL" : "";
  return tables
    .map(
      (table) => `SELECT ${columns} FROM (
        SELECT cluster_id, MetricName AS metric_name, series_id, Attributes AS labels, TimeUnix AS time, ${value}, ${KIND[table]} AS kind, MetricUnit AS unit
        FROM ${databaseName}.otel_metrics_${table} ${final}
      ) WHERE ${where}`,
    )
    .join(" UNION ALL ");
}

/**
 * Settings that make FINAL fast. All copies of a sample are in one partition (0002_views.sql); conditions on the sorting key, as the time's, may be applied before
 * copies are merged, because copies have the same key.
 */
export const FINAL_SETTINGS = [
  "do_not_merge_across_partitions_select_final = 1",
  "optimize_move_to_prewhere_if_final = 1",
];
