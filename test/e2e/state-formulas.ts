// PromQL formulas of the state answers' numbers. Every instant value is an explicit last_over_time(m[5m]): stale markers are not stored.

const GIB = 2 ** 30;

export const now = (metric: string, labels = ""): string => `last_over_time(${metric}${labels}[5m])`;
/** How old the newest sample is, whole ms. */
export const ageMs = (metric: string): string => `round(1000 * (time() - timestamp(${metric})))`;
const rate = (window: string, labels = ""): string => `rate(node_cpu_seconds_total${labels}[${window}])`;
const IDLE = '{mode="idle"}';
const TOTAL = now("node_memory_MemTotal_bytes");
const AVAILABLE = now("node_memory_MemAvailable_bytes");
const REAL =
  '{device!="",fstype!~"tmpfs|devtmpfs|ramfs|rootfs|overlay|squashfs|iso9660|autofs|nfs.*|cifs|fuse.*"}';
/** Full by design. */
const READ_ONLY = `min by (instance, device) (${now("node_filesystem_readonly", REAL)}) == 1`;
const ofDevices = (metric: string): string =>
  `(max by (instance, device) (${now(metric, REAL)}) unless ${READ_ONLY})`;
const SIZE = ofDevices("node_filesystem_size_bytes");
const FREE = ofDevices("node_filesystem_avail_bytes");
const ENGINE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE";
const GPU_UTIL = "DCGM_FI_DEV_GPU_UTIL";
/** NaN, which is in none of the comparisons, is no value. */
const utilization = (labels = ""): string =>
  `(100 * ${now(ENGINE, labels)} >= 0 or ${now(GPU_UTIL, labels)} >= 0)`;
export const UTILIZATION = utilization();
const HELD = '{pod!=""}';
const NOT_HELD = '{pod=""}';
const GPU_USED = now("DCGM_FI_DEV_FB_USED");
const GPU_FREE = now("DCGM_FI_DEV_FB_FREE");
const POWER = now("DCGM_FI_DEV_POWER_USAGE");

type Over = "as of now" | "mean of the steps" | "largest of the steps";

/** By the answer's field. Over steps of another length than minutes, that is the window instead of 5m. */
export const SUMMARY_OF_NODES = {
  node_count: ["as of now", `count(${now("kube_node_info")})`],
  total_cpu_cores: ["as of now", `count(count by (instance, cpu) (${now("node_cpu_seconds_total")}))`],
  avg_cpu_usage_percent: ["mean of the steps", `100 * (1 - sum(${rate("5m", IDLE)}) / sum(${rate("5m")}))`],
  max_cpu_usage_percent: [
    "largest of the steps",
    `100 * (1 - sum by (instance) (${rate("5m", IDLE)}) / sum by (instance) (${rate("5m")}))`,
  ],
  total_memory_gb: ["as of now", `sum(${TOTAL}) / ${GIB}`],
  used_memory_gb: ["as of now", `sum(${TOTAL} - ${AVAILABLE}) / ${GIB}`],
  avg_memory_usage_percent: ["mean of the steps", `100 * (1 - sum(${AVAILABLE}) / sum(${TOTAL}))`],
  max_memory_usage_percent: ["largest of the steps", `100 * (1 - ${AVAILABLE} / ${TOTAL})`],
  total_disk_gb: ["as of now", `sum(${SIZE}) / ${GIB}`],
  used_disk_gb: ["as of now", `(sum(${SIZE}) - sum(${FREE})) / ${GIB}`],
  avg_disk_usage_percent: ["mean of the steps", `100 * (1 - sum(${FREE}) / sum(${SIZE}))`],
  max_disk_usage_percent: ["largest of the steps", `100 * (1 - ${FREE} / ${SIZE})`],
  avg_load_1: ["mean of the steps", `avg(${now("node_load1")})`],
  avg_load_5: ["mean of the steps", `avg(${now("node_load5")})`],
  avg_load_15: ["mean of the steps", `avg(${now("node_load15")})`],
  pod_count: ["as of now", `count(count by (namespace, pod) (${now("kube_pod_info")}))`],
  running_pod_count: ["as of now", `count(${now("kube_pod_status_phase", '{phase="Running"}')} == 1)`],
} as const satisfies Record<string, [Over, string]>;

