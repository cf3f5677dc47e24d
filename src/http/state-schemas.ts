import { z } from "zod";
import { HEALTH_STATUSES, type HealthAnswer } from "#query/state/health.ts";
import { ISSUE_METRICS, SEVERITIES } from "#query/state/health-judgement.ts";
import type { NodesAnswer } from "#query/state/nodes.ts";
import type { PodsAnswer } from "#query/state/pods.ts";
import type { SummaryAnswer } from "#query/state/summary.ts";
import { gpuUses } from "./gpu-schemas.ts";
import { timestamp } from "./schemas.ts";
import { exampleHead, headShape, windowShape } from "./state-head-schemas.ts";

const count = (description: string) => z.int().min(0).nullable().meta({ description });
const number = (description: string) => z.number().nullable().meta({ description });
const text = (description: string) => z.string().meta({ description });

const GB = "GB of 2^30 bytes, as of as_of";

export const summaryAnswer = z
  .object({
    ...headShape,
    window: z.object({
      ...windowShape,
      step_seconds: z
        .number()
        .meta({ description: "avg_ and max_ are over values this many seconds apart in the window" }),
    }),
    storage: z.enum(["raw", "hours"]).meta({
      description:
        "The source of avg_ and max_: samples, or hourly roll-ups (for more than 60 hours; the same numbers except for rounding)",
    }),
    node_count: count("Nodes that kube_node_info lists; without that metric, the measured machines"),
    total_cpu_cores: count("Distinct `cpu` labels of node_cpu_seconds_total"),
    avg_cpu_usage_percent: number(
      '% of the whole cluster: 100 * (1 - sum(rate(node_cpu_seconds_total{mode="idle"}[w])) / sum(rate(node_cpu_seconds_total[w]))), mean over the steps',
    ),
    max_cpu_usage_percent: number("% of the busiest node at its busiest step"),
    total_memory_gb: number(`node_memory_MemTotal_bytes, ${GB}`),
    used_memory_gb: number(`MemTotal - MemAvailable, ${GB}`),
    avg_memory_usage_percent: number("% of the whole cluster's memory, mean over the steps"),
    max_memory_usage_percent: number("% of the fullest node at its fullest step"),
    total_disk_gb: number(
      `node_filesystem_size_bytes of real file systems, each device of a node once, ${GB}`,
    ),
    used_disk_gb: number(`size - avail of these, ${GB}`),
    avg_disk_usage_percent: number("% of all disks together, mean over the steps"),
    max_disk_usage_percent: number("% of the fullest single file system at its fullest step"),
    avg_load_1: number("Mean over nodes and steps of node_load1"),
    avg_load_5: number("Mean over nodes and steps of node_load5"),
    avg_load_15: number("Mean over nodes and steps of node_load15"),
    pod_count: count("Pods of kube_pod_info"),
    running_pod_count: count("Pods of which kube_pod_status_phase says Running"),
    node_last_sample: timestamp.nullable().meta({
      description: "Time of the newest sample of what is measured on nodes: CPU, memory, disks, load",
    }),
    kubernetes_last_sample: timestamp
      .nullable()
      .meta({ description: "Time of the newest sample of the lists of nodes and Pods" }),
    gpu_count: count("GPUs, each partitioned one once; null when their metrics are not collected"),
    gpu_uses: gpuUses.nullable().meta({ description: "How many of them are used how (as in /gpus)" }),
    avg_gpu_utilization_percent: number(
      "%, mean over GPUs and steps of the utilization as in /gpus; of a partitioned GPU the mean of its partitions",
    ),
    max_gpu_utilization_percent: number("%, of one GPU at one step"),
    total_gpu_memory_gb: number("DCGM_FI_DEV_FB_USED + FB_FREE in GB of 1024 MiB, as of as_of"),
    used_gpu_memory_gb: number("DCGM_FI_DEV_FB_USED in GB of 1024 MiB, as of as_of"),
    avg_gpu_memory_usage_percent: number("% of all GPUs' memory, mean over the steps"),
    max_gpu_memory_usage_percent: number("% of the fullest GPU at its fullest step"),
    gpu_power_watts: number("W of all GPUs together as of as_of"),
    avg_gpu_power_watts: number("W of all GPUs together, mean over the steps"),
  })
  .meta({
    id: "ClusterSummary",
    examples: [
      {
        ...exampleHead,
        window: { ...exampleHead.window, from: "2025-06-01T10:58:30.000Z", step_seconds: 60 },
        storage: "raw",
        node_count: 3,
        total_cpu_cores: 12,
        avg_cpu_usage_percent: 28.74,
        max_cpu_usage_percent: 36.08,
        total_memory_gb: 191.66,
        used_memory_gb: 73.29,
        avg_memory_usage_percent: 40.44,
        max_memory_usage_percent: 49.89,
        total_disk_gb: 2807.76,
        used_disk_gb: 1500.2,
        avg_disk_usage_percent: 48.71,
        max_disk_usage_percent: 68.05,
        avg_load_1: 6.23,
        avg_load_5: 6.45,
        avg_load_15: 7.5,
        pod_count: 13,
        running_pod_count: 13,
        node_last_sample: "2025-06-01T11:58:21.000Z",
        kubernetes_last_sample: "2025-06-01T11:58:07.000Z",
        gpu_count: 0,
        gpu_uses: null,
        avg_gpu_utilization_percent: null,
        max_gpu_utilization_percent: null,
        total_gpu_memory_gb: null,
        used_gpu_memory_gb: null,
        avg_gpu_memory_usage_percent: null,
        max_gpu_memory_usage_percent: null,
        gpu_power_watts: null,
        avg_gpu_power_watts: null,
      },
    ],
  }) satisfies z.ZodType<SummaryAnswer>;

