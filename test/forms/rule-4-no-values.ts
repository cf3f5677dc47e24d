import type { FormTable } from "./form.ts";
import { container, disk, gpu, MIB, node, pod } from "./series.ts";

// dcgm_structs.h: INT32 0x7ffffff0 to f3, INT64 0x7ffffffffffffff0 to f3, FP64 140737488355328.0 to 331.0: blank, not found, not supported, not permitted.
const INT32 = 2_147_483_632;
const INT64 = 2 ** 63;
const FP64 = 140_737_488_355_328;
const good = (field: Readonly<Record<string, number>> = {}) => ({
  DEV_GPU_UTIL: 40,
  DEV_FB_USED: 1024,
  DEV_FB_FREE: 15_360,
  DEV_GPU_TEMP: 40,
  DEV_POWER_USAGE: 100,
  DEV_SM_CLOCK: 1400,
  ...field,
});
const pair = (field: Readonly<Record<string, number>>) => [
  ...node("a", "10.0.0.1"),
  ...gpu("GPU-1", {}, good()),
  ...gpu("GPU-2", { gpu: "1" }, good(field)),
];

/** Numbers that stand for "no value" are stored as they came, and no answer uses them. */
export const NO_VALUES: FormTable = {
  rule: "numbers that are no values",
  switches: {
    blank: [
      ["!(Math.abs(value) < LARGEST)", "false"],
      ["blanks.has(value)", "false"],
      ["NOT abs(${value}) < ${LARGEST}", "0"],
      ['${value} IN (${BLANKS.join(", ")})', "0"],
    ],
    "too large": [["return `abs(${value}) < ${LARGEST}`", "return `isFinite(${value})`"]],
  },
  forms: [
    {
      name: "a kubelet that says 2^63 bytes for the memory of a container",
      source: "https://github.com/google/cadvisor/issues/685",
      why: "2^63 is an overflow, not memory in use; the Pod beside it has its own value",
      needs: "too large",
      series: [
        ...node("a", "10.0.0.1"),
        ...pod("app", "web", { node: "a" }),
        ...container("app", "web", "main", { bytes: INT64 }),
        ...pod("app", "api", { node: "a" }),
        ...container("app", "api", "main"),
      ],
      pods: {
        "app/web": { memory_working_set_bytes: null, cpu_usage_cores: 0.25 },
        "app/api": { memory_working_set_bytes: 200 * MIB },
      },
    },
    {
      name: "a file system whose free bytes wrapped below zero",
      source: "https://github.com/prometheus/node_exporter/issues/1672",
      why: "a kernel that has fewer free blocks than reserved ones says 2^64 less some: of this disk nothing is known",
      needs: "too large",
      series: [
        ...node("a", "10.0.0.1"),
        ...disk(
          { job: "node-exporter", instance: "10.0.0.1:9100" },
          { device: "/dev/vdb", mountpoint: "/mnt", size: 10 * 2 ** 30, available: 2 ** 64 - 4096 },
        ),
      ],
      nodes: { a: { disk_total_bytes: 100 * 2 ** 30 } },
    },
    {
      name: "profiling metrics that the GPU does not support",
      source: "https://github.com/guilbaults/slurm-job-exporter/issues/30",
      why: "FP64's blank is no activity: the utilization that is a number counts",
      needs: "blank",
      series: pair({ PROF_SM_ACTIVE: FP64, PROF_GR_ENGINE_ACTIVE: FP64, DEV_GPU_UTIL: 60 }),
      gpus: { "GPU-1": { utilization_percent: 40 }, "GPU-2": { utilization_percent: 60 } },
      summary: { avg_gpu_utilization_percent: 50, max_gpu_utilization_percent: 60 },
    },
    {
      name: "a utilization of 4294967295 now and then",
      source: "https://github.com/NVIDIA/DCGM/issues/199",
      why: "the largest UINT32 is no percentage; the GPU was not measured then",
      needs: "blank",
      series: pair({ DEV_GPU_UTIL: 4_294_967_295 }),
      gpus: {
        "GPU-1": { utilization_percent: 40 },
        "GPU-2": { utilization_percent: null, power_watts: 100 },
      },
      summary: { avg_gpu_utilization_percent: 40, max_gpu_utilization_percent: 40 },
    },
    {
      name: "a clock that is not supported",
      source: "https://github.com/NVIDIA/DCGM/issues/83",
      why: "2147483634 is INT32's not supported",
      needs: "blank",
      series: pair({ DEV_SM_CLOCK: INT32 + 2 }),
      gpus: { "GPU-1": { sm_clock_mhz: 1400 }, "GPU-2": { sm_clock_mhz: null } },
    },
    {
      name: "a temperature that the host engine could not read",
      source: "https://github.com/NVIDIA/gpu-monitoring-tools/issues/97",
      why: "9223372036854775794 °C would be a critical issue",
      needs: "blank",
      series: pair({ DEV_GPU_TEMP: INT64 }),
      gpus: { "GPU-1": { temperature_celsius: 40 }, "GPU-2": { temperature_celsius: null } },
      health: [],
    },
    {
      name: "no XID in DCGM 4.5",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/700",
      why: "it says N/A where older versions said 0: no error",
      needs: "blank",
      series: pair({ DEV_XID_ERRORS: INT32 }),
      gpus: { "GPU-1": { xid_error: null }, "GPU-2": { xid_error: null } },
      health: [],
    },
    {
      name: "power and utilization after an error of the driver",
      source: "https://github.com/NVIDIA/DCGM/issues/202",
      why: "after XID 31 the fields are FP64's blank until the watch begins again",
      needs: "blank",
      series: pair({ DEV_GPU_UTIL: FP64, DEV_POWER_USAGE: FP64 + 2 }),
      gpus: { "GPU-1": { power_watts: 100 }, "GPU-2": { utilization_percent: null, power_watts: null } },
      summary: { gpu_power_watts: 100, avg_gpu_power_watts: 100, avg_gpu_utilization_percent: 40 },
    },
    {
      name: "memory that is not permitted to be read",
      source: "https://github.com/NVIDIA/gpu-monitoring-tools/pull/92",
      why: "a sum with a number that is none is no memory of the cluster",
      needs: "blank",
      series: pair({ DEV_FB_USED: INT32 + 3, DEV_FB_FREE: INT64 }),
      gpus: {
        "GPU-1": { memory_total_mib: 16_384 },
        "GPU-2": { memory_used_mib: null, memory_total_mib: null, utilization_percent: 40 },
      },
      summary: { total_gpu_memory_gb: 16, used_gpu_memory_gb: 1, max_gpu_memory_usage_percent: 6.25 },
    },
  ],
};
