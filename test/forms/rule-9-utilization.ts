import type { FormTable } from "./form.ts";
import { gpu, node, up } from "./series.ts";

const MEMORY = { DEV_FB_USED: 8192, DEV_FB_FREE: 8192 };
const part = (id: string) => ({ GPU_I_ID: id, GPU_I_PROFILE: "3g.20gb" });
const of = (name: string) => ({ namespace: "ml", pod: name, container: "main" });

/** What the effective utilization is, and of what. */
export const UTILIZATION: FormTable = {
  rule: "effective utilization",
  switches: {
    "profiling metrics first": [
      ['fraction("DCGM_FI_PROF_SM_ACTIVE"),', ""],
      ['fraction("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),', ""],
    ],
    "no GPU_UTIL of parts": [[", unpartitioned: true }", " }"]],
    "the device before its Pods": [
      ["Number(a.isShare) - Number(b.isShare)", "Number(b.isShare) - Number(a.isShare)"],
    ],
    "shares only beside the device": [["isBeside ? share : undefined", "share"]],
  },
  forms: [
    {
      name: "a kernel runs all the time and uses a fifth of the multiprocessors",
      source: "https://github.com/NVIDIA/DCGM/issues/64",
      why: "GPU_UTIL says that something ran; SM_ACTIVE says how much of the GPU it used",
      needs: "profiling metrics first",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu(
          "GPU-1",
          {},
          { ...MEMORY, DEV_GPU_UTIL: 100, PROF_GR_ENGINE_ACTIVE: 0.98, PROF_SM_ACTIVE: 0.2 },
        ),
      ],
      summary: { avg_gpu_utilization_percent: 20 },
      gpus: { "GPU-1": { utilization_percent: 20, utilization_source: "DCGM_FI_PROF_SM_ACTIVE" } },
    },
    {
      name: "the default metrics of dcgm-exporter, without SM_ACTIVE",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/53",
      why: "GR_ENGINE_ACTIVE comes before GPU_UTIL, as a percentage",
      needs: "profiling metrics first",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", {}, { ...MEMORY, DEV_GPU_UTIL: 90, PROF_GR_ENGINE_ACTIVE: 0.35 }),
      ],
      gpus: { "GPU-1": { utilization_percent: 35, utilization_source: "DCGM_FI_PROF_GR_ENGINE_ACTIVE" } },
    },
    {
      name: "an older GPU without profiling beside a newer one",
      source: "https://github.com/guilbaults/slurm-job-exporter/pull/53",
      why: "each GPU has the best metric that it has",
      needs: "profiling metrics first",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", {}, { ...MEMORY, DEV_GPU_UTIL: 70, PROF_SM_ACTIVE: 0.3 }),
        ...gpu("GPU-2", { gpu: "1", modelName: "Tesla P100" }, { ...MEMORY, DEV_GPU_UTIL: 50 }),
      ],
      summary: { avg_gpu_utilization_percent: 40 },
      gpus: {
        "GPU-1": { utilization_percent: 30 },
        "GPU-2": { utilization_percent: 50, utilization_source: "DCGM_FI_DEV_GPU_UTIL" },
      },
    },
    {
      name: "MIG parts with a GPU_UTIL of 0",
      source: "https://github.com/NVIDIA/DCGM/issues/80",
      why: "GPU_UTIL is not supported for MIG: a part without a profiling metric is not measured",
      needs: "no GPU_UTIL of parts",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-1", part("1"), { ...MEMORY, DEV_GPU_UTIL: 0, PROF_GR_ENGINE_ACTIVE: 0.8 }),
        ...gpu("GPU-1", part("2"), { ...MEMORY, DEV_GPU_UTIL: 0 }),
      ],
      gpus: {
        "GPU-1/1": {
          utilization_percent: 80,
          utilization_source: "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
          mig_profile: "3g.20gb",
        },
        "GPU-1/2": { utilization_percent: null, utilization_source: null },
      },
    },
    {
      name: "a partitioned GPU beside its parts, without GPU_UTIL",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/50",
      why: "each row has its own number, and the GPU counts once",
      needs: "profiling metrics first",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu(
          "GPU-1",
          {},
          { DEV_FB_USED: 12_000, DEV_FB_FREE: 28_000, PROF_GR_ENGINE_ACTIVE: 0.45, DEV_GPU_UTIL: 0 },
        ),
        ...gpu(
          "GPU-1",
          { ...part("1"), ...of("one") },
          { DEV_FB_USED: 8000, DEV_FB_FREE: 11_000, PROF_GR_ENGINE_ACTIVE: 0.9 },
        ),
        ...gpu(
          "GPU-1",
          { ...part("2"), ...of("two") },
          { DEV_FB_USED: 4000, DEV_FB_FREE: 15_000, PROF_GR_ENGINE_ACTIVE: 0.1 },
        ),
      ],
      summary: { gpu_count: 1, used_gpu_memory_gb: 12_000 / 1024 },
      gpus: {
        "GPU-1": { utilization_percent: 45 },
        "GPU-1/1": { utilization_percent: 90, pods: [of("one")] },
        "GPU-1/2": { utilization_percent: 10, pods: [of("two")] },
      },
    },
    {
      name: "virtual GPUs: a series of the device, and one of each Pod with its share",
      source: "https://github.com/NVIDIA/dcgm-exporter/pull/594",
      why: "the series without a Pod is the device, whatever comes first",
      needs: "the device before its Pods",
      series: [
        ...node("a", "10.0.0.1"),
        ...up({ job: "dcgm", instance: "10.244.1.7:9400" }),
        ...gpu(
          "GPU-1",
          { ...of("small"), vgpu: "0" },
          { DEV_GPU_UTIL: 20, DEV_FB_USED: 20_000, DEV_FB_FREE: 20_000 },
        ),
        ...gpu(
          "GPU-1",
          { ...of("large"), vgpu: "1" },
          { DEV_GPU_UTIL: 70, DEV_FB_USED: 40_000, DEV_FB_FREE: 20_000 },
        ),
        ...gpu("GPU-1", {}, { DEV_GPU_UTIL: 90, DEV_FB_USED: 60_000, DEV_FB_FREE: 20_000 }),
      ],
      summary: { gpu_count: 1, avg_gpu_utilization_percent: 90, used_gpu_memory_gb: 60_000 / 1024 },
      gpus: {
        "GPU-1": {
          utilization_percent: 90,
          memory_used_mib: 60_000,
          memory_total_mib: 80_000,
          pods: [
            { ...of("large"), utilization_percent: 70, memory_used_mib: 40_000 },
            { ...of("small"), utilization_percent: 20, memory_used_mib: 20_000 },
          ],
        },
      },
    },
    {
      name: "time slicing: three Pods with the device's numbers each",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/587",
      why: "the exporter repeats the device for each Pod: no sum, and no shares",
      needs: "shares only beside the device",
      series: [
        ...node("a", "10.0.0.1"),
        ...up({ job: "dcgm", instance: "10.244.1.7:9400" }),
        ...["x", "y", "z"].flatMap((name, i) =>
          gpu(
            "GPU-1",
            { ...of(name), vgpu: String(i) },
            { ...MEMORY, DEV_POWER_USAGE: 70, PROF_GR_ENGINE_ACTIVE: 0.714 },
          ),
        ),
      ],
      summary: {
        gpu_count: 1,
        used_gpu_memory_gb: 8,
        gpu_power_watts: 70,
        avg_gpu_utilization_percent: 71.4,
      },
      gpus: {
        "GPU-1": {
          utilization_percent: 71.4,
          memory_used_mib: 8192,
          pods: ["x", "y", "z"].map((name) => ({
            ...of(name),
            utilization_percent: null,
            memory_used_mib: null,
          })),
        },
      },
    },
  ],
};
