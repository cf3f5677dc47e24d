-- What users and the query API read: every sample once. FINAL removes what was sent twice; a sample's copies are always in one partition (one day),
-- so partitions need not be merged with each other.

--{{define identity_and_time}}
  cluster_id,
  MetricName AS metric_name,
  series_id,
  Attributes AS labels,
  TimeUnix AS time,
--{{end}}

CREATE VIEW IF NOT EXISTS {{db}}.samples_gauge {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Value AS value,
  'gauge' AS kind,
  MetricUnit AS unit,
  ResourceAttributes AS resource
FROM {{db}}.otel_metrics_gauge FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE VIEW IF NOT EXISTS {{db}}.samples_sum {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Value AS value,
  if(IsMonotonic, 'counter', 'sum') AS kind,
  MetricUnit AS unit,
  ResourceAttributes AS resource
FROM {{db}}.otel_metrics_sum FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- A metric whose type changed has samples in both tables.
CREATE VIEW IF NOT EXISTS {{db}}.samples {{on_cluster}} AS
SELECT cluster_id, metric_name, series_id, labels, time, value, kind, unit, resource FROM {{db}}.samples_gauge
UNION ALL
SELECT cluster_id, metric_name, series_id, labels, time, value, kind, unit, resource FROM {{db}}.samples_sum;

CREATE VIEW IF NOT EXISTS {{db}}.histograms {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Count AS count,
  Sum AS sum,
  BucketCounts AS bucket_counts,
  ExplicitBounds AS explicit_bounds,
  Min AS min,
  Max AS max,
  MetricUnit AS unit,
  ResourceAttributes AS resource
FROM {{db}}.otel_metrics_histogram FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE VIEW IF NOT EXISTS {{db}}.exponential_histograms {{on_cluster}} AS
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
  MetricUnit AS unit,
  ResourceAttributes AS resource
FROM {{db}}.otel_metrics_exponential_histogram FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

CREATE VIEW IF NOT EXISTS {{db}}.summaries {{on_cluster}} AS
SELECT
--{{use identity_and_time}}
  Count AS count,
  Sum AS sum,
  `ValueAtQuantiles.Quantile` AS quantiles,
  `ValueAtQuantiles.Value` AS quantile_values,
  MetricUnit AS unit,
  ResourceAttributes AS resource
FROM {{db}}.otel_metrics_summary FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
