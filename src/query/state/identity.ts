import { NODE_NAME } from "#query/node-addresses.ts";

/**
 * The labels of a metric that come from what it measures. All other labels of its series are the source: who scraped what (instance, job, endpoint, service,
 * prometheus, prometheus_replica, any target label or external label). Two series with equal identity and different sources measure one thing twice.
 */
export interface MetricIdentity {
  /** Labels that make the thing. A node_exporter's series has its node in the source. */
  identity: readonly string[];
  /** Labels that only describe it, and may change while it stays the same. */
  detail: readonly string[];
}

const POD = ["namespace", "pod"];
const CONTAINER = [...POD, "container"];

/** kube-state-metrics: its metrics' labels (docs/metrics in its repository). `uid` differs for two Pods of one name, of which the newer one counts. */
const KUBE_STATE_METRICS: Readonly<Record<string, MetricIdentity>> = {
  kube_node_info: {
    identity: ["node"],
    detail: [
      "kernel_version",
      "os_image",
      "container_runtime_version",
      "kubelet_version",
      "kubeproxy_version",
      "provider_id",
      "pod_cidr",
      "system_uuid",
      "internal_ip",
    ],
  },
  kube_node_status_condition: { identity: ["node", "condition", "status"], detail: ["reason"] },
  kube_node_status_capacity: { identity: ["node", "resource"], detail: ["unit"] },
  kube_node_status_allocatable: { identity: ["node", "resource"], detail: ["unit"] },
  kube_namespace_status_phase: { identity: ["namespace", "phase"], detail: [] },
  kube_deployment_status_replicas: { identity: ["namespace", "deployment"], detail: [] },
  kube_deployment_status_replicas_available: { identity: ["namespace", "deployment"], detail: [] },
  kube_deployment_status_replicas_unavailable: { identity: ["namespace", "deployment"], detail: [] },
  kube_pod_info: {
    identity: POD,
    detail: [
      "uid",
      "node",
      "host_ip",
      "pod_ip",
      "created_by_kind",
      "created_by_name",
      "priority_class",
      "host_network",
    ],
  },
  kube_pod_status_phase: { identity: [...POD, "phase"], detail: ["uid"] },
  kube_pod_container_status_restarts_total: { identity: CONTAINER, detail: ["uid"] },
  kube_pod_container_resource_requests: {
    identity: [...CONTAINER, "resource"],
    detail: ["uid", "node", "unit"],
  },
  kube_pod_container_resource_limits: {
    identity: [...CONTAINER, "resource"],
    detail: ["uid", "node", "unit"],
  },
};

/**
 * The kubelet's cAdvisor. `id`, `name` and `image` belong to the source: the cgroups of nested runtimes repeat the labels of the container that they are in.
 * `cpu` is always "total" in a kubelet.
 */
const CADVISOR: Readonly<Record<string, MetricIdentity>> = {
  container_cpu_usage_seconds_total: { identity: CONTAINER, detail: ["cpu"] },
  container_memory_usage_bytes: { identity: CONTAINER, detail: [] },
  container_memory_working_set_bytes: { identity: CONTAINER, detail: [] },
  container_network_receive_bytes_total: { identity: [...CONTAINER, "interface"], detail: [] },
  container_network_transmit_bytes_total: { identity: [...CONTAINER, "interface"], detail: [] },
};

const NODE_WIDE: MetricIdentity = { identity: [], detail: [] };
const FILE_SYSTEM: MetricIdentity = {
  identity: ["device"],
  detail: ["mountpoint", "fstype", "device_error"],
};
const DEVICE: MetricIdentity = { identity: ["device"], detail: [] };

/** node_exporter: its own labels. The node comes from the source (src/query/node-resolver.ts). */
const NODE_EXPORTER: Readonly<Record<string, MetricIdentity>> = {
  node_cpu_seconds_total: { identity: ["cpu", "mode"], detail: [] },
  node_memory_MemTotal_bytes: NODE_WIDE,
  node_memory_MemAvailable_bytes: NODE_WIDE,
  node_memory_MemFree_bytes: NODE_WIDE,
  node_memory_Buffers_bytes: NODE_WIDE,
  node_memory_Cached_bytes: NODE_WIDE,
  node_load1: NODE_WIDE,
  node_load5: NODE_WIDE,
  node_load15: NODE_WIDE,
  node_filesystem_size_bytes: FILE_SYSTEM,
  node_filesystem_avail_bytes: FILE_SYSTEM,
  node_filesystem_readonly: FILE_SYSTEM,
  node_network_receive_bytes_total: DEVICE,
  node_network_transmit_bytes_total: DEVICE,
  node_disk_read_bytes_total: DEVICE,
  node_disk_written_bytes_total: DEVICE,
  node_uname_info: {
    identity: [],
    detail: ["nodename", "domainname", "machine", "release", "sysname", "version"],
  },
};

