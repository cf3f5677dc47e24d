import type { SampleTable } from "./samples-sql.ts";

const KIND: Record<SampleTable, string> = {
  gauge: "'gauge'",
  sum: "if(IsMonotonic, 'counter', 'sum')",
};
const KEY = "metric_name, series_id, day, kind, unit";

/**
 * INSERT of the rows that the table `series` lacks for the samples in `range` that also `more` lets through (conditions on metric_name, series_id and time): there is no row, or its
 * times end before theirs. `range` is about cluster_id and time, with the parameters `cluster`, `from` and `to` (ms). The rows are those of the views of 0005_series.sql.
 * Repeatable. Copies of samples change nothing.
 * What is missing is found in the columns of the key alone; labels are read only of the first and the last sample of a series that lacks a row.
 */
export function addMissingSeries(
  databaseName: string,
  table: SampleTable,
  range: string,
  more: string,
): string {
  const samples = `(SELECT cluster_id, MetricName AS metric_name, series_id, TimeUnix AS time, toDate(TimeUnix) AS day, ${KIND[table]} AS kind, MetricUnit AS unit,
    Attributes, MetricDescription, ResourceAttributes FROM ${databaseName}.otel_metrics_${table})`;
  return `INSERT INTO ${databaseName}.series (cluster_id, ${KEY}, labels, description, resource, first_time, last_time)
  SELECT cluster_id, ${KEY},
    argMax(Attributes, time), argMax(MetricDescription, time), argMax(ResourceAttributes, time), min(time), max(time)
  FROM ${samples}
  WHERE ${range} AND (series_id, time) IN (
    SELECT series_id, arrayJoin([first, last]) FROM (
      SELECT ${KEY}, min(time) AS first, max(time) AS last FROM ${samples} WHERE ${range} AND ${more} GROUP BY ${KEY}
    ) AS found
    LEFT JOIN (
      SELECT ${KEY}, min(first_time) AS known_first, max(last_time) AS known_last FROM ${databaseName}.series
      WHERE cluster_id = {cluster:String}
        AND day BETWEEN toDate(fromUnixTimestamp64Milli({from:Int64}, 'UTC')) AND toDate(fromUnixTimestamp64Milli({to:Int64}, 'UTC'))
      GROUP BY ${KEY}
    ) AS known USING (${KEY})
    WHERE first < known_first OR last > known_last
  )
  GROUP BY cluster_id, ${KEY}`;
}
