-- Hours of each series for long ranges. Every insert marks the (cluster, metric, hour) that it touches; refreshRollups computes marked hours anew from
-- the deduplicated samples, so that copies and late samples come out right. An hour is (hour_end - 1 h, hour_end], as PromQL's ranges are.
-- Samples without a cluster_id are not rolled up.

--{{define identity_columns}}
  cluster_id LowCardinality(String),
  metric_name LowCardinality(String),
  series_id UInt64 CODEC(ZSTD(1)),
  hour_end DateTime('UTC') CODEC(Delta, ZSTD(1)),
  labels Map(LowCardinality(String), String) CODEC(ZSTD(6)),
  unit LowCardinality(String),
  count UInt32 CODEC(ZSTD(1)),
--{{end}}

--{{define rollup_engine}}
ENGINE = {{replicated}}ReplacingMergeTree(rolled_at)
PARTITION BY toYYYYMM(hour_end)
ORDER BY (cluster_id, metric_name, series_id, hour_end)
TTL hour_end + INTERVAL {{ttl_days}} DAY
SETTINGS ttl_only_drop_parts = 1;
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
WHERE cluster_id != ''
GROUP BY cluster_id, metric_name, hour_end;
--{{end}}

-- Dirty: max(marked_at) > max(rolled_at). `rows` counts inserted rows, copies included: an upper bound for the work.
CREATE TABLE IF NOT EXISTS {{db}}.rollup_marks {{on_cluster}} (
  cluster_id LowCardinality(String),
  metric_name LowCardinality(String),
  hour_end DateTime('UTC') CODEC(Delta, ZSTD(1)),
  marked_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
  rolled_at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
  rows SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1))
)
ENGINE = {{replicated}}AggregatingMergeTree
PARTITION BY toYYYYMM(hour_end)
ORDER BY (cluster_id, metric_name, hour_end)
TTL hour_end + INTERVAL {{ttl_days}} DAY
SETTINGS ttl_only_drop_parts = 1;

-- Gauges, and sums that may fall. NaN counts in `count` and makes `sum` NaN; min and max pass it over, as PromQL's do.
CREATE TABLE IF NOT EXISTS {{db}}.rollup_gauge {{on_cluster}} (
--{{use identity_columns}}
  sum Float64 CODEC(ZSTD(1)),
  min Float64 CODEC(ZSTD(1)),
  max Float64 CODEC(ZSTD(1)),
  first_value Float64 CODEC(ZSTD(1)),
  last_value Float64 CODEC(ZSTD(1)),
  first_time DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
  last_time DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
  rolled_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
--{{use rollup_engine}}

-- Counters. `reset_sum` is the sum of the values just before each reset inside of the hour. With it the hours of any window give exactly what
-- PromQL's rate() computes from the samples themselves: no hour depends on its neighbours' rows.
CREATE TABLE IF NOT EXISTS {{db}}.rollup_counter {{on_cluster}} (
--{{use identity_columns}}
  first_value Float64 CODEC(Delta, ZSTD(1)),
  last_value Float64 CODEC(Delta, ZSTD(1)),
  first_time DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
  last_time DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
  resets UInt32 CODEC(ZSTD(1)),
  reset_sum Float64 CODEC(ZSTD(1)),
  rolled_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
--{{use rollup_engine}}

CREATE MATERIALIZED VIEW IF NOT EXISTS {{db}}.rollup_marks_gauge {{on_cluster}} TO {{db}}.rollup_marks AS
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_gauge
--{{use by_hour}}

CREATE MATERIALIZED VIEW IF NOT EXISTS {{db}}.rollup_marks_sum {{on_cluster}} TO {{db}}.rollup_marks AS
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_sum
--{{use by_hour}}

-- What was stored before the marks existed.
INSERT INTO {{db}}.rollup_marks (cluster_id, metric_name, hour_end, marked_at, rows)
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_gauge
--{{use by_hour}}

INSERT INTO {{db}}.rollup_marks (cluster_id, metric_name, hour_end, marked_at, rows)
--{{use marks_of_samples}}
FROM {{db}}.otel_metrics_sum
--{{use by_hour}}

-- The hours that are rolled up, for users' own SQL; open and late hours come after refreshRollups.
CREATE VIEW IF NOT EXISTS {{db}}.hourly_gauge {{on_cluster}} AS
SELECT
  cluster_id,
  metric_name,
  series_id,
  hour_end,
  labels,
  unit,
  count,
  sum,
  min,
  max,
  sum / count AS avg,
  first_value,
  last_value,
  first_time,
  last_time
FROM {{db}}.rollup_gauge FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- `increase` is between the hour's first and last sample, resets included and nothing extrapolated.
CREATE VIEW IF NOT EXISTS {{db}}.hourly_counter {{on_cluster}} AS
SELECT
  cluster_id,
  metric_name,
  series_id,
  hour_end,
  labels,
  unit,
  count,
  last_value - first_value + reset_sum AS increase,
  resets,
  reset_sum,
  first_value,
  last_value,
  first_time,
  last_time
FROM {{db}}.rollup_counter FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
