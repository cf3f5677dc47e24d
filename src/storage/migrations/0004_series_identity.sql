-- The identity of a series is all of its labels. Up to here it left k8s.node.name out, because the bridge derived that attribute, and two series of a
-- Prometheus that has such a label of its own became one. The bridge derives nothing any more; it says so by the scope attribute budcluster.schema_version.
--   2 and later   hash of all labels
--   none          sent before: hash without k8s.node.name. So a sample that was sent then and is sent again now is the same row.
-- Only metadata changes: rows that are stored keep the series_id that they have.

--{{define series_id}}
  ResourceAttributes['cluster_id'] != '',
  if(
    toUInt32OrZero(ScopeAttributes['budcluster.schema_version']) >= 2,
    cityHash64(ResourceAttributes['cluster_id'], MetricName, mapSort(Attributes)),
    cityHash64(
      ResourceAttributes['cluster_id'],
      MetricName,
      mapSort(mapFilter((k, v) -> k != 'k8s.node.name', Attributes))
    )
  ),
  cityHash64(MetricName, ServiceName, mapSort(ResourceAttributes), mapSort(Attributes))
) CODEC(ZSTD(1));
--{{end}}

ALTER TABLE {{db}}.otel_metrics_gauge {{on_cluster}} MODIFY COLUMN series_id UInt64 MATERIALIZED if(
--{{use series_id}}

ALTER TABLE {{db}}.otel_metrics_sum {{on_cluster}} MODIFY COLUMN series_id UInt64 MATERIALIZED if(
--{{use series_id}}

ALTER TABLE {{db}}.otel_metrics_histogram {{on_cluster}} MODIFY COLUMN series_id UInt64 MATERIALIZED if(
--{{use series_id}}

ALTER TABLE {{db}}.otel_metrics_exponential_histogram {{on_cluster}} MODIFY COLUMN series_id UInt64 MATERIALIZED if(
--{{use series_id}}

ALTER TABLE {{db}}.otel_metrics_summary {{on_cluster}} MODIFY COLUMN series_id UInt64 MATERIALIZED if(
--{{use series_id}}
