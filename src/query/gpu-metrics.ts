/** What the answers about GPUs are made of. */
export type GpuQuantity =
  | "utilization"
  | "memoryUsed"
  | "memoryFree"
  | "copyUtilization"
  | "temperature"
  | "power"
  | "clock"
  | "xid";

/** How an exporter of GPU metrics names things. Only this file has such names: a vendor is one more entry of EXPORTERS. */
interface GpuExporter {
  /** The first letters of all its metrics. */
  prefix: string;
  metrics: Record<GpuQuantity, string>;
  labels: {
    device: string;
    /** A part of a partitioned GPU; empty for a whole one. */
    part: string;
    /** The GPU's number on its node. */
    index: string;
    model: string;
    /** The node, where the exporter names it. */
    nodes: readonly string[];
  };
  /** In the name of the exporter's own container, which never uses a GPU. */
  container: string;
  /** RE2: the names of the resources that a Pod requests, as kube-state-metrics writes them. */
  resources: string;
}

/** NVIDIA's dcgm-exporter. Units: %, MiB, °C, W, MHz. The parts of a partitioned GPU (MIG) have series of their own. */
const DCGM: GpuExporter = {
  prefix: "DCGM_",
  metrics: {
    utilization: "DCGM_FI_DEV_GPU_UTIL",
    memoryUsed: "DCGM_FI_DEV_FB_USED",
    memoryFree: "DCGM_FI_DEV_FB_FREE",
    copyUtilization: "DCGM_FI_DEV_MEM_COPY_UTIL",
    temperature: "DCGM_FI_DEV_GPU_TEMP",
    power: "DCGM_FI_DEV_POWER_USAGE",
    clock: "DCGM_FI_DEV_SM_CLOCK",
    xid: "DCGM_FI_DEV_XID_ERRORS",
  },
  labels: {
    device: "UUID",
    part: "GPU_I_ID",
    index: "gpu",
    model: "modelName",
    // `hostname` in newer versions.
    nodes: ["Hostname", "hostname"],
  },
  container: "dcgm-exporter",
  resources: "^nvidia_com_(gpu|mig_)",
};

const EXPORTERS: readonly GpuExporter[] = [DCGM];

/** The metrics of a quantity, one for each exporter. */
export function gpuMetrics(quantity: GpuQuantity): string[] {
  return EXPORTERS.map(({ metrics }) => metrics[quantity]);
}

/** What GET /gpus and /health are made of. */
export const GPU_STATE_METRICS = (
  [
    "utilization",
    "memoryUsed",
    "memoryFree",
    "copyUtilization",
    "temperature",
    "power",
    "clock",
    "xid",
  ] as const
).flatMap(gpuMetrics);

/** What the GPUs of a summary are made of. */
export const GPU_SUMMARY_METRICS = (["utilization", "memoryUsed", "memoryFree", "power"] as const).flatMap(
  gpuMetrics,
);

/** The exporter of a metric; undefined: the metric is not about GPUs. */
export function gpuExporterOf(metric: string): GpuExporter | undefined {
  return EXPORTERS.find(({ prefix }) => metric.startsWith(prefix));
}

/** For a multiIf of SQL: of the series of each exporter, a hash of the labels that identify the GPU and its part. */
export function gpuIdentityCases(metric: string, labels: string): string {
  return EXPORTERS.map(
    ({ prefix, labels: { device, part } }) =>
      `startsWith(${metric}, '${prefix}'), cityHash64(${labels}['${device}'], ${labels}['${part}']),`,
  ).join("\n      ");
}

/** RE2, for SQL: the resources by which Pods request GPUs and parts of them. */
export const GPU_RESOURCES = EXPORTERS.map(({ resources }) => resources).join("|");
