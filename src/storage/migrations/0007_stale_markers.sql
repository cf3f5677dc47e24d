-- Stale markers: points with the flag NO_RECORDED_VALUE (Flags, bit 0), by which OTLP says that a series has ended. Their rows are no samples (docs/decisions/0031-stale-markers.md).
-- A marker's cluster_id is 'stale/' and the id, which no cluster has: whatever reads `cluster_id = 'X'` reads samples only, and the markers of a cluster and metric are found by
-- the primary key as its samples are. Only metadata changes: rows that are stored stay as they are.

--{{define no_marker}}
WHERE bitAnd(Flags, 1) = 0
SETTINGS do_not_merge_across_partitions_select_final = 1;
--{{end}}

--{{define marks_of_samples}}
SELECT
  cluster_id,
  MetricName AS metric_name,
  toStartOfHour(TimeUnix - INTERVAL 1 NANOSECOND) + INTERVAL 1 HOUR AS hour_end,
  now64(3, 'UTC') AS marked_at,
  count() AS rows
--{{end}}

--{{define by_hour}}
WHERE cluster_id != '' AND bitAnd(Flags, 1) = 0
GROUP BY cluster_id, metric_name, hour_end;
--{{end}}

--{{define identity_of_series}}
  cluster_id,
  MetricName AS metric_name,
  series_id,
  toDate(TimeUnix) AS day,
--{{end}}

--{{define newest_and_times}}
  MetricUnit AS unit,
  argMax(Attributes, TimeUnix) AS labels,
  argMax(MetricDescription, TimeUnix) AS description,
  argMax(ResourceAttributes, TimeUnix) AS resource,
  min(TimeUnix) AS first_time,
  max(TimeUnix) AS last_time
--{{end}}

--{{define by_series}}
WHERE cluster_id != '' AND bitAnd(Flags, 1) = 0
GROUP BY cluster_id, metric_name, series_id, day, kind, unit;
--{{end}}

--{{define identity_and_time}}
  cluster_id,
  MetricName AS metric_name,
  series_id,
  Attributes AS labels,
  TimeUnix AS time,
--{{end}}

--{{define marker}}
  substring(stored.cluster_id, 7) AS cluster_id,
  MetricName AS metric_name,
  series_id,
  Attributes AS labels,
  TimeUnix AS time,
--{{end}}

--{{define unit_and_resource}}
  MetricUnit AS unit,
  ResourceAttributes AS resource
--{{end}}

--{{define only_markers}}
AS stored FINAL
WHERE startsWith(stored.cluster_id, 'stale/')
--{{end}}

ALTER TABLE {{db}}.rollup_marks_gauge {{on_cluster}} MODIFY QUERY
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_gauge
--{{use by_hour}}

ALTER TABLE {{db}}.rollup_marks_sum {{on_cluster}} MODIFY QUERY
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_sum
--{{use by_hour}}

ALTER TABLE {{db}}.series_gauge {{on_cluster}} MODIFY QUERY
SELECT
--{{use identity_of_series}}
  'gauge' AS kind,
--{{use newest_and_times}}
FROM {{db}}.otel_metrics_gauge
--{{use by_series}}

ALTER TABLE {{db}}.series_sum {{on_cluster}} MODIFY QUERY
SELECT
--{{use identity_of_series}}
  if(IsMonotonic, 'counter', 'sum') AS kind,
--{{use newest_and_times}}
FROM {{db}}.otel_metrics_sum
--{{use by_series}}

CREATE OR REPLACE VIEW {{db}}.samples_gauge {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Value AS value,
  'gauge' AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_gauge FINAL
--{{use no_marker}}

CREATE OR REPLACE VIEW {{db}}.samples_sum {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Value AS value,
  if(IsMonotonic, 'counter', 'sum') AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_sum FINAL
--{{use no_marker}}

CREATE OR REPLACE VIEW {{db}}.histograms {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Count AS count,
  Sum AS sum,
  BucketCounts AS bucket_counts,
  ExplicitBounds AS explicit_bounds,
  Min AS min,
  Max AS max,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_histogram FINAL
--{{use no_marker}}

CREATE OR REPLACE VIEW {{db}}.exponential_histograms {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Count AS count,
  Sum AS sum,
  Scale AS scale,
  ZeroCount AS zero_count,
  PositiveOffset AS positive_offset,
  PositiveBucketCounts AS positive_bucket_counts,
  NegativeOffset AS negative_offset,
  NegativeBucketCounts AS negative_bucket_counts,
  Min AS min,
  Max AS max,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_exponential_histogram FINAL
--{{use no_marker}}

CREATE OR REPLACE VIEW {{db}}.summaries {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Count AS count,
  Sum AS sum,
  `ValueAtQuantiles.Quantile` AS quantiles,
  `ValueAtQuantiles.Value` AS quantile_values,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_summary FINAL
--{{use no_marker}}

-- Every marker once, under the id of its cluster.
CREATE VIEW IF NOT EXISTS {{db}}.stale_markers {{on_cluster}} AS
SELECT
--{{use marker}}
  'gauge' AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_gauge
--{{use only_markers}}
UNION ALL
SELECT
--{{use marker}}
  if(IsMonotonic, 'counter', 'sum') AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_sum
--{{use only_markers}}
UNION ALL
SELECT
--{{use marker}}
  'histogram' AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_histogram
--{{use only_markers}}
UNION ALL
SELECT
--{{use marker}}
  'exponential_histogram' AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_exponential_histogram
--{{use only_markers}}
UNION ALL
SELECT
--{{use marker}}
  'summary' AS kind,
--{{use unit_and_resource}}
FROM {{db}}.otel_metrics_summary
--{{use only_markers}}
SETTINGS do_not_merge_across_partitions_select_final = 1;

--{{define cluster_id}}
MODIFY COLUMN cluster_id LowCardinality(String) MATERIALIZED concat(if(bitAnd(Flags, 1) = 1, 'stale/', ''), ResourceAttributes['cluster_id']);
--{{end}}

ALTER TABLE {{db}}.otel_metrics_gauge {{on_cluster}}
--{{use cluster_id}}

ALTER TABLE {{db}}.otel_metrics_sum {{on_cluster}}
--{{use cluster_id}}

ALTER TABLE {{db}}.otel_metrics_histogram {{on_cluster}}
--{{use cluster_id}}

ALTER TABLE {{db}}.otel_metrics_exponential_histogram {{on_cluster}}
--{{use cluster_id}}

ALTER TABLE {{db}}.otel_metrics_summary {{on_cluster}}
--{{use cluster_id}}
