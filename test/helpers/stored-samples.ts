import type { Database } from "#storage/database.ts";

export interface StoredSeries {
  cluster?: string;
  metric: string;
  labels: Record<string, string>;
  /** gauge, counter (cumulative, monotonic) or sum (cumulative, may fall). */
  kind: "gauge" | "counter" | "sum";
  /** Time (ms) and value. */
  samples: readonly (readonly [number, number])[];
}

const text = (value: string): string => `'${value.replaceAll(/['\\]/g, String.raw`\$&`)}'`;
const map = (entries: Record<string, string>): string =>
  `map(${Object.entries(entries).flat().map(text).join(", ")})`;

/** Inserts series into the tables of the database `metrics` as the receiver and the Collector do, one INSERT each. */
export async function storeSeries(database: Database, ...series: StoredSeries[]): Promise<void> {
  for (const { cluster = "c1", metric, labels, kind, samples } of series) {
    const table = kind === "gauge" ? "gauge" : "sum";
    const points = samples.map(([ms, value]) => `(${ms}, toFloat64('${value}'))`).join(", ");
    const sumColumns = kind === "gauge" ? "" : ", AggregationTemporality, IsMonotonic";
    const sumValues = kind === "gauge" ? "" : `, 2, ${kind === "counter"}`;
    await database.command(
      `INSERT INTO metrics.otel_metrics_${table} (ResourceAttributes, MetricName, MetricUnit, Attributes, TimeUnix, Value${sumColumns})
       SELECT ${map({ cluster_id: cluster })}, ${text(metric)}, 'By', CAST(${map(labels)}, 'Map(LowCardinality(String), String)'),
         fromUnixTimestamp64Milli(toInt64(point.1)), point.2${sumValues}
       FROM (SELECT arrayJoin([${points}]) AS point)`,
    );
  }
}
