import { expect, test } from "vitest";
import { CLUSTER_METRICS, toSeries } from "#collect/own-samples.ts";

test("an own sample becomes a series with its labels, time and value", () => {
  const series = toSeries({
    metric: CLUSTER_METRICS.openGaps,
    labels: { query: "größe", group: "" },
    timestampMs: 1_700_000_000_123,
    value: 2.5,
  });
  const text = Buffer.from(series.bytes);
  const texts = Array.from({ length: series.labelCount * 2 }, (_, i) =>
    text.toString("utf8", series.labels[i * 2], series.labels[i * 2 + 1]),
  );
  expect(texts).toEqual(["query", "größe", "group", ""]);
  expect(series).toMatchObject({ nameStart: 0, nameEnd: 0, labelCount: 2, sampleCount: 1 });
  expect([...series.timestamps]).toEqual([1_700_000_000_123]);
  expect([...series.values]).toEqual([2.5]);
});

test("a sample without labels is a series without labels", () => {
  const series = toSeries({ metric: CLUSTER_METRICS.up, labels: {}, timestampMs: 1, value: 1 });
  expect(series).toMatchObject({ labelCount: 0, sampleCount: 1 });
});

test("the names that the query role reads are fixed", () => {
  expect(Object.values(CLUSTER_METRICS).map(({ name, kind, unit }) => [name, kind, unit])).toEqual([
    ["budcluster_cluster_up", "gauge", "1"],
    ["budcluster_cluster_credentials_expiry_seconds", "gauge", "s"],
    ["budcluster_query_watermark_seconds", "gauge", "s"],
    ["budcluster_query_samples_read_total", "counter", "{sample}"],
    ["budcluster_query_samples_sent_total", "counter", "{sample}"],
    ["budcluster_probe_total", "counter", "1"],
    ["budcluster_query_open_gaps", "gauge", "{gap}"],
    ["budcluster_node_info", "gauge", "1"],
    ["budcluster_query_lost_gaps", "gauge", "{gap}"],
    ["budcluster_cluster_error", "gauge", "1"],
    ["budcluster_cluster_source", "gauge", "1"],
    ["budcluster_query_gap", "gauge", "s"],
    ["budcluster_stretch_length_seconds", "gauge", "s"],
    ["budcluster_stretch_state", "gauge", "1"],
    ["budcluster_stretch_reason", "gauge", "1"],
    ["budcluster_stretch_samples", "gauge", "{sample}"],
    ["budcluster_stretch_compared_seconds", "gauge", "s"],
  ]);
});