export const healthAnswer = z
  .object({
    ...headShape,
    status: z.enum(HEALTH_STATUSES).meta({
      description:
        "stale: the stored data is too old, and the issues are the last known ones. unknown: the data needed to judge is not stored. Otherwise the severity of the worst issue",
    }),
    stale_after_seconds: z
      .number()
      .meta({ description: "as_of may be this much older than the window's end" }),
    node_count: z.int(),
    issue_count: z.int(),
    issues: z
      .array(
        z.object({
          severity: z.enum(SEVERITIES),
          metric: z.enum(ISSUE_METRICS),
          node: z.string().nullable().meta({ description: "null: not about a single node" }),
          object: z.string().nullable().meta({
            description: "The part of the node: a device, a condition, namespace/pod or a GPU's UUID",
          }),
          value: z.number().nullable(),
          threshold: z.number().nullable(),
          message: z.string(),
        }),
      )
      .meta({ description: "Critical issues first; at most 200" }),
    recommendations: z.array(z.string()),
  })
  .meta({
    id: "ClusterHealth",
    examples: [
      {
        ...exampleHead,
        status: "critical",
        stale_after_seconds: 900,
        node_count: 3,
        issue_count: 1,
        issues: [
          {
            severity: "critical",
            metric: "disk_usage_percent",
            node: "node-1",
            object: "/dev/nvme0n1p1",
            value: 93.7,
            threshold: 90,
            message: "disk usage is 93.7 %, above 90 %",
          },
        ],
        recommendations: ["Free space on the named device (images, logs, emptyDir volumes) or enlarge it."],
      },
    ],
  }) satisfies z.ZodType<HealthAnswer>;

const nodeState = z
  .object({
    node: text(
      "The node as Kubernetes lists it: by the label `node` or k8s.node.name, the address of `instance`, uname, or the exporter's Pod; else `instance`",
    ),
    ready: z.boolean().nullable().meta({ description: "kube_node_status_condition Ready" }),
    conditions: z.array(z.string()).meta({
      description:
        "Conditions that are problems: MemoryPressure when it is true, StorageReady when it is false",
    }),
    problems: z
      .array(z.object({ condition: z.string(), status: z.enum(["true", "false"]) }))
      .meta({ description: "The same conditions with their status" }),
    cpu_cores: count("CPUs"),
    cpu_usage_percent: number("%, over the whole window: all CPU time but mode idle"),
    memory_total_bytes: number("Bytes"),
    memory_used_bytes: number("Bytes: MemTotal - MemAvailable"),
    memory_usage_percent: number("%"),
    disk_total_bytes: number("Bytes of real file systems, each device once"),
    disk_used_bytes: number("Bytes: size - avail"),
    disk_usage_percent: number("% of all of them"),
    fullest_disk: z.object({ device: z.string(), usage_percent: z.number() }).nullable(),
    load_1: number("node_load1"),
    load_5: number("node_load5"),
    load_15: number("node_load15"),
    pod_count: count("Pods of kube_pod_info on the node"),
    network_receive_bytes_per_second: number(
      "Bytes per second over the whole window, of all physical interfaces",
    ),
    network_transmit_bytes_per_second: number("The same of node_network_transmit_bytes_total"),
    cpu_allocatable_cores: number("Cores that Pods may request: kube_node_status_allocatable"),
    memory_allocatable_bytes: number("Bytes that Pods may request"),
    cpu_request_cores: number("Cores that its Pods request; Pods that finished hold nothing"),
    cpu_request_percent: number("% of cpu_allocatable_cores"),
    memory_request_bytes: number("Bytes that its Pods request"),
    memory_request_percent: number("% of memory_allocatable_bytes"),
    gpu_allocatable: number("GPUs and parts of GPUs that Pods may request; 0: the node has none"),
    gpu_request: number("GPUs and parts of GPUs that its Pods request"),
    last_sample: timestamp.nullable().meta({
      description: "Time of the newest sample of what is measured on the node; null: nothing is",
    }),
    state_last_sample: timestamp.nullable().meta({
      description: "Time of the newest sample of kube_node_info or of the node's conditions",
    }),
  })
  .meta({ id: "NodeState" });