export const SUMMARY_OF_GPUS = {
  gpu_count: ["as of now", `count(count by (UUID) (${UTILIZATION}))`],
  avg_gpu_utilization_percent: ["mean of the steps", `avg(${UTILIZATION})`],
  max_gpu_utilization_percent: ["largest of the steps", UTILIZATION],
  total_gpu_memory_gb: ["as of now", `(sum(${GPU_USED}) + sum(${GPU_FREE})) / 1024`],
  used_gpu_memory_gb: ["as of now", `sum(${GPU_USED}) / 1024`],
  avg_gpu_memory_usage_percent: [
    "mean of the steps",
    `100 * sum(${GPU_USED}) / (sum(${GPU_USED}) + sum(${GPU_FREE}))`,
  ],
  max_gpu_memory_usage_percent: ["largest of the steps", `100 * ${GPU_USED} / (${GPU_USED} + ${GPU_FREE})`],
  gpu_power_watts: ["as of now", `sum(${POWER})`],
  avg_gpu_power_watts: ["mean of the steps", `sum(${POWER})`],
} as const satisfies Record<string, [Over, string]>;

const NODE_CPU = `100 * (1 - sum by (instance) (${rate("15m", IDLE)}) / sum by (instance) (${rate("15m")}))`;
const NODE_DISK = `100 * (1 - sum by (instance) (${FREE}) / sum by (instance) (${SIZE}))`;
export const CORES = `count by (instance) (count by (instance, cpu) (${now("node_cpu_seconds_total")}))`;

/** The interfaces of a test cluster's nodes that are no other's copy. */
const PHYSICAL =
  '{device!~"lo|veth.*|cali.*|cilium.*|lxc.*|docker.*|cni.*|br.*|flannel.*|tunl.*|ip6.*|kube-.*|dummy.*"}';

/** By instance. */
export const NODE_FORMULAS = {
  cpu_cores: CORES,
  cpu_usage_percent: NODE_CPU,
  memory_total_bytes: TOTAL,
  memory_used_bytes: `${TOTAL} - ${AVAILABLE}`,
  memory_usage_percent: `100 * (1 - ${AVAILABLE} / ${TOTAL})`,
  disk_total_bytes: `sum by (instance) (${SIZE})`,
  disk_used_bytes: `sum by (instance) (${SIZE}) - sum by (instance) (${FREE})`,
  disk_usage_percent: NODE_DISK,
  network_receive_bytes_per_second: `sum by (instance) (rate(node_network_receive_bytes_total${PHYSICAL}[15m]))`,
  network_transmit_bytes_per_second: `sum by (instance) (rate(node_network_transmit_bytes_total${PHYSICAL}[15m]))`,
  load_1: now("node_load1"),
  load_5: now("node_load5"),
  load_15: now("node_load15"),
} as const;

/** In % of the fullest device, by instance. */
export const FULLEST_DISK = `100 * max by (instance) (1 - ${FREE} / ${SIZE})`;

const FINISHED = `${now("kube_pod_status_phase", '{phase=~"Succeeded|Failed"}')} == 1`;
const GPU_RESOURCES = "nvidia_com_(gpu|mig_.+)";
/** What Pods that have not finished request. */
const held = (names: string): string =>
  `(${now("kube_pod_container_resource_requests", `{resource=~"${names}"}`)} unless on (namespace, pod) ${FINISHED})`;
const requested = (names: string): string => `sum by (node) (${held(names)})`;
const allocatable = (names: string): string =>
  `sum by (node) (${now("kube_node_status_allocatable", `{resource=~"${names}"}`)})`;

