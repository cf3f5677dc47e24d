import { z } from "zod";
import { HEALTH_STATUSES, type HealthAnswer } from "#query/state/health.ts";
import { ISSUE_METRICS, SEVERITIES } from "#query/state/health-judgement.ts";
import type { GpusAnswer } from "#query/state/gpus.ts";
import type { NodesAnswer } from "#query/state/nodes.ts";
import type { PodsAnswer } from "#query/state/pods.ts";
import type { SummaryAnswer } from "#query/state/summary.ts";
import { timestamp } from "./schemas.ts";

const count = (description: string) => z.int().min(0).nullable().meta({ description });
const number = (description: string) => z.number().nullable().meta({ description });
const text = (description: string) => z.string().meta({ description });

export const completeness = z
  .object({
    complete: z.boolean().meta({
      description:
        "Every sample of the window up to as_of is stored, as far as the collection knows: no query behind, no gap, nothing refused",
    }),
    watermark: timestamp.nullable().meta({
      description:
        "The oldest watermark of the answer's queries: every sample up to this time is stored or recorded as a gap",
    }),
    lag_seconds: number("Seconds from the watermark to now"),
    collected_since: timestamp.nullable().meta({
      description: "Time of the cluster's first collection, if it is inside the window",
    }),
    cluster_up: z
      .boolean()
      .nullable()
      .meta({ description: "Whether the last attempt reached the cluster's Prometheus" }),
    cluster_up_at: timestamp.nullable().meta({ description: "Time of that attempt" }),
    queries: z.int().meta({ description: "Queries of the catalogue that the answer uses" }),
    behind: z
      .array(z.object({ query: z.string(), watermark: timestamp }))
      .meta({ description: "Queries that are not yet stored up to as_of; at most 50" }),
    not_collected: z
      .array(z.string())
      .meta({ description: "Metrics of the answer that the catalogue does not collect" }),
    open_gaps: z.number().meta({ description: "Periods of time that are still to be read" }),
    lost_gaps: z
      .number()
      .meta({ description: "Periods that can no longer be read, found since the window's start" }),
    samples_read: z
      .number()
      .meta({ description: "Samples that were read from Prometheus since the window's start" }),
    samples_sent: z.number().meta({ description: "How many of these are stored" }),
  })
  .meta({ id: "Completeness" });

const windowShape = {
  from: timestamp.meta({ description: "The window's start (exclusive)" }),
  to: timestamp.meta({ description: "The window's end (inclusive)" }),
  lookback_seconds: z.number().meta({
    description: "A gauge's value is its newest sample in this many seconds before the described time",
  }),
};

const headShape = {
  cluster_id: z.string(),
  as_of: timestamp
    .nullable()
    .meta({ description: "The time that the answer describes; null: the window has no stored data" }),
  window: z.object(windowShape),
  completeness,
};

export const exampleCompleteness = {
  complete: true,
  watermark: "2025-06-01T11:58:30.000Z",
  lag_seconds: 112.4,
  collected_since: null,
  cluster_up: true,
  cluster_up_at: "2025-06-01T12:00:01.000Z",
  queries: 11,
  behind: [],
  not_collected: [],
  open_gaps: 0,
  lost_gaps: 0,
  samples_read: 48_120,
  samples_sent: 48_120,
};

const exampleHead = {
  cluster_id: "edge-1",
  as_of: "2025-06-01T11:58:30.000Z",
  window: {
    from: "2025-06-01T11:43:30.000Z",
    to: "2025-06-01T11:58:30.000Z",
    lookback_seconds: 300,
  },
  completeness: exampleCompleteness,
};

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
    gpu_count: count("Distinct UUIDs of DCGM's series; null when these are not collected"),
    avg_gpu_utilization_percent: number("%, mean over GPUs and steps of DCGM_FI_DEV_GPU_UTIL"),
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
        gpu_count: 0,
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
      "Label `node`, else label k8s.node.name, else the node with the address of `instance`, else `instance`",
    ),
    ready: z.boolean().nullable().meta({ description: "kube_node_status_condition Ready" }),
    conditions: z.array(z.string()).meta({ description: "Conditions that are true but should not be" }),
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
    gpu_request: number("NVIDIA GPUs and parts of GPUs"),
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
          },
        ],
        next_cursor: null,
      },
    ],
  }) satisfies z.ZodType<PodsAnswer>;

const gpuState = z
  .object({
    uuid: z.string(),
    gpu: text("The GPU's number on its node"),
    mig_instance: z.string().nullable().meta({ description: "GPU_I_ID of a partition of the GPU" }),
    node: text(
      "Label `node`, else DCGM's Hostname, else label k8s.node.name, else the node with the address of `instance`, else `instance`",
    ),
    model: z.string(),
    pods: z
      .array(z.object({ namespace: z.string(), pod: z.string(), container: z.string() }))
      .meta({ description: "The Pods that hold it: none when it is free, several when they share it" }),
    utilization_percent: number("%: DCGM_FI_DEV_GPU_UTIL"),
    memory_used_mib: number("MiB: DCGM_FI_DEV_FB_USED"),
    memory_total_mib: number("MiB: FB_USED + FB_FREE"),
    memory_copy_utilization_percent: number("%: DCGM_FI_DEV_MEM_COPY_UTIL"),
    temperature_celsius: number("°C"),
    power_watts: number("W"),
    sm_clock_mhz: number("MHz"),
    xid_error: number("The last XID error in the window; null: none"),
    last_sample: timestamp,
  })
  .meta({ id: "GpuState" });

export const gpusAnswer = z.object({ ...headShape, gpu_count: z.int(), gpus: z.array(gpuState) }).meta({
  id: "ClusterGpus",
  examples: [
    {
      ...exampleHead,
      gpu_count: 1,
      gpus: [
        {
          uuid: "GPU-f5a18759-9410-460c-a83a-5baf40932945",
          gpu: "0",
          mig_instance: null,
          node: "node-1",
          model: "NVIDIA H200",
          pods: [{ namespace: "team-a", pod: "trainer-0-b6dfx", container: "main" }],
          utilization_percent: 94,
          memory_used_mib: 93_354,
          memory_total_mib: 149_351,
          memory_copy_utilization_percent: 34,
          temperature_celsius: 47,
          power_watts: 593.9,
          sm_clock_mhz: 1801,
          xid_error: null,
          last_sample: "2025-06-01T11:58:16.730Z",
        },
      ],
    },
  ],
}) satisfies z.ZodType<GpusAnswer>;
