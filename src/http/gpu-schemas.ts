import { z } from "zod";
import type { GpusAnswer } from "#query/state/gpus.ts";
import { GPU_USES } from "#query/state/gpu-use.ts";
import { timestamp } from "./schemas.ts";
import { exampleHead, headShape } from "./state-head-schemas.ts";

const number = (description: string) => z.number().nullable().meta({ description });
const text = (description: string) => z.string().meta({ description });
const boolean = (description: string) => z.boolean().nullable().meta({ description });

const count = z.int().min(0);
export const gpuUses = z
  .object({
    in_use: count.meta({ description: "A Pod holds it, and it computed in the last 15 minutes" }),
    idle_held: count.meta({
      description:
        "A Pod has held it for 15 minutes with memory on it, and its utilization was below 1 % all the time",
    }),
    allocated: count.meta({ description: "A Pod holds it, and neither is true" }),
    unattributed: count.meta({
      description: "Something computes or has memory on it, and the exporter names no Pod",
    }),
    free: count.meta({ description: "No Pod, nothing computes, no memory is used" }),
    unknown: count.meta({ description: "Neither utilization nor memory is measured" }),
  })
  .meta({ id: "GpuUseCounts", description: "How many GPUs are used how" });

const gpuPod = z.object({
  namespace: z.string(),
  pod: z.string(),
  container: text("Empty where the exporter does not name it"),
  utilization_percent: number("% of the GPU; null where the exporter does not tell shares apart"),
  memory_used_mib: number("MiB of the GPU's memory; null likewise"),
  memory_limit_mib: number("MiB that it may use (HAMi)"),
});

const xid = z
  .object({
    code: z.number(),
    description: z.string().nullable(),
    action: text("The immediate action of NVIDIA's Xid catalogue, as RESTART_APP or RESET_GPU"),
    is_new: z.boolean().meta({
      description:
        "It came in the window. false: the metric has shown it since before, because it keeps the last error until the exporter restarts",
    }),
    since: timestamp.meta({
      description: "When it came; of one that is not new, a time before the window when it was there already",
    }),
  })
  .nullable()
  .meta({ description: "The last XID error in the window; null: none" });

const gpuState = z
  .object({
    uuid: z.string(),
    gpu: text("The GPU's number on its node"),
    mig_instance: z.string().nullable().meta({ description: "GPU_I_ID of a partition of the GPU" }),
    mig_profile: z.string().nullable().meta({ description: "Of a partition, as 3g.20gb" }),
    node: text(
      "Label `node`, else DCGM's Hostname, else label k8s.node.name, else the node of `instance` or of the exporter's Pod, else `instance`",
    ),
    model: z.string(),
    pods: z
      .array(gpuPod)
      .meta({ description: "The Pods that hold it: none when it is free, several when they share it" }),
    use: z
      .enum(GPU_USES)
      .nullable()
      .meta({ description: "Who uses it; null: neither utilization nor memory is measured" }),
    utilization_percent: number(
      "%: DCGM_FI_PROF_SM_ACTIVE, else DCGM_FI_PROF_GR_ENGINE_ACTIVE (both times 100), else DCGM_FI_DEV_GPU_UTIL (not of MIG)",
    ),
    utilization_source: z.string().nullable().meta({ description: "The metric of utilization_percent" }),
    tensor_active_percent: number("%: DCGM_FI_PROF_PIPE_TENSOR_ACTIVE times 100"),
    memory_active_percent: number("%: DCGM_FI_PROF_DRAM_ACTIVE times 100"),
    memory_used_mib: number("MiB: DCGM_FI_DEV_FB_USED"),
    memory_total_mib: number("MiB: FB_USED + FB_FREE"),
    memory_reserved_mib: number("MiB: DCGM_FI_DEV_FB_RESERVED, not in the total"),
    memory_copy_utilization_percent: number("%: DCGM_FI_DEV_MEM_COPY_UTIL"),
    temperature_celsius: number("°C"),
    memory_temperature_celsius: number("°C"),
    slowdown_temperature_celsius: number("°C: from here on the GPU lowers its clock"),
    power_watts: number("W"),
    sm_clock_mhz: number("MHz"),
    clock_reasons: z
      .array(z.string())
      .nullable()
      .meta({ description: "Why its clock is lower (NVML's clock event reasons); empty: it is not" }),
    thermal_violation: boolean("Whether its temperature slowed it down in the window"),
    pcie_transmit_bytes_per_second: number("Bytes per second"),
    pcie_receive_bytes_per_second: number("Bytes per second"),
    xid_error: number("The last XID error in the window; null: none"),
    xid,
    ecc_uncorrected_errors: number("Uncorrected ECC errors since the driver was loaded"),
    ecc_uncorrected_errors_new: number("Those in the window"),
    remapped_rows: number("Rows of memory that were replaced because of uncorrectable errors"),
    remapped_rows_new: number("Those in the window"),
    row_remap_failure: boolean("Whether a row could not be replaced"),
    last_sample: timestamp,
    age_seconds: z.number().meta({ description: "From the newest sample to as_of" }),
  })
  .meta({ id: "GpuState" });

export const gpusAnswer = z
  .object({
    ...headShape,
    gpu_count: z.int().meta({ description: "Devices: a partitioned GPU and its partitions are one" }),
    part_count: z.int().meta({ description: "Partitions (MIG)" }),
    uses: gpuUses,
    requested: number(
      "GPUs and partitions that unfinished Pods request (kube_pod_container_resource_requests)",
    ),
    gpus: z.array(gpuState),
  })
  .meta({
    id: "ClusterGpus",
    examples: [
      {
        ...exampleHead,
        gpu_count: 1,
        part_count: 0,
        uses: { in_use: 1, idle_held: 0, allocated: 0, unattributed: 0, free: 0, unknown: 0 },
        requested: 1,
        gpus: [
          {
            uuid: "GPU-f5a18759-9410-460c-a83a-5baf40932945",
            gpu: "0",
            mig_instance: null,
            mig_profile: null,
            node: "node-1",
            model: "NVIDIA H200",
            pods: [
              {
                namespace: "team-a",
                pod: "trainer-0-b6dfx",
                container: "main",
                utilization_percent: null,
                memory_used_mib: null,
                memory_limit_mib: null,
              },
            ],
            use: "in_use",
            utilization_percent: 81.2,
            utilization_source: "DCGM_FI_PROF_SM_ACTIVE",
            tensor_active_percent: 40.7,
            memory_active_percent: 34,
            memory_used_mib: 93_354,
            memory_total_mib: 149_351,
            memory_reserved_mib: 580,
            memory_copy_utilization_percent: 34,
            temperature_celsius: 47,
            memory_temperature_celsius: 55,
            slowdown_temperature_celsius: null,
            power_watts: 593.9,
            sm_clock_mhz: 1801,
            clock_reasons: null,
            thermal_violation: null,
            pcie_transmit_bytes_per_second: 120_931_000,
            pcie_receive_bytes_per_second: 340_220_000,
            xid_error: null,
            xid: null,
            ecc_uncorrected_errors: null,
            ecc_uncorrected_errors_new: null,
            remapped_rows: 0,
            remapped_rows_new: 0,
            row_remap_failure: false,
            last_sample: "2025-06-01T11:58:16.730Z",
            age_seconds: 13.27,
          },
        ],
      },
    ],
  }) satisfies z.ZodType<GpusAnswer>;
