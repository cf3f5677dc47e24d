// PromQL formulas of the state answers' numbers. Every instant value is an explicit last_over_time(m[5m]): stale markers are not stored.

const GIB = 2 ** 30;

export const now = (metric: string, labels = ""): string => `last_over_time(${metric}${labels}[5m])`;
const rate = (window: string, labels = ""): string => `rate(node_cpu_seconds_total${labels}[${window}])`;
const IDLE = '{mode="idle"}';
const TOTAL = now("node_memory_MemTotal_bytes");
const AVAILABLE = now("node_memory_MemAvailable_bytes");
const REAL =
  '{device!="",fstype!~"tmpfs|devtmpfs|ramfs|rootfs|overlay|squashfs|iso9660|autofs|nfs.*|cifs|fuse.*"}';
const SIZE = `max by (instance, device) (${now("node_filesystem_size_bytes", REAL)})`;
const FREE = `max by (instance, device) (${now("node_filesystem_avail_bytes", REAL)})`;
export const UTILIZATION = now("DCGM_FI_DEV_GPU_UTIL");
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
  load_1: now("node_load1"),
  load_5: now("node_load5"),
  load_15: now("node_load15"),
} as const;

export const sumByPod = (inner: string): string => `sum by (namespace, pod) (${inner})`;
const resource = (kind: string, name: string): string =>
  sumByPod(now(`kube_pod_container_resource_${kind}`, `{resource="${name}"}`));
const RESTARTS = "kube_pod_container_status_restarts_total";
// Whole restarts of the window: from the sample before it.
const RESTARTED = `sum by (namespace, pod) (last_over_time(${RESTARTS}[15m]) - last_over_time(${RESTARTS}[5m] offset 15m))`;
const CONTAINERS = '{container!~"|POD"}';

export const POD_FORMULAS = {
  restarts_total: sumByPod(now(RESTARTS)),
  restarts: RESTARTED,
  cpu_usage_cores: sumByPod(`rate(container_cpu_usage_seconds_total${CONTAINERS}[15m])`),
  memory_working_set_bytes: sumByPod(now("container_memory_working_set_bytes", CONTAINERS)),
  cpu_request_cores: resource("requests", "cpu"),
  cpu_limit_cores: resource("limits", "cpu"),
  memory_request_bytes: resource("requests", "memory"),
  memory_limit_bytes: resource("limits", "memory"),
  gpu_request: resource("requests", "nvidia_com_gpu"),
} as const;

/** By UUID. */
export const GPU_FORMULAS = {
  utilization_percent: UTILIZATION,
  memory_used_mib: GPU_USED,
  memory_total_mib: `${GPU_USED} + ${GPU_FREE}`,
  memory_copy_utilization_percent: now("DCGM_FI_DEV_MEM_COPY_UTIL"),
  temperature_celsius: now("DCGM_FI_DEV_GPU_TEMP"),
  power_watts: POWER,
  sm_clock_mhz: now("DCGM_FI_DEV_SM_CLOCK"),
  // Each GPU has one XID other than 0.
  xid_error: "max_over_time(DCGM_FI_DEV_XID_ERRORS[15m]) > 0",
} as const;

interface HealthRule {
  metric: string;
  promql: string;
  /** The object, from the labels of the formula. */
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
  {
    // Those that a program causes are below 50.
    metric: "gpu_xid_error",
    promql: "max_over_time(DCGM_FI_DEV_XID_ERRORS[15m])",
    by: ["UUID"],
    warning: 0,
    critical: 50,
  },
];
