/** A series with a sample every minute up to `as_of`. */
export interface FormSeries {
  metric: string;
  labels: Readonly<Record<string, string>>;
  /** By how many minutes before `as_of` a sample is; undefined: there is none. */
  value: number | ((minutesAgo: number) => number | undefined);
  /** How many seconds before the full minute it is scraped. Default 1. */
  scrapedSeconds?: number;
}
type Labels = Readonly<Record<string, string>>;
type Value = FormSeries["value"];

export const GIB = 2 ** 30;
export const MIB = 2 ** 20;

export const series = (metric: string, labels: Labels, value: Value): FormSeries => ({
  metric,
  labels,
  value,
});
/** A counter that grows by so much a second. */
export const growing =
  (perSecond: number, base = 1000): Value =>
  (minutesAgo) =>
    base + perSecond * 60 * (60 - minutesAgo);
/** Samples only while `isThere`. */
export const during = (isThere: (minutesAgo: number) => boolean, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({
    ...each,
    value: (ago) => {
      if (!isThere(ago)) return undefined;
      return typeof each.value === "number" ? each.value : each.value(ago);
    },
  }));
/** The same series with further labels. */
export const withLabels = (more: Labels, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({ ...each, labels: { ...each.labels, ...more } }));
/** The same series, scraped at another second of each minute. */
export const scrapedAt = (seconds: number, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({ ...each, scrapedSeconds: seconds }));
export const without = (label: string, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({
    ...each,
    labels: Object.fromEntries(Object.entries(each.labels).filter(([name]) => name !== label)),
  }));
export const renamed = (from: string, to: string, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({
    ...each,
    labels: Object.fromEntries(
      Object.entries(each.labels).map(([name, value]) => [name === from ? to : name, value]),
    ),
  }));

/** As Prometheus with honor_labels: false: a label that the target has too becomes exported_X. */
export const overruled = (target: Labels, all: readonly FormSeries[]): FormSeries[] =>
  all.map((each) => ({
    ...each,
    labels: {
      ...Object.fromEntries(
        Object.entries(each.labels).map(([name, value]) => [
          name in target && value !== "" ? `exported_${name}` : name,
          value,
        ]),
      ),
      ...target,
    },
  }));

/** The target that was scraped, with the labels that service discovery gives all its series. */
export const up = (target: Labels): FormSeries[] => [series("up", target, 1)];

/** The labels of the target kube-state-metrics in kube-prometheus-stack. */
export const KSM: Labels = { job: "kube-state-metrics", instance: "10.244.0.9:8080" };

export const condition = (node: string, type: string, status: "true" | "false" | "unknown"): FormSeries[] =>
  ["true", "false", "unknown"].map((each) =>
    series(
      "kube_node_status_condition",
      { ...KSM, node, condition: type, status: each },
      each === status ? 1 : 0,
    ),
  );
/** A ready node as kube-state-metrics shows it. */
export const listed = (node: string, internal_ip: string, more: Labels = {}): FormSeries[] => [
  series("kube_node_info", { ...KSM, node, internal_ip, ...more }, 1),
  ...condition(node, "Ready", "true"),
];

export const disk = (
  target: Labels,
  { device = "/dev/vda1", fstype = "ext4", mountpoint = "/", size = 100 * GIB, available = 70 * GIB },
): FormSeries[] => [
  series("node_filesystem_size_bytes", { ...target, device, fstype, mountpoint }, size),
  series("node_filesystem_avail_bytes", { ...target, device, fstype, mountpoint }, available),
];
/** A node_exporter: two CPUs, 16 GiB of memory of which 4 are used, one disk of 100 GiB of which 30 are used. */
export const nodeExporter = (
  target: Labels,
  nodename: string,
  { busy = 0.2, disks = disk(target, {}) }: { busy?: number; disks?: readonly FormSeries[] } = {},
): FormSeries[] => [
  series("node_uname_info", { ...target, nodename, sysname: "Linux" }, 1),
  ...["0", "1"].flatMap((cpu) => [
    series("node_cpu_seconds_total", { ...target, cpu, mode: "idle" }, growing(1 - busy)),
    series("node_cpu_seconds_total", { ...target, cpu, mode: "user" }, growing(busy)),
  ]),
  series("node_memory_MemTotal_bytes", target, 16 * GIB),
  series("node_memory_MemAvailable_bytes", target, 12 * GIB),
  ...["1", "5", "15"].map((minutes) => series(`node_load${minutes}`, target, 1)),
  ...disks,
];
/** A node with both. */
export const node = (name: string, address: string): FormSeries[] => [
  ...listed(name, address),
  ...nodeExporter({ job: "node-exporter", instance: `${address}:9100` }, name),
];

export interface PodShape {
  node: string;
  phase?: "Running" | "Pending" | "Succeeded" | "Failed";
  /** By container and resource. */
  requests?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  restarts?: Value;
  more?: Labels;
}
/** A Pod as kube-state-metrics shows it. */
export const pod = (namespace: string, name: string, shape: PodShape): FormSeries[] => {
  const { phase = "Running", requests = { main: { cpu: 0.5, memory: GIB } }, restarts = 0, more } = shape;
  const of = { ...KSM, namespace, pod: name, uid: `uid-of-${name}` };
  return [
    series("kube_pod_info", { ...of, node: shape.node, ...more }, 1),
    ...["Pending", "Running", "Succeeded", "Failed", "Unknown"].map((each) =>
      series("kube_pod_status_phase", { ...of, phase: each }, each === phase ? 1 : 0),
    ),
    ...Object.entries(requests).flatMap(([container, resources]) => [
      series("kube_pod_container_status_restarts_total", { ...of, container }, restarts),
      ...Object.entries(resources).map(([resource, value]) =>
        series(
          "kube_pod_container_resource_requests",
          { ...of, container, node: shape.node, resource },
          value,
        ),
      ),
    ]),
  ];
};

/** A container as the kubelet's cAdvisor shows it: a quarter of a core, 200 MiB. */
export const container = (
  namespace: string,
  podName: string,
  name: string,
  { cores = 0.25, bytes = 200 * MIB, more = {} }: { cores?: number; bytes?: number; more?: Labels } = {},
): FormSeries[] => {
  const labels = {
    job: "kubelet",
    metrics_path: "/metrics/cadvisor",
    instance: "10.0.0.1:10250",
    namespace,
    pod: podName,
    container: name,
    id: `/kubepods/burstable/pod-of-${podName}/${name}`,
    name: `id-of-${name}`,
    image: "registry.example.com/app:1",
    ...more,
  };
  return [
    series("container_cpu_usage_seconds_total", { ...labels, cpu: "total" }, growing(cores)),
    series("container_memory_working_set_bytes", labels, bytes),
  ];
};

/** A GPU as dcgm-exporter shows it; values by the name behind DCGM_FI_. */
export const gpu = (uuid: string, labels: Labels, values: Readonly<Record<string, Value>>): FormSeries[] =>
  Object.entries(values).map(([field, value]) =>
    series(
      `DCGM_FI_${field}`,
      {
        job: "dcgm",
        instance: "10.244.1.7:9400",
        gpu: "0",
        UUID: uuid,
        modelName: "NVIDIA A100",
        Hostname: "a",
        ...labels,
      },
      value,
    ),
  );
