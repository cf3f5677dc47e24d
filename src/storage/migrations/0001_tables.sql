-- The tables that the Collector's clickhouse exporter inserts into (create_schema: false) and that the all-in-one's receiver fills the same way.
-- A row's identity is (cluster_id, MetricName, series_id, TimeUnix): a sample that is sent again replaces itself when parts merge.
-- PRIMARY KEY without TimeUnix keeps the index small; ORDER BY with it is the identity. 'UTC' in the types makes hours and partitions the
-- same on every server. Read the views of 0002, not these tables.

--{{define common_columns}}
  ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(6)),
  ResourceSchemaUrl LowCardinality(String),
  ScopeName LowCardinality(String),
  ScopeVersion LowCardinality(String),
  ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(6)),
  ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
  ScopeSchemaUrl LowCardinality(String),
  ServiceName LowCardinality(String),
  MetricName LowCardinality(String),
  MetricDescription LowCardinality(String),
  MetricUnit LowCardinality(String),
  Attributes Map(LowCardinality(String), String) CODEC(ZSTD(6)),
  StartTimeUnix DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)),
  TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1)),
--{{end}}

--{{define exemplars}}
  Exemplars Nested(
    FilteredAttributes Map(LowCardinality(String), String),
    TimeUnix DateTime64(9, 'UTC'),
    Value Float64,
    SpanId String,
    TraceId String
  ) CODEC(ZSTD(1)),
--{{end}}

--{{define identity_and_engine}}
  cluster_id LowCardinality(String) MATERIALIZED ResourceAttributes['cluster_id'],
  series_id UInt64 MATERIALIZED if(
    ResourceAttributes['cluster_id'] != '',
    cityHash64(
      ResourceAttributes['cluster_id'],
      MetricName,
      mapSort(mapFilter((k, v) -> k != 'k8s.node.name', Attributes))
    ),
    cityHash64(MetricName, ServiceName, mapSort(ResourceAttributes), mapSort(Attributes))
  ) CODEC(ZSTD(1))
)
ENGINE = {{replacing_merge_tree}}
PARTITION BY toDate(TimeUnix)
PRIMARY KEY (cluster_id, MetricName, toStartOfHour(TimeUnix), series_id)
ORDER BY (cluster_id, MetricName, toStartOfHour(TimeUnix), series_id, TimeUnix)
TTL toDateTime(TimeUnix) + INTERVAL {{ttl_days}} DAY
SETTINGS ttl_only_drop_parts = 1;
--{{end}}

CREATE TABLE IF NOT EXISTS {{db}}.otel_metrics_gauge {{on_cluster}} (
--{{use common_columns}}
  Value Float64 CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
--{{use exemplars}}
--{{use identity_and_engine}}

CREATE TABLE IF NOT EXISTS {{db}}.otel_metrics_sum {{on_cluster}} (
--{{use common_columns}}
  Value Float64 CODEC(Delta, ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
--{{use exemplars}}
  AggregationTemporality Int32 CODEC(ZSTD(1)),
  IsMonotonic Bool CODEC(ZSTD(1)),
--{{use identity_and_engine}}

CREATE TABLE IF NOT EXISTS {{db}}.otel_metrics_histogram {{on_cluster}} (
--{{use common_columns}}
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  BucketCounts Array(UInt64) CODEC(ZSTD(1)),
  ExplicitBounds Array(Float64) CODEC(ZSTD(1)),
--{{use exemplars}}
  Flags UInt32 CODEC(ZSTD(1)),
  Min Float64 CODEC(ZSTD(1)),
  Max Float64 CODEC(ZSTD(1)),
  AggregationTemporality Int32 CODEC(ZSTD(1)),
--{{use identity_and_engine}}

CREATE TABLE IF NOT EXISTS {{db}}.otel_metrics_exponential_histogram {{on_cluster}} (
--{{use common_columns}}
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  Scale Int32 CODEC(ZSTD(1)),
  ZeroCount UInt64 CODEC(ZSTD(1)),
  PositiveOffset Int32 CODEC(ZSTD(1)),
  PositiveBucketCounts Array(UInt64) CODEC(ZSTD(1)),
  NegativeOffset Int32 CODEC(ZSTD(1)),
  NegativeBucketCounts Array(UInt64) CODEC(ZSTD(1)),
--{{use exemplars}}
  Flags UInt32 CODEC(ZSTD(1)),
  Min Float64 CODEC(ZSTD(1)),
  Max Float64 CODEC(ZSTD(1)),
  AggregationTemporality Int32 CODEC(ZSTD(1)),
--{{use identity_and_engine}}

CREATE TABLE IF NOT EXISTS {{db}}.otel_metrics_summary {{on_cluster}} (
--{{use common_columns}}
  Count UInt64 CODEC(ZSTD(1)),
  Sum Float64 CODEC(ZSTD(1)),
  ValueAtQuantiles Nested(
    Quantile Float64,
    Value Float64
  ) CODEC(ZSTD(1)),
  Flags UInt32 CODEC(ZSTD(1)),
--{{use identity_and_engine}}
