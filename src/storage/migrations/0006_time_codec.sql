-- A smaller TimeUnix (docs/decisions/0024-time-codec.md): the stamps of a scrape repeat in each series of a target, and ZSTD's long-distance matching finds them again.
-- New parts have it at once, older ones when they merge (docs/clickhouse.md has the command that does not wait). Nothing is rewritten now.

ALTER TABLE {{db}}.otel_metrics_gauge {{on_cluster}}
  MODIFY COLUMN TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1, 20)) SETTINGS (min_compress_block_size = 262144);

ALTER TABLE {{db}}.otel_metrics_sum {{on_cluster}}
  MODIFY COLUMN TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1, 20)) SETTINGS (min_compress_block_size = 262144);

ALTER TABLE {{db}}.otel_metrics_histogram {{on_cluster}}
  MODIFY COLUMN TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1, 20)) SETTINGS (min_compress_block_size = 262144);

ALTER TABLE {{db}}.otel_metrics_exponential_histogram {{on_cluster}}
  MODIFY COLUMN TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1, 20)) SETTINGS (min_compress_block_size = 262144);

ALTER TABLE {{db}}.otel_metrics_summary {{on_cluster}}
  MODIFY COLUMN TimeUnix DateTime64(9, 'UTC') CODEC(GCD, Delta, ZSTD(1, 20)) SETTINGS (min_compress_block_size = 262144);