/** By node. */
export const KUBE_NODE_FORMULAS = {
  cpu_allocatable_cores: allocatable("cpu"),
  cpu_request_cores: requested("cpu"),
  cpu_request_percent: `100 * ${requested("cpu")} / ${allocatable("cpu")}`,
  memory_allocatable_bytes: allocatable("memory"),
  memory_request_bytes: requested("memory"),
  memory_request_percent: `100 * ${requested("memory")} / ${allocatable("memory")}`,
  gpu_allocatable: allocatable(GPU_RESOURCES),
  gpu_request: requested(GPU_RESOURCES),
} as const;

export const sumByPod = (inner: string): string => `sum by (namespace, pod) (${inner})`;
/** What is measured of a Pod by several series counts once. */
const once = (by: string, inner: string): string => sumByPod(`max by (namespace, pod, ${by}) (${inner})`);
const resource = (kind: string, names: string): string =>
  once("container, resource", now(`kube_pod_container_resource_${kind}`, `{resource=~"${names}"}`));
const RESTARTS = "kube_pod_container_status_restarts_total";
// Whole restarts of the window: from the sample before it.
const RESTARTED = once(
  "container",
  `last_over_time(${RESTARTS}[15m]) - last_over_time(${RESTARTS}[5m] offset 15m)`,
);
const CONTAINERS = '{container!~"|POD"}';
/** A Pod with hostNetwork has its node's interfaces. */
const network = (metric: string): string =>
  `${once("interface", `rate(${metric}{pod!="",interface!="lo"}[15m])`)} unless on (namespace, pod) ${now("kube_pod_info", '{host_network="true"}')}`;

export const POD_FORMULAS = {
  restarts_total: once("container", now(RESTARTS)),
  restarts: RESTARTED,
  cpu_usage_cores: once("container, cpu", `rate(container_cpu_usage_seconds_total${CONTAINERS}[15m])`),
  memory_working_set_bytes: once("container", now("container_memory_working_set_bytes", CONTAINERS)),
  cpu_request_cores: resource("requests", "cpu"),
  cpu_limit_cores: resource("limits", "cpu"),
  memory_request_bytes: resource("requests", "memory"),
  memory_limit_bytes: resource("limits", "memory"),
  gpu_request: resource("requests", GPU_RESOURCES),
  network_receive_bytes_per_second: network("container_network_receive_bytes_total"),
  network_transmit_bytes_per_second: network("container_network_transmit_bytes_total"),
  gpu_count: `count by (namespace, pod) (${utilization(HELD)})`,
  gpu_utilization_percent: `avg by (namespace, pod) (${utilization(HELD)})`,
} as const;

/** All metrics of kube-state-metrics are as old as this one of them, and all of cAdvisor as the other. */
export const POD_AGE_MS = `min by (namespace, pod) (${ageMs("kube_pod_info")} or ${ageMs("container_memory_working_set_bytes")})`;

/** Each GPU has one XID other than 0. */
const XID = "max_over_time(DCGM_FI_DEV_XID_ERRORS[15m]) > 0";
/** The metric said so before the window already. */
export const OLD_XID = `${XID} == last_over_time(DCGM_FI_DEV_XID_ERRORS[5m] offset 15m)`;
/** A GPU goes on after XID 31, the only one of these in the test's samples (NVIDIA's Xid catalogue). */
const HARMLESS = 31;

/** By UUID. */
export const GPU_FORMULAS = {
  utilization_percent: UTILIZATION,
  memory_used_mib: GPU_USED,
  memory_total_mib: `${GPU_USED} + ${GPU_FREE}`,
  memory_copy_utilization_percent: now("DCGM_FI_DEV_MEM_COPY_UTIL"),
  temperature_celsius: now("DCGM_FI_DEV_GPU_TEMP"),
  power_watts: POWER,
  sm_clock_mhz: now("DCGM_FI_DEV_SM_CLOCK"),
  xid_error: XID,
} as const;

