import type { Form } from "../forms/form.ts";
import { GIB } from "../forms/series.ts";

/** What is right for one of the clusters of CASES_DIR: the answers, as a Form says them, and what the collection and queries say. */
export interface ReportedCase extends Partial<Pick<Form, "summary" | "nodes" | "pods" | "gpus" | "health">> {
  /** Why it is right. */
  why: string;
  /** The collection fails with this code, and its hint names the remedy. Absent: it is collected. */
  fails?: { code: RegExp; hint: RegExp };
  /** Rates of a counter by the values of labels, over some minutes. */
  rates?: { metric: string; by: string[]; are: Readonly<Record<string, number>> };
  /** Series that are stored of a metric. */
  stored?: { metric: string; series: number };
}

const READY = { ready: true };
const cpu = (cores: number) => ({ cpu_usage_cores: cores, memory_working_set_bytes: 200 * 2 ** 20 });

/** By the folder's name without what is behind its number. */
export const REPORTED_CASES: Readonly<Record<string, ReportedCase>> = {
  c01: {
    why: "gpumem and gpucores are shares of the GPU; a MIG part is one request",
    pods: { "ml/gpu-pod": { gpu_request: 1 }, "ml/mig-pod": { gpu_request: 1 } },
  },
  c02: {
    why: "exported_node is the node: three nodes with a Pod each",
    summary: { node_count: 3, pod_count: 3 },
    nodes: { "c02-a": READY, "c02-b": READY, "c02-c": READY },
    pods: {
      "app/web-a": { node: "c02-a", cpu_request_cores: 0.5 },
      "app/web-b": { node: "c02-b", cpu_request_cores: 0.5 },
      "app/web-c": { node: "c02-c", cpu_request_cores: 0.5 },
    },
    health: [],
  },
  c03: {
    why: "two exporters counted the same two restarts",
    pods: { "app/web": { restarts: 2, cpu_request_cores: 0.5, gpu_request: 1 } },
    health: [],
  },
  c04: { why: "the same cgroup, scraped twice", pods: { "app/web": cpu(0.25) } },
  c06: {
    why: "the Pod's cgroup, where it has no containers",
    pods: { "app/web": { cpu_usage_cores: 0.25, memory_working_set_bytes: 403_783_680 } },
  },
  c07: {
    why: "a type unknown is no type: the name says that it is a counter",
    rates: { metric: "node_cpu_seconds_total", by: ["mode"], are: { idle: 3.2, user: 0.8 } },
    pods: { "app/web": { restarts_total: 3 } },
  },
  c10: {
    why: "nobody can fill or empty a read-only image",
    summary: { max_disk_usage_percent: 30 },
    health: [],
  },
  c11: {
    why: "Hostname is a Pod, which runs on the node",
    gpus: {
      "GPU-c226d4d0-0000-0000-0000-000000000001": {
        node: "c11-a",
        pods: [{ namespace: "ml", pod: "train-1", container: "main" }],
      },
      "GPU-c226d4d0-0000-0000-0000-000000000002": {
        node: "c11-b",
        pods: [{ namespace: "ml", pod: "train-2", container: "main" }],
      },
    },
  },
  c13: {
    why: "container is not renamed: two of them",
    pods: { "app/web": { cpu_request_cores: 0.75, memory_request_bytes: 1.5 * GIB, restarts_total: 8 } },
  },
  c14: {
    why: "blank numbers are no values",
    gpus: {
      "GPU-14000000-0000-0000-0000-000000000000": { memory_used_mib: 1000, power_watts: 100 },
      "GPU-14000000-0000-0000-0000-000000000001": {
        utilization_percent: 60,
        memory_used_mib: null,
        power_watts: null,
      },
    },
    summary: { gpu_power_watts: 100, used_gpu_memory_gb: 1000 / 1024, avg_gpu_utilization_percent: 50 },
  },
  c15: {
    why: "79 since before the window is history",
    gpus: { "GPU-15000000-0000-0000-0000-000000000000": { xid: { code: 79, is_new: false } } },
    health: ["warning gpu_xid_error c15-a GPU-15000000-0000-0000-0000-000000000000"],
  },
  c16: {
    why: "the GPU's own row has the sum of its parts",
    summary: { gpu_count: 1, total_gpu_memory_gb: 40_000 / 1024, used_gpu_memory_gb: 12_000 / 1024 },
  },
  c17: {
    why: "two series that differ by k8s.node.name",
    rates: { metric: "app_requests_total", by: ["k8s.node.name"], are: { "c17-a": 10, "c17-b": 1 } },
  },
  c18: { why: "no node_exporter can run on Fargate", summary: { node_count: 3 }, health: [] },
  c19: {
    why: "90 % and 10 %",
    summary: { avg_cpu_usage_percent: 50, total_cpu_cores: 8, total_disk_gb: 200 },
    nodes: { "c19-a": { cpu_cores: 4, cpu_usage_percent: 90 }, "c19-b": { cpu_usage_percent: 10 } },
  },
  c26: {
    why: "the target's Pod runs on the node",
    nodes: { "c26-a": READY, "c26-b": { cpu_cores: 4 } },
    health: [],
  },
  c28: {
    why: "one series is refused, by name; the others are stored",
    stored: { metric: "kube_pod_annotations", series: 2 },
  },
  c29: {
    why: "MIG has no GPU_UTIL: GR_ENGINE_ACTIVE says 95 % and 90 %",
    summary: { avg_gpu_utilization_percent: 92.5 },
    gpus: {
      "GPU-29000000-0000-0000-0000-000000000000/1": {
        utilization_percent: 95,
        utilization_source: "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
      },
      "GPU-29000000-0000-0000-0000-000000000000/2": { utilization_percent: 90 },
    },
  },
  c30: { why: "VictoriaMetrics answers time() with a vector of one", nodes: { "c30-a": READY } },
  c31: {
    why: "Mimir wants a tenant",
    fails: { code: /^prometheus_unauthorized$/, hint: /prometheus\.headers/ },
  },
  c34: { why: "a TLS port that is asked by HTTP", fails: { code: /./, hint: /scheme.*https/ } },

  c35: { why: "a login page", fails: { code: /^prometheus_login_required$/, hint: /login/ } },
  c36: {
    why: "a store of a federation is gone: part of the data may be missing",
    fails: { code: /^prometheus_answer_partial$/, hint: /accept_partial/ },
  },
  c42: {
    why: "samples that come four minutes late are stored all the same",
    nodes: { "c42-a": READY, "c42-b": READY },
    stored: { metric: "container_cpu_usage_seconds_total", series: 2 },
  },
  c44: {
    why: "each shard scrapes half of the targets",
    nodes: { "c44-a": { cpu_cores: 4 }, "c44-b": { cpu_cores: 4 } },
    pods: { "app/web": cpu(0.25) },
    health: [],
  },
  c45: {
    why: "these conditions are good when True",
    nodes: { "c45-a": { conditions: [] }, "c45-b": { conditions: ["StorageReady"] } },
    health: ["warning node_condition c45-b StorageReady"],
  },
  c49: { why: "a proxy that compresses unasked", nodes: { "c49-a": READY } },
};
