-- One row for each series and day: labels, unit, resource, first and last time. What names and labels there are is read here and not from every sample.
-- Views fill it from each inserted block, as they fill rollup_marks: an INSERT is acknowledged when they have written, too. An INSERT that failed half-way may have left
-- a row without its samples, or samples without their row; sending it again heals both, and refreshRollups adds rows that are missing for samples.
-- An unmerged table has several rows of a series and day: read it with GROUP BY (min of first_time, max of last_time) or FINAL.
-- Samples without a cluster_id have no row. A day's row outlives its samples by a day.

CREATE TABLE IF NOT EXISTS {{db}}.series {{on_cluster}} (
  cluster_id LowCardinality(String),
  metric_name LowCardinality(String),
  series_id UInt64 CODEC(ZSTD(1)),
  day Date CODEC(Delta, ZSTD(1)),
  kind LowCardinality(String),
  unit LowCardinality(String),
  labels SimpleAggregateFunction(anyLast, Map(String, String)) CODEC(ZSTD(6)),
  description SimpleAggregateFunction(anyLast, LowCardinality(String)),
  resource SimpleAggregateFunction(anyLast, Map(String, String)) CODEC(ZSTD(6)),
  first_time SimpleAggregateFunction(min, DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)),
  last_time SimpleAggregateFunction(max, DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1))
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY day
PRIMARY KEY (cluster_id, metric_name, series_id)
ORDER BY (cluster_id, metric_name, series_id, day, kind, unit)
TTL (day + INTERVAL 1 DAY) + INTERVAL {{ttl_days}} DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 1024;

-- From the least day on, every sample has its row in series, also those that were stored before the views existed. No row: nothing is known yet. 1970-01-01: all days.
-- refreshRollups goes back day by day and adds each one when it is done.
CREATE TABLE IF NOT EXISTS {{db}}.series_days {{on_cluster}} (
  day Date,
  filled_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{replacing_merge_tree}}
ORDER BY day;

--{{define identity}}
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
WHERE cluster_id != ''
GROUP BY cluster_id, metric_name, series_id, day, kind, unit;
--{{end}}

CREATE MATERIALIZED VIEW IF NOT EXISTS {{db}}.series_gauge {{on_cluster}} TO {{db}}.series AS
SELECT
--{{use identity}}
  'gauge' AS kind,
--{{use newest_and_times}}
FROM {{db}}.otel_metrics_gauge
--{{use by_series}}

CREATE MATERIALIZED VIEW IF NOT EXISTS {{db}}.series_sum {{on_cluster}} TO {{db}}.series AS
SELECT
--{{use identity}}
  if(IsMonotonic, 'counter', 'sum') AS kind,
--{{use newest_and_times}}
FROM {{db}}.otel_metrics_sum
--{{use by_series}}

-- Tables without a sample have nothing to be filled.
INSERT INTO {{db}}.series_days (day)
SELECT toDate(0)
WHERE (SELECT count() FROM {{db}}.otel_metrics_gauge) = 0 AND (SELECT count() FROM {{db}}.otel_metrics_sum) = 0;
