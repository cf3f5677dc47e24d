import type { Form } from "../forms/form.ts";
import {
  condition,
  container,
  disk,
  GIB,
  gpu,
  growing,
  KSM,
  listed,
  MIB,
  node,
  nodeExporter,
  overruled,
  pod,
  scrapedAt,
  series,
  withLabels,
  type FormSeries,
} from "../forms/series.ts";

/** A form as the cluster `id`, whose API server lists nodes. */
interface ProgramForm extends Omit<Form, "needs" | "addresses"> {
  id: string;
  /** Name to address. */
  apiNodes?: Readonly<Record<string, string>>;
  metadata?: Readonly<Record<string, unknown>>;
}

export const COUNTERS_OF_TWO_NODES = "promoted";
export const UNTYPED = "untyped";

const asked = { requests: { main: { cpu: 0.5, memory: GIB } } };
const dcgmValues = { DEV_GPU_UTIL: 50, DEV_FB_USED: 1000, DEV_FB_FREE: 14_000 };
const untyped: FormSeries[] = [
  ...node("untyped-a", "10.2.7.1"),
  ...pod("app", "web", { node: "untyped-a", restarts: 3 }),
];
const replicas = ["10.244.0.1:8080", "10.244.0.2:8080"];

export const PROGRAM_FORMS: readonly ProgramForm[] = [
  {
    id: "hami",
    name: "HAMi's gpumem and gpucores",
    source: "https://github.com/Project-HAMi/HAMi/issues/332",
    why: "they are shares of the one GPU that is asked for, not GPUs",
    series: [
      ...node("hami-a", "10.2.1.1"),
      ...pod("ml", "slice", {
        node: "hami-a",
        requests: { main: { cpu: 1, nvidia_com_gpu: 1, nvidia_com_gpumem: 2000, nvidia_com_gpucores: 30 } },
      }),
    ],
    apiNodes: { "hami-a": "10.2.1.1" },
    pods: { "ml/slice": { gpu_request: 1 } },
  },
  {
    id: "renamed",
    name: "kube-state-metrics without honor_labels, on a target with its own node, namespace and Pod",
    source: "https://github.com/kubernetes/kube-state-metrics/issues/1927",
    why: "exported_node is the node: two nodes, of which one is not ready, and two Pods",
    series: [
      ...["a", "b"].flatMap((name, i) =>
        nodeExporter({ job: "node-exporter", instance: `10.2.2.${i + 1}:9100` }, `renamed-${name}`),
      ),
      ...overruled(
        { namespace: "monitoring", pod: "ksm-0", node: "renamed-a", service: "ksm" },
        ["a", "b"].flatMap((name, i) => [
          series("kube_node_info", { ...KSM, node: `renamed-${name}`, internal_ip: `10.2.2.${i + 1}` }, 1),
          ...condition(`renamed-${name}`, "Ready", name === "b" ? "false" : "true"),
          ...pod("app", `web-${name}`, { node: `renamed-${name}`, ...asked }),
        ]),
      ),
    ],
    apiNodes: { "renamed-a": "10.2.2.1", "renamed-b": "10.2.2.2" },
    summary: { node_count: 2, pod_count: 2 },
    nodes: { "renamed-a": { ready: true, pod_count: 1 }, "renamed-b": { ready: false, pod_count: 1 } },
    pods: {
      "app/web-a": { node: "renamed-a", cpu_request_cores: 0.5 },
      "app/web-b": { node: "renamed-b", cpu_request_cores: 0.5 },
    },
    health: ["critical node_ready renamed-b -"],
  },
  {
    id: "replicas",
    name: "two replicas of kube-state-metrics",
    source: "https://github.com/kubernetes/kube-state-metrics/issues/147",
    why: "both count the same two restarts, and the same GPU is asked for",
    series: replicas
      .flatMap((instance) =>
        withLabels({ instance }, [
          ...listed("replicas-a", "10.2.3.1"),
          ...pod("app", "web", {
            node: "replicas-a",
            restarts: (ago) => 4 + Number(ago < 9) + Number(ago < 5),
            requests: { main: { cpu: 0.5, memory: GIB, nvidia_com_gpu: 1 } },
          }),
        ]),
      )
      .concat(nodeExporter({ job: "node-exporter", instance: "10.2.3.1:9100" }, "replicas-a")),
    apiNodes: { "replicas-a": "10.2.3.1" },
    summary: { node_count: 1, pod_count: 1, running_pod_count: 1 },
    pods: { "app/web": { restarts: 2, restarts_total: 6, cpu_request_cores: 0.5, gpu_request: 1 } },
    health: [],
  },
  {
    id: "kubelets",
    name: "two Services that scrape the kubelet",
    source: "https://github.com/helm/charts/issues/23131",
    why: "the series differ by service alone: a quarter of a core, once",
    series: [
      ...node("kubelets-a", "10.2.4.1"),
      ...pod("app", "web", { node: "kubelets-a" }),
      ...withLabels({ service: "prometheus-kubelet" }, container("app", "web", "main")),
      ...scrapedAt(9, withLabels({ service: "kps-kubelet" }, container("app", "web", "main"))),
    ],
    apiNodes: { "kubelets-a": "10.2.4.1" },
    pods: { "app/web": { cpu_usage_cores: 0.25, memory_working_set_bytes: 200 * MIB } },
  },
  {
    id: "cri-dockerd",
    name: "cri-dockerd: the Pod's cgroup only",
    source: "https://github.com/kubernetes/kubernetes/issues/111077",
    why: "without rows of containers the Pod's cgroup is what it uses; the cgroups above belong to no Pod",
    series: [
      ...node("cri-a", "10.2.6.1"),
      ...pod("app", "web", { node: "cri-a" }),
      ...[
        { id: "/", namespace: "", podName: "", cores: 2, bytes: 8 * GIB },
        { id: "/kubepods/burstable", namespace: "", podName: "", cores: 1, bytes: 4 * GIB },
        {
          id: "/kubepods/burstable/pod49686167",
          namespace: "app",
          podName: "web",
          cores: 0.25,
          bytes: 385 * MIB,
        },
      ].flatMap(({ id, namespace, podName, cores, bytes }) =>
        container(namespace, podName, "", { cores, bytes, more: { id, image: "", name: "" } }),
      ),
    ],
    apiNodes: { "cri-a": "10.2.6.1" },
    pods: { "app/web": { cpu_usage_cores: 0.25, memory_working_set_bytes: 385 * MIB } },
  },
  {
    id: UNTYPED,
    name: "a federating Prometheus, which knows no types",
    source: "https://github.com/prometheus/prometheus/issues/5589",
    why: "unknown is no type: the answers are those of the counters",
    series: untyped,
    apiNodes: { "untyped-a": "10.2.7.1" },
    metadata: Object.fromEntries(
      untyped.map(({ metric }) => [metric, [{ type: "unknown", help: "", unit: "" }]]),
    ),
    summary: { avg_cpu_usage_percent: 20 },
    pods: { "app/web": { restarts_total: 3, restarts: 0 } },
  },
  {
    id: "readonly",
    name: "Flatcar's /usr, full by design",
    source: "https://github.com/prometheus/node_exporter/issues/3309",
    why: "nobody can write to it: node-mixin leaves out node_filesystem_readonly == 1",
    series: [
      ...listed("readonly-a", "10.2.10.1"),
      ...nodeExporter({ job: "node-exporter", instance: "10.2.10.1:9100" }, "readonly-a", {
        disks: [
          ...disk(
            { job: "node-exporter", instance: "10.2.10.1:9100" },
            { device: "/dev/mapper/usr", mountpoint: "/usr", size: GIB, available: 0.02 * GIB },
          ),
          ...disk({ job: "node-exporter", instance: "10.2.10.1:9100" }, { device: "/dev/sda9" }),
        ],
      }),
      ...[
        { device: "/dev/mapper/usr", mountpoint: "/usr", value: 1 },
        { device: "/dev/sda9", mountpoint: "/", value: 0 },
      ].map(({ device, mountpoint, value }) =>
        series(
          "node_filesystem_readonly",
          { job: "node-exporter", instance: "10.2.10.1:9100", device, fstype: "ext4", mountpoint },
          value,
        ),
      ),
    ],
    apiNodes: { "readonly-a": "10.2.10.1" },
    summary: { max_disk_usage_percent: 30 },
    health: [],
  },
  {
    id: "dcgm-hostname",
    name: "Hostname is the Pod of dcgm-exporter",
    source: "https://github.com/NVIDIA/dcgm-exporter/issues/129",
    why: "kube_pod_info has the node of the target's Pod",
    series: ["1", "2"].flatMap((n) => [
      ...node(`hostname-${n}`, `10.2.11.${n}`),
      ...pod("gpu-operator", `dcgm-${n}`, { node: `hostname-${n}` }),
      ...pod("ml", `train-${n}`, { node: `hostname-${n}` }),
      ...gpu(
        `GPU-${n}`,
        {
          instance: `10.244.${n}.7:9400`,
          namespace: "gpu-operator",
          pod: `dcgm-${n}`,
          container: "nvidia-dcgm-exporter",
          Hostname: `dcgm-${n}`,
          exported_namespace: "ml",
          exported_pod: `train-${n}`,
          exported_container: "main",
        },
        dcgmValues,
      ),
    ]),
    apiNodes: { "hostname-1": "10.2.11.1", "hostname-2": "10.2.11.2" },
    gpus: {
      "GPU-1": { node: "hostname-1", pods: [{ namespace: "ml", pod: "train-1", container: "main" }] },
      "GPU-2": { node: "hostname-2", pods: [{ namespace: "ml", pod: "train-2", container: "main" }] },
    },
  },
  {
    id: "podjob",
    name: "kube-state-metrics without honor_labels, on a target without container",
    source: "https://github.com/bitnami/charts/issues/7690",
    why: "container is as it was: two containers ask for 0.75 cores",
    series: [
      ...node("podjob-a", "10.2.13.1"),
      ...overruled(
        { namespace: "monitoring", pod: "ksm-0" },
        pod("app", "web", {
          node: "podjob-a",
          restarts: 4,
          requests: { web: { cpu: 0.5, memory: GIB }, sidecar: { cpu: 0.25, memory: GIB / 2 } },
        }),
      ),
    ],
    apiNodes: { "podjob-a": "10.2.13.1" },
    pods: { "app/web": { cpu_request_cores: 0.75, memory_request_bytes: 1.5 * GIB, restarts_total: 8 } },
  },
  {
    id: "blank",
    name: "DCGM's blank numbers",
    source: "https://github.com/NVIDIA/gpu-monitoring-tools/issues/92",
    why: "INT64's and FP64's blank mean that nothing was measured; the other GPU and the other values count",
    series: [
      ...node("blank-a", "10.2.14.1"),
      ...gpu("GPU-1", { Hostname: "blank-a" }, { ...dcgmValues, DEV_POWER_USAGE: 100 }),
      ...gpu(
        "GPU-2",
        { Hostname: "blank-a", gpu: "1" },
        { DEV_GPU_UTIL: 60, DEV_FB_USED: 2 ** 63, DEV_FB_FREE: 2 ** 63, DEV_POWER_USAGE: 2 ** 47 },
      ),
    ],
    apiNodes: { "blank-a": "10.2.14.1" },
    gpus: {
      "GPU-1": { memory_used_mib: 1000, power_watts: 100 },
      "GPU-2": { utilization_percent: 60, memory_used_mib: null, memory_total_mib: null, power_watts: null },
    },
    summary: {
      gpu_count: 2,
      used_gpu_memory_gb: 1000 / 1024,
      total_gpu_memory_gb: 15_000 / 1024,
      gpu_power_watts: 100,
      avg_gpu_utilization_percent: 55,
    },
  },
  {
    id: "sticky-xid",
    name: "an XID of the hardware from before the window",
    source: "https://github.com/NVIDIA/dcgm-exporter/issues/500",
    why: "the metric keeps it until the exporter restarts: history, which is no critical issue",
    series: [
      ...node("xid-a", "10.2.15.1"),
      ...gpu("GPU-1", { Hostname: "xid-a" }, dcgmValues),
      ...gpu("GPU-1", { Hostname: "xid-a", err_code: "79" }, { DEV_XID_ERRORS: 79 }),
    ],
    apiNodes: { "xid-a": "10.2.15.1" },
    gpus: { "GPU-1": { xid_error: 79, xid: { code: 79, is_new: false } } },
    health: ["warning gpu_xid_error xid-a GPU-1"],
  },
  {
    id: "mig-utilization",
    name: "MIG parts whose GPU_UTIL is 0",
    source: "https://github.com/NVIDIA/dcgm-exporter/issues/216",
    why: "NVIDIA says to use GR_ENGINE_ACTIVE: 95 % and 90 %, of which the answer names the metric",
    series: [
      ...node("util-a", "10.2.29.1"),
      ...[0.95, 0.9].flatMap((active, i) =>
        gpu(
          "GPU-1",
          { Hostname: "util-a", GPU_I_ID: String(i + 1), GPU_I_PROFILE: "3g.20gb" },
          { DEV_GPU_UTIL: 0, PROF_GR_ENGINE_ACTIVE: active, DEV_FB_USED: 8000, DEV_FB_FREE: 11_000 },
        ),
      ),
    ],
    apiNodes: { "util-a": "10.2.29.1" },
    summary: { gpu_count: 1, avg_gpu_utilization_percent: 92.5 },
    gpus: {
      "GPU-1/1": { utilization_percent: 95, utilization_source: "DCGM_FI_PROF_GR_ENGINE_ACTIVE" },
      "GPU-1/2": { utilization_percent: 90, utilization_source: "DCGM_FI_PROF_GR_ENGINE_ACTIVE" },
    },
  },
  {
    id: "mig-and-gpu",
    name: "a GPU beside its MIG parts",
    source: "https://github.com/NVIDIA/dcgm-exporter/issues/3",
    why: "the GPU's own row has the memory of its parts already: 40,000 MiB, and one GPU",
    series: [
      ...node("mig-a", "10.2.16.1"),
      ...[
        { part: {}, used: 12_000, free: 28_000 },
        { part: { GPU_I_ID: "1", GPU_I_PROFILE: "3g.20gb" }, used: 8000, free: 11_000 },
        { part: { GPU_I_ID: "2", GPU_I_PROFILE: "3g.20gb" }, used: 4000, free: 15_000 },
      ].flatMap(({ part, used, free }) =>
        gpu(
          "GPU-1",
          { Hostname: "mig-a", ...part },
          { DEV_FB_USED: used, DEV_FB_FREE: free, DEV_POWER_USAGE: 90 },
        ),
      ),
    ],
    apiNodes: { "mig-a": "10.2.16.1" },
    summary: {
      gpu_count: 1,
      total_gpu_memory_gb: 40_000 / 1024,
      used_gpu_memory_gb: 12_000 / 1024,
      gpu_power_watts: 90,
    },
  },
  {
    id: COUNTERS_OF_TWO_NODES,
    name: "a label k8s.node.name of the source",
    source: "https://github.com/prometheus/prometheus/issues/15384",
    why: "two series that differ by it alone are two; nodes and Pods are as ever",
    series: [
      ...node("promoted-a", "10.2.17.1"),
      ...node("promoted-b", "10.2.17.2"),
      ...["a", "b"].map((name, i) =>
        series(
          "app_requests_total",
          { job: "app", "k8s.namespace.name": "ml", "k8s.node.name": `promoted-${name}` },
          growing(i === 0 ? 10 : 1),
        ),
      ),
    ],
    apiNodes: { "promoted-a": "10.2.17.1", "promoted-b": "10.2.17.2" },
    summary: { node_count: 2 },
  },
  {
    id: "fargate",
    name: "Fargate nodes, on which no node_exporter can run",
    source: "https://github.com/prometheus-community/helm-charts/issues/4735",
    why: "nothing can be done about it, so it is no warning",
    series: [
      ...node("fargate-a", "10.2.18.1"),
      ...["101", "102"].flatMap((n) =>
        listed(`fargate-ip-10-2-18-${n}.eu-west-1.compute.internal`, `10.2.18.${n}`),
      ),
    ],
    apiNodes: { "fargate-a": "10.2.18.1" },
    summary: { node_count: 3 },
    health: [],
  },
  {
    id: "two-exporters",
    name: "two node_exporters on a busy node",
    source: "https://github.com/prometheus-community/helm-charts/issues/2983",
    why: "90 % and 10 % are 50 % on average, however often one is measured",
    series: [
      ...listed("two-a", "10.2.19.1"),
      ...listed("two-b", "10.2.19.2"),
      ...nodeExporter({ job: "node-exporter", instance: "10.2.19.1:9100" }, "two-a", { busy: 0.9 }),
      ...nodeExporter({ job: "kps-node-exporter", instance: "10.2.19.1:9796" }, "two-a", { busy: 0.9 }),
      ...nodeExporter({ job: "node-exporter", instance: "10.2.19.2:9100" }, "two-b", { busy: 0.1 }),
    ],
    apiNodes: { "two-a": "10.2.19.1", "two-b": "10.2.19.2" },
    summary: { avg_cpu_usage_percent: 50, max_cpu_usage_percent: 90, total_cpu_cores: 4, total_disk_gb: 200 },
    nodes: { "two-a": { cpu_cores: 2, cpu_usage_percent: 90 }, "two-b": { cpu_usage_percent: 10 } },
  },
  {
    id: "pod-network",
    name: "node_exporter without hostNetwork",
    source: "https://github.com/onedr0p/home-ops/issues/13490",
    why: "the target's Pod runs on the node: kubernetes-mixin joins namespace and pod with kube_pod_info",
    series: ["a", "b"].flatMap((name, i) => [
      ...listed(`podnet-${name}`, `10.2.26.${i + 1}`),
      ...pod("mon", `ne-${name}`, { node: `podnet-${name}` }),
      ...nodeExporter(
        { job: "node-exporter", instance: `10.244.${i}.5:9100`, namespace: "mon", pod: `ne-${name}` },
        `ne-${name}`,
      ),
    ]),
    apiNodes: { "podnet-a": "10.2.26.1", "podnet-b": "10.2.26.2" },
    nodes: { "podnet-a": { cpu_cores: 2, ready: true }, "podnet-b": { cpu_cores: 2, ready: true } },
    health: [],
  },
  {
    id: "eks",
    name: "conditions of the EKS node monitoring agent",
    source: "https://github.com/aws/eks-node-monitoring-agent/issues/179",
    why: "they are good when True; the storage of b is broken",
    series: ["a", "b"].flatMap((name, i) => [
      ...node(`eks-${name}`, `10.2.45.${i + 1}`),
      ...["KernelReady", "NetworkingReady", "ContainerRuntimeReady", "StorageReady"].flatMap((type) =>
        condition(`eks-${name}`, type, name === "b" && type === "StorageReady" ? "false" : "true"),
      ),
      ...["MemoryPressure", "DiskPressure", "PIDPressure"].flatMap((type) =>
        condition(`eks-${name}`, type, "false"),
      ),
    ]),
    apiNodes: { "eks-a": "10.2.45.1", "eks-b": "10.2.45.2" },
    nodes: { "eks-a": { conditions: [] }, "eks-b": { conditions: ["StorageReady"] } },
    health: ["warning node_condition eks-b StorageReady"],
  },
];