const METRICS = new Map(Object.entries({ ...KUBE_STATE_METRICS, ...CADVISOR, ...NODE_EXPORTER }));

/** Throws for a metric that no state answer reads: it has no entry. */
export function identityOf(metric: string): MetricIdentity {
  const known = METRICS.get(metric);
  if (known === undefined)
    throw new Error(`${metric} has no identity: add it to src/query/state/identity.ts`);
  return known;
}

/** The metrics of the table. Those of GPUs have theirs in src/query/gpu-exporters.ts. */
export function identifiedMetrics(): string[] {
  return [...METRICS.keys()];
}

/** All labels of a metric that come from what it measures. */
export function ownLabelsOf(metric: string): string[] {
  const { identity, detail } = identityOf(metric);
  return [...identity, ...detail];
}

/** The names in the kubelet before Kubernetes 1.16 and in old exporters of GPU metrics. kube-state-metrics never had them: there they are target labels. */
const OLD_NAMES: Readonly<Record<string, string>> = {
  namespace: "pod_namespace",
  pod: "pod_name",
  container: "container_name",
};
const WITHOUT_OLD_NAMES = "kube_";

type Labels = Readonly<Record<string, string>>;

/**
 * The label by which a series carries its own label `name`: `exported_NAME` where it exists, because Prometheus renames a label that a target label has too
 * (`honor_labels: false`), else the old name, else `name` itself. Each label by itself: a target has some of these labels and not others.
 */
function ownNameOf(labels: Labels, name: string, metric: string): string {
  const old = metric.startsWith(WITHOUT_OLD_NAMES) ? undefined : OLD_NAMES[name];
  return [`exported_${name}`, old].find((form) => form !== undefined && (labels[form] ?? "") !== "") ?? name;
}

/** The value of a series' own label; "" where it has none. */
export function ownLabelOf(labels: Labels, name: string, metric: string): string {
  return labels[ownNameOf(labels, name, metric)] ?? "";
}

/** SQL of `ownLabelOf`, from the expressions of the series' labels and of its metric. */
export function ownLabel(labels: string, name: string, metric = "metric_name"): string {
  const renamed = `${labels}['exported_${name}'] != '', 'exported_${name}'`;
  const old = OLD_NAMES[name];
  return old === undefined
    ? `${labels}[if(${renamed}, '${name}')]`
    : `${labels}[multiIf(${renamed}, NOT startsWith(${metric}, '${WITHOUT_OLD_NAMES}') AND ${labels}['${old}'] != '', '${old}', '${name}')]`;
}

/** Is this a metric of kube-state-metrics? */
export function isKubeStateMetric(metric: string): boolean {
  return metric.startsWith(WITHOUT_OLD_NAMES);
}

/** Its metrics with a label `node`, also those that no state answer reads (docs/metrics in its repository; in version 1 a unit follows the name). */
const WITH_OWN_NODE =
  /^kube_(node_|pod_info$|volumeattachment_info$|pod_(init_)?container_resource_(requests|limits)(_|$))/;

/** Is the label `node` of this metric of kube-state-metrics its own? Elsewhere it is the node of kube-state-metrics. */
export function hasOwnNode(metric: string): boolean {
  return WITH_OWN_NODE.test(metric);
}

/** The labels of a series' source, as "name=value", sorted. Without `k8s.node.name`, which older versions of the bridge added to some rows of a series. */
export function sourceOf(labels: Labels, metric: string): string[] {
  const own = new Set([NODE_NAME, ...ownLabelsOf(metric).map((name) => ownNameOf(labels, name, metric))]);
  return Object.entries(labels)
    .filter(([name]) => !own.has(name))
    .map(([name, value]) => `${name}=${value}`)
    .sort();
}

/**
 * The order of the sources of one identity, the best first: the most `covered` (steps or stretches of time with a sample); then the fewest labels; then the smallest label
 * text. So copies without gaps give the same choice for every identity, whatever their clocks.
 */
export function compareSources(
  a: { covered: number; source: readonly string[] },
  b: { covered: number; source: readonly string[] },
): number {
  if (a.covered !== b.covered) return b.covered - a.covered;
  if (a.source.length !== b.source.length) return a.source.length - b.source.length;
  const [left, right] = [a.source.join("\n"), b.source.join("\n")];
  return left < right ? -1 : Number(left > right);
}