/** The largest utilization of the last 15 minutes, and the one when they began. */
const PEAK = `(100 * max_over_time(${ENGINE}${HELD}[15m]) >= 0 or max_over_time(${GPU_UTIL}${HELD}[15m]))`;
const BEFORE = `(100 * last_over_time(${ENGINE}[5m] offset 15m) >= 0 or last_over_time(${GPU_UTIL}[5m] offset 15m))`;
const HAS_MEMORY = `${GPU_USED} / (${GPU_USED} + ${GPU_FREE}) > 0.01`;
const IN_USE = `${PEAK} >= 1`;
const IDLE_HELD = `(${PEAK} < 1 and ${BEFORE} < 1 and ${HAS_MEMORY})`;
const UNATTRIBUTED = `(${utilization(NOT_HELD)} >= 1 or (${utilization(NOT_HELD)} and ${HAS_MEMORY}))`;

export const GPU_COUNTS = {
  gpu_count: `count(${UTILIZATION})`,
  requested: `sum(${held(GPU_RESOURCES)})`,
  in_use: `count(${utilization(HELD)} and ${IN_USE})`,
  idle_held: `count(${IDLE_HELD})`,
  allocated: `count(${utilization(HELD)} unless ${IN_USE} unless ${IDLE_HELD})`,
  unattributed: `count(${UNATTRIBUTED})`,
  free: `count(${utilization(NOT_HELD)} unless ${UNATTRIBUTED})`,
} as const;

interface HealthRule {
  metric: string;
  promql: string;
  /** The issue's object, from the labels of the formula. */
  by: string[];
  /** Above it a value is one. */
  warning: number;
  critical: number;
  /** The formula says only that there is an issue. */
  isFlag?: true;
}

export const HEALTH_RULES: readonly HealthRule[] = [
  { metric: "cpu_usage_percent", promql: NODE_CPU, by: ["instance"], warning: 70, critical: 80 },
  {
    metric: "memory_usage_percent",
    promql: `100 * (1 - ${AVAILABLE} / ${TOTAL})`,
    by: ["instance"],
    warning: 80,
    critical: 90,
  },
  {
    metric: "disk_usage_percent",
    promql: `topk by (instance) (1, 100 * (1 - ${FREE} / ${SIZE}))`,
    by: ["instance", "device"],
    warning: 80,
    critical: 90,
  },
  {
    metric: "load_per_core",
    promql: `sum by (instance) (${now("node_load1")}) / (${CORES})`,
    by: ["instance"],
    warning: 2,
    critical: Infinity,
  },
  {
    metric: "node_ready",
    promql: `1 - ${now("kube_node_status_condition", '{condition="Ready",status="true"}')}`,
    by: ["node"],
    warning: Infinity,
    critical: 0,
    isFlag: true,
  },
  {
    metric: "node_condition",
    promql: now("kube_node_status_condition", '{condition!="Ready",status="true"}'),
    by: ["node", "condition"],
    warning: 0,
    critical: Infinity,
    isFlag: true,
  },
  {
    // For every node: the test skips those with samples of node_exporter.
    metric: "node_metrics",
    promql: `count by (node) (${now("kube_node_info")})`,
    by: ["node"],
    warning: 0,
    critical: Infinity,
    isFlag: true,
  },
  // From 3 on, and from 10 on.
  { metric: "pod_restarts", promql: RESTARTED, by: ["namespace", "pod"], warning: 2.999, critical: 9.999 },
  {
    metric: "gpu_temperature_celsius",
    promql: now("DCGM_FI_DEV_GPU_TEMP"),
    by: ["UUID"],
    warning: 80,
    critical: 90,
  },
  // A new one is critical, unless the GPU goes on by itself; of old ones that need an action it warns.
  {
    metric: "gpu_xid_error",
    promql: `(${XID} unless ${OLD_XID}) != ${HARMLESS}`,
    by: ["UUID"],
    warning: Infinity,
    critical: 0,
  },
  {
    metric: "gpu_xid_error",
    promql: `((${XID} unless ${OLD_XID}) == ${HARMLESS}) or ((${OLD_XID}) != ${HARMLESS})`,
    by: ["UUID"],
    warning: 0,
    critical: Infinity,
  },
];
