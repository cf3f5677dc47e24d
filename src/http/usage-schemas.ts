import { z } from "zod";
import type { ListedCluster } from "#query/cluster-list.ts";
import type { FleetUsageAnswer } from "#query/gpu-usage/fleet-usage.ts";
import { USAGE_GROUPS, type GpuUsageAnswer } from "#query/gpu-usage/gpu-usage.ts";
import { timestamp } from "./schemas.ts";
import { exampleHead, headShape } from "./state-head-schemas.ts";

const hours = (description: string) => z.number().meta({ description });
const text = (description: string) => z.string().nullable().meta({ description });

export const usageGroup = z
  .enum(USAGE_GROUPS)
  .default("namespace")
  .meta({ description: "What the usage is listed by" });

const totalsShape = {
  gpus: z.int().meta({ description: "GPUs that had samples" }),
  gpu_hours: hours(
    "Measured: each scrape of a GPU stands for the time up to the next one, at most 5 minutes",
  ),
  held_gpu_hours: hours("A Pod held the GPU; several Pods share its time equally"),
  active_gpu_hours: z
    .number()
    .nullable()
    .meta({ description: "Utilization of 1 % or more; null: not measured" }),
  idle_held_gpu_hours: z.number().nullable().meta({
    description: "Held, with memory on the GPU, and below 1 % for at least 15 minutes without a break",
  }),
  energy_kwh: z.number().nullable().meta({ description: "null: neither energy nor power is measured" }),
  energy_source: z
    .enum(["counter", "power", "both"])
    .nullable()
    .meta({ description: "The energy counter, or else power over time" }),
  throttled_gpu_hours: hours("The clock was lower because of heat or a lack of power"),
  hot_gpu_hours: hours(
    "Above the GPU's slowdown temperature if it has one, else above HEALTH_GPU_TEMPERATURE",
  ),
  xids: z
    .array(
      z.object({
        code: z.number(),
        description: z.string().nullable(),
        action: z.string().meta({ description: "The immediate action of NVIDIA's Xid catalogue" }),
        count: z.int(),
        first: timestamp,
        last: timestamp,
      }),
    )
    .meta({ description: "New XID errors" }),
};

const gpuUsageTotals = z.object(totalsShape).meta({ id: "GpuUsageTotals" });
const usageShape = {
  namespace: text("null: by no Pod, or listed by node"),
  pod: text("With by=pod"),
  node: text("With by=node"),
  ...totalsShape,
};

const exampleTotals = {
  gpus: 8,
  gpu_hours: 191.8,
  held_gpu_hours: 150.2,
  active_gpu_hours: 121.4,
  idle_held_gpu_hours: 20.1,
  energy_kwh: 71.3,
  energy_source: "counter",
  throttled_gpu_hours: 0,
  hot_gpu_hours: 0.4,
  xids: [
    {
      code: 79,
      description: "GPU has fallen off the bus",
      action: "RESTART_BM",
      count: 1,
      first: "2025-06-01T09:12:30.000Z",
      last: "2025-06-01T09:12:30.000Z",
    },
  ],
} as const;

const exampleUsage = { namespace: "team-a", pod: null, node: null, ...exampleTotals };

export const gpuUsageAnswer = z
  .object({
    ...headShape,
    by: z.enum(USAGE_GROUPS),
    total: gpuUsageTotals,
    usage: z
      .array(z.object(usageShape))
      .meta({ description: "The most GPU-hours first; together they are the total" }),
  })
  .meta({
    id: "GpuUsage",
    examples: [{ ...exampleHead, by: "namespace", total: exampleTotals, usage: [exampleUsage] }],
  }) satisfies z.ZodType<GpuUsageAnswer>;

export const fleetUsageAnswer = z
  .object({
    by: z.enum(USAGE_GROUPS),
    clusters: z
      .array(
        z.object({
          cluster_id: z.string(),
          name: z.string().nullable(),
          as_of: timestamp.nullable(),
          complete: z
            .boolean()
            .meta({ description: "As `completeness.complete` of the cluster's own answer" }),
          total: gpuUsageTotals,
        }),
      )
      .meta({ description: "The clusters with GPUs, the most GPU-hours first" }),
    usage: z.array(z.object({ cluster_id: z.string(), ...usageShape })),
  })
  .meta({
    id: "FleetGpuUsage",
    examples: [
      {
        by: "namespace",
        clusters: [
          {
            cluster_id: "edge-1",
            name: "Edge 1",
            as_of: "2025-06-01T11:58:30.000Z",
            complete: true,
            total: exampleTotals,
          },
        ],
        usage: [{ cluster_id: "edge-1", ...exampleUsage }],
      },
    ],
  }) satisfies z.ZodType<FleetUsageAnswer>;

export const clusterListAnswer = z
  .object({
    clusters: z.array(
      z.object({
        cluster_id: z.string(),
        name: z.string().nullable().meta({ description: "As the bridge last sent it" }),
        first_sample: timestamp.meta({
          description: "Of the bridge's reports and of `up`, as far as they are kept",
        }),
        last_sample: timestamp,
        as_of: timestamp.nullable().meta({
          description: "Everything up to this time is stored; null: the last report is older than two hours",
        }),
        up: z
          .boolean()
          .nullable()
          .meta({ description: "Whether the last attempt reached the cluster's Prometheus; null likewise" }),
      }),
    ),
  })
  .meta({
    id: "StoredClusters",
    examples: [
      {
        clusters: [
          {
            cluster_id: "edge-1",
            name: "Edge 1",
            first_sample: "2025-05-02T07:00:00.000Z",
            last_sample: "2025-06-01T12:00:01.000Z",
            as_of: "2025-06-01T11:58:30.000Z",
            up: true,
          },
        ],
      },
    ],
  }) satisfies z.ZodType<{ clusters: ListedCluster[] }>;
