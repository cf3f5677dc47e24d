import type { FormTable } from "./form.ts";
import {
  during,
  GIB,
  gpu,
  listed,
  node,
  nodeExporter,
  pod,
  container,
  series,
  type FormSeries,
} from "./series.ts";

const OF_GPU = { DEV_GPU_UTIL: 50, DEV_FB_USED: 1024, DEV_FB_FREE: 15_360 };
/** A GPU whose last XID changes. */
const withXid = (value: FormSeries["value"], labels: Readonly<Record<string, string>> = {}) =>
  gpu("GPU-1", labels, { DEV_XID_ERRORS: value });
const xidOf = (value: FormSeries["value"]) => [
  ...node("a", "10.0.0.1"),
  ...gpu("GPU-1", {}, OF_GPU),
  ...withXid(value),
];
/** The last sample came seven minutes ago. */
const ended = (all: readonly FormSeries[]) => during((ago) => ago >= 7, all);

/** What ended, or happened before the window, is not the state of now. */
export const OLD_IS_NOT_NOW: FormTable = {
  rule: "old is not now",
  switches: {
    lookback: [["const LOOKBACK_MS = 5 * MINUTE_MS;", "const LOOKBACK_MS = 30 * MINUTE_MS;"]],
    history: [["is_new: sinceMs > fromMs", "is_new: true"]],
  },
  forms: [
    {
      name: "a program's XID 31 that the metric has shown since before the window",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/190",
      why: "the metric keeps the last error until the exporter restarts; the program is gone",
      needs: "history",
      series: xidOf(31),
      gpus: { "GPU-1": { xid: { code: 31, is_new: false } } },
      health: [],
    },
    {
      name: "an error of the hardware (48) that the metric has shown since before the window",
      source: "https://github.com/NVIDIA/DCGM/issues/277",
      why: "somebody should look at it, but it did not happen now",
      needs: "history",
      series: xidOf(48),
      gpus: { "GPU-1": { xid_error: 48, xid: { code: 48, is_new: false } } },
      health: ["warning gpu_xid_error a GPU-1"],
    },
    {
      name: "a second XID (79) in the window, over an older one",
      source: "https://github.com/NVIDIA/DCGM/issues/112",
      why: "the change is what happened: the GPU fell off the bus four minutes ago",
      needs: "history",
      series: [
        ...xidOf((ago) => (ago > 4 ? 31 : 79)),
        ...gpu("GPU-2", { gpu: "1" }, { ...OF_GPU, DEV_XID_ERRORS: 79 }),
      ],
      gpus: {
        "GPU-1": { xid: { code: 79, is_new: true } },
        "GPU-2": { xid: { code: 79, is_new: false } },
      },
      health: ["critical gpu_xid_error a GPU-1", "warning gpu_xid_error a GPU-2"],
    },
    {
      name: "an XID as a label: a new series begins with the error",
      source: "https://github.com/NVIDIA/dcgm-exporter/pull/309",
      why: "the series without err_code said 0 until then; beside it a series that always said 79",
      needs: "history",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", {}, OF_GPU),
        ...during((ago) => ago > 6, withXid(0)),
        ...during((ago) => ago <= 6, withXid(79, { err_code: "79", err_msg: "GPU has fallen off the bus" })),
        ...gpu("GPU-2", { gpu: "1", err_code: "79" }, { DEV_XID_ERRORS: 79 }),
      ],
      health: ["critical gpu_xid_error a GPU-1", "warning gpu_xid_error a GPU-2"],
    },
    {
      name: "an exporter that was replaced in the window, and the host engine that goes on",
      source: "https://github.com/NVIDIA/DCGM/issues/162",
      why: "the new exporter's series begins with the old error: the same as before, from another Pod",
      needs: "history",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", {}, OF_GPU),
        ...during((ago) => ago > 8, withXid(79)),
        ...during((ago) => ago < 8, withXid(79, { instance: "10.244.1.99:9400" })),
      ],
      gpus: { "GPU-1": { xid: { code: 79, is_new: false } } },
      health: ["warning gpu_xid_error a GPU-1"],
    },
    {
      name: "a dcgm-exporter that stopped seven minutes ago, on a hot GPU",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/385",
      why: "nobody knows the temperature of now; the other GPU is the one that there is",
      needs: "lookback",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", {}, OF_GPU),
        ...ended(gpu("GPU-2", { gpu: "1", instance: "10.244.2.7:9400" }, { ...OF_GPU, DEV_GPU_TEMP: 99 })),
      ],
      summary: { gpu_count: 1, used_gpu_memory_gb: 1 },
      gpus: { "GPU-1": { utilization_percent: 50 } },
      health: [],
    },
    {
      name: "a node_exporter that stopped seven minutes ago",
      source: "https://github.com/2i2c-org/infrastructure/issues/8167",
      why: "its memory and load of then are not those of now",
      needs: "lookback",
      series: [
        ...node("a", "10.0.0.1"),
        ...listed("b", "10.0.0.2"),
        ...ended(nodeExporter({ job: "node-exporter", instance: "10.0.0.2:9100" }, "b")),
      ],
      summary: { total_cpu_cores: 2, total_memory_gb: 16, total_disk_gb: 100 },
      nodes: {
        a: { memory_total_bytes: 16 * GIB },
        b: { cpu_cores: null, memory_used_bytes: null, disk_total_bytes: null, load_1: null, ready: true },
      },
    },
    {
      name: "a kubelet that was not scraped for seven minutes",
      source: "https://github.com/google/cadvisor/issues/1704",
      why: "the Pod's memory of then is not that of now, and its requests are",
      needs: "lookback",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...ended(container("app", "web", "main")),
      ],
      pods: { "app/web": { memory_working_set_bytes: null, cpu_request_cores: 0.5 } },
    },
    {
      name: "a Pod that ended, and a node that was removed, seven minutes ago",
      source: "https://github.com/kubernetes/kube-state-metrics/issues/1736",
      why: "kube-state-metrics does not list them any more",
      needs: "lookback",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...ended([...node("gone", "10.0.0.9"), ...pod("app", "old", { node: "gone" })]),
        series("kube_node_status_capacity", { node: "a", resource: "pods" }, 110),
      ],
      summary: { node_count: 1, pod_count: 1, running_pod_count: 1 },
      nodes: { a: { pod_count: 1 } },
      pods: { "app/web": {} },
      health: [],
    },
  ],
};