export const nodesAnswer = z.object({ ...headShape, node_count: z.int(), nodes: z.array(nodeState) }).meta({
  id: "ClusterNodes",
  examples: [
    {
      ...exampleHead,
      node_count: 1,
      nodes: [
        {
          node: "node-1",
          ready: true,
          conditions: [],
          problems: [],
          cpu_cores: 4,
          cpu_usage_percent: 29.3,
          memory_total_bytes: 68_596_020_224,
          memory_used_bytes: 30_116_784_786,
          memory_usage_percent: 43.9,
          disk_total_bytes: 502_468_108_288,
          disk_used_bytes: 250_200_000_000,
          disk_usage_percent: 49.8,
          fullest_disk: { device: "/dev/nvme0n1p1", usage_percent: 49.8 },
          load_1: 2.2,
          load_5: 3.8,
          load_15: 6.1,
          pod_count: 4,
          network_receive_bytes_per_second: 1_204_113.2,
          network_transmit_bytes_per_second: 802_411.9,
          cpu_allocatable_cores: 3.93,
          memory_allocatable_bytes: 67_522_278_400,
          cpu_request_cores: 2.25,
          cpu_request_percent: 57.3,
          memory_request_bytes: 8_589_934_592,
          memory_request_percent: 12.7,
          gpu_allocatable: 2,
          gpu_request: 1,
          last_sample: "2025-06-01T11:58:21.000Z",
          state_last_sample: "2025-06-01T11:58:07.000Z",
        },
      ],
    },
  ],
}) satisfies z.ZodType<NodesAnswer>;

const podState = z
  .object({
    namespace: z.string(),
    pod: z.string(),
    node: z.string().nullable(),
    phase: z.string().nullable().meta({ description: "Running, Pending, Succeeded, Failed or Unknown" }),
    restarts_total: number("Restarts of its containers since it exists"),
    restarts: z.number().meta({ description: "Whole restarts in the window, as counted" }),
    cpu_usage_cores: number("Cores, over the whole window: rate of container_cpu_usage_seconds_total"),
    memory_working_set_bytes: number("Bytes"),
    cpu_request_cores: number("Cores"),
    cpu_limit_cores: number("Cores"),
    memory_request_bytes: number("Bytes"),
    memory_limit_bytes: number("Bytes"),
    gpu_request: number("GPUs and parts of GPUs; never shares of a GPU's memory or cores"),
    network_receive_bytes_per_second: number(
      "Bytes per second over the whole window, all interfaces but loopback; null for a Pod in its node's network",
    ),
    network_transmit_bytes_per_second: number("The same of container_network_transmit_bytes_total"),
    last_sample: timestamp.meta({ description: "Time of the Pod's newest sample" }),
    gpu_count: count(
      "GPUs and parts of GPUs that it holds, by their exporter; only for Pods that request GPUs",
    ),
    gpu_utilization_percent: number("%, the mean of these: its share of each GPU, or else the GPU's"),
  })
  .meta({ id: "PodState" });

export const podsAnswer = z
  .object({
    ...headShape,
    pod_count: z.int().meta({ description: "Pods of the cluster, or of the requested namespace" }),
    pods: z.array(podState),
    next_cursor: z
      .string()
      .nullable()
      .meta({ description: "Cursor of the next page; null: this is the last one" }),
  })
  .meta({
    id: "ClusterPods",
    examples: [
      {
        ...exampleHead,
        pod_count: 1,
        pods: [
          {
            namespace: "team-a",
            pod: "trainer-0-b6dfx",
            node: "node-1",
            phase: "Running",
            restarts_total: 2,
            restarts: 0,
            cpu_usage_cores: 1.57,
            memory_working_set_bytes: 1_981_691_888,
            cpu_request_cores: 2.25,
            cpu_limit_cores: 4.5,
            memory_request_bytes: 3_221_225_472,
            memory_limit_bytes: 6_442_450_944,
            gpu_request: 1,
            network_receive_bytes_per_second: 52_310.4,
            network_transmit_bytes_per_second: 8_120.25,
            last_sample: "2025-06-01T11:58:12.000Z",
            gpu_count: 1,
            gpu_utilization_percent: 87,
          },
        ],
        next_cursor: null,
      },
    ],
  }) satisfies z.ZodType<PodsAnswer>;
