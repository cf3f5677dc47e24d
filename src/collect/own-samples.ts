import type { MetricDescription } from "#otlp/request-encoder.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";

/** A sample that the bridge itself makes, about a cluster. */
export interface OwnSample {
  metric: MetricDescription;
  labels: Readonly<Record<string, string>>;
  timestampMs: number;
  value: number;
}

const gauge = (name: string, unit: string, description: string): MetricDescription => ({
  name,
  kind: "gauge",
  unit,
  description,
});
const counter = (name: string, description: string, unit = "{sample}"): MetricDescription => ({
  name,
  kind: "counter",
  unit,
  description,
});

/**
 * The query role knows of a collection from these rows alone. Labels of the budcluster_query_* metrics: query, group; of budcluster_node_info:
 * node, address, and no others (query/node-addresses.ts). docs/queries.md has the labels of all.
 */
export const CLUSTER_METRICS = {
  up: gauge("budcluster_cluster_up", "1", "1 when the cluster's Prometheus could be reached, else 0"),
  credentialsExpiry: gauge(
    "budcluster_cluster_credentials_expiry_seconds",
    "s",
    "Unix time at which the first of the cluster's credentials ends; not there when none is known to end",
  ),
  watermark: gauge(
    "budcluster_query_watermark_seconds",
    "s",
    "Unix time up to which every sample of the query is stored or named as a gap",
  ),
  read: counter(
    "budcluster_query_samples_read_total",
    "Samples that Prometheus had in the windows that are settled",
  ),
  sent: counter("budcluster_query_samples_sent_total", "Of these, samples that the Collector acknowledged"),
  probe: counter(
    "budcluster_probe_total",
    "Always 1; sent to find out whether the Collector takes counters when it refuses some",
    "1",
  ),
  openGaps: gauge("budcluster_query_open_gaps", "{gap}", "Stretches of time that are still to be read"),
  nodeInfo: gauge(
    "budcluster_node_info",
    "1",
    "1 for each address and the name of each node that Kubernetes lists: labels node, address",
  ),
  lostGaps: gauge("budcluster_query_lost_gaps", "{gap}", "Stretches of time that can't be read any more"),
  error: gauge(
    "budcluster_cluster_error",
    "1",
    "1 while the last collection ended with the error of the label code; 0 once when it does not any more",
  ),
  source: gauge(
    "budcluster_cluster_source",
    "1",
    "1 for each Prometheus that is read: labels pod, transport (tunnel_query, direct)",
  ),
  gap: gauge(
    "budcluster_query_gap",
    "s",
    "Length of the gaps of a query: labels query, state (open, lost, refused), reason",
  ),
  stretchLength: gauge("budcluster_stretch_length_seconds", "s", "Length of the stretches (PROOF_STRETCH)"),
  stretchState: gauge(
    "budcluster_stretch_state",
    "1",
    "State of the query in the stretch that ends at the sample's time: 0 proved, 1 pending, 2 open, 3 unproved, 4 refused, 5 lost",
  ),
  stretchReason: gauge(
    "budcluster_stretch_reason",
    "1",
    "Why the stretch is open, unproved, refused or lost: a number of docs/completeness.md; NaN: for no reason",
  ),
  stretchSamples: gauge(
    "budcluster_stretch_samples",
    "{sample}",
    "Samples of the query in the stretch that ends at the sample's time: label count (source, read, acknowledged, refused, late); NaN: not known",
  ),
  stretchCompared: gauge(
    "budcluster_stretch_compared_seconds",
    "s",
    "Unix time at which the stretch was last compared with the source; NaN: never",
  ),
} as const;

/** The sample in the form that the writer takes. */
export function toSeries(sample: OwnSample): ScannedSeries {
  const texts = Object.entries(sample.labels).flatMap(([name, value]) => [
    Buffer.from(name),
    Buffer.from(value),
  ]);
  const labels = new Int32Array(texts.length * 2);
  let length = 0;
  texts.forEach((text, i) => {
    labels[i * 2] = length;
    length += text.length;
    labels[i * 2 + 1] = length;
  });
  return {
    bytes: Buffer.concat(texts, length),
    nameStart: 0,
    nameEnd: 0,
    labelCount: texts.length / 2,
    labels,
    sampleCount: 1,
    timestamps: Float64Array.of(sample.timestampMs),
    values: Float64Array.of(sample.value),
  };
}
