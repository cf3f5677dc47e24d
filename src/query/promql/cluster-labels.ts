import { Labels, METRIC_NAME } from "#promql/labels.ts";

/** A cluster of which samples are stored. */
export interface StoredCluster {
  id: string;
  /** As the bridge sent it last; the id where it sent none. */
  name: string;
}

/** The labels that say which cluster a series is of. */
const OWN_NAMES = ["cluster", "cluster_id"] as const;
const PREFIX = "exported_";
/** The names of all labels that `toSeriesLabels` may give another name. */
export const CLUSTER_LABELS = "^(?:exported_)*cluster(?:_id)?$";
const IS_CLUSTER_LABEL = new RegExp(CLUSTER_LABELS);

/** Can't be matched in the stored labels: it is a cluster's label, or one that makes way for it. */
export function isClusterLabel(name: string): boolean {
  return IS_CLUSTER_LABEL.test(name);
}

/**
 * The labels of a series by what is stored of it. A label `cluster` or `cluster_id` of the source that says something else is kept as `exported_cluster`, with more
 * `exported_` where the source has that, too: as Prometheus does with a target's labels (honor_labels: false).
 */
export function toSeriesLabels(
  metric: string,
  stored: Readonly<Record<string, string>>,
  cluster: StoredCluster,
): Labels {
  const labels = new Map(Object.entries(stored).filter(([, value]) => value !== ""));
  const given = { cluster: cluster.name, cluster_id: cluster.id };
  for (const name of OWN_NAMES) {
    const own = labels.get(name);
    labels.set(name, given[name]);
    if (own === undefined || own === given[name]) continue;
    let renamed = PREFIX + name;
    while (labels.has(renamed)) renamed = PREFIX + renamed;
    labels.set(renamed, own);
  }
  labels.set(METRIC_NAME, metric);
  return Labels.of(labels);
}
