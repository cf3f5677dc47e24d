import type { QuerySpec } from "./query-spec.ts";

const queries = (group: string, units: Readonly<Record<string, string>>): QuerySpec[] =>
  Object.entries(units).map(([name, unit]) => ({ name, promql: name, group, unit }));

/** NVIDIA's dcgm-exporter. Units: its default-counters.csv, which has all of these but SM_ACTIVE, the clock reasons, violations and ECC errors. */
const DCGM = queries("gpu", {
  DCGM_FI_DEV_GPU_UTIL: "%",
  DCGM_FI_DEV_FB_FREE: "MiBy",
  DCGM_FI_DEV_FB_USED: "MiBy",
  DCGM_FI_DEV_FB_RESERVED: "MiBy",
  DCGM_FI_DEV_GPU_TEMP: "Cel",
  DCGM_FI_DEV_MEMORY_TEMP: "Cel",
  DCGM_FI_DEV_POWER_USAGE: "W",
  DCGM_FI_DEV_SM_CLOCK: "MHz",
  DCGM_FI_DEV_MEM_CLOCK: "MHz",
  DCGM_FI_DEV_MEM_COPY_UTIL: "%",
  DCGM_FI_DEV_XID_ERRORS: "",
  DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION: "mJ",
  DCGM_FI_DEV_CLOCKS_EVENT_REASONS: "",
  DCGM_FI_DEV_THERMAL_VIOLATION: "",
  DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS: "",
  DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS: "",
  DCGM_FI_DEV_ROW_REMAP_FAILURE: "",
  DCGM_FI_DEV_ECC_SBE_VOL_TOTAL: "",
  DCGM_FI_DEV_ECC_DBE_VOL_TOTAL: "",
  DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL: "",
  DCGM_FI_PROF_GR_ENGINE_ACTIVE: "1",
  DCGM_FI_PROF_SM_ACTIVE: "1",
  DCGM_FI_PROF_PIPE_TENSOR_ACTIVE: "1",
  DCGM_FI_PROF_DRAM_ACTIVE: "1",
  DCGM_FI_PROF_PCIE_TX_BYTES: "By/s",
  DCGM_FI_PROF_PCIE_RX_BYTES: "By/s",
});

/** HAMi: its vGPU monitor and scheduler; then the names before 2.9. Utilization is in percent, whatever the names say. */
const HAMI = queries("gpu_hami", {
  hami_host_gpu_utilization_ratio: "%",
  hami_host_gpu_memory_used_bytes: "By",
  hami_gpu_memory_limit_bytes: "By",
  hami_container_device_utilization_ratio: "%",
  hami_vgpu_memory_used_bytes: "By",
  hami_vgpu_memory_limit_bytes: "By",
  hami_vgpu_memory_allocated_bytes: "By",
  hami_vgpu_core_allocated_ratio: "%",
  HostCoreUtilization: "%",
  HostGPUMemoryUsage: "By",
  GPUDeviceMemoryLimit: "By",
  Device_utilization_desc_of_container: "%",
  vGPU_device_memory_usage_in_bytes: "By",
  vGPU_device_memory_limit_in_bytes: "By",
});

/** AMD's device-metrics-exporter: docs/configuration/metricslist.md of ROCm/device-metrics-exporter. */
const AMD = queries("gpu_amd", {
  gpu_gfx_activity: "%",
  gpu_umc_activity: "%",
  gpu_used_vram: "MiBy",
  gpu_free_vram: "MiBy",
  gpu_total_vram: "MiBy",
  gpu_junction_temperature: "Cel",
  gpu_edge_temperature: "Cel",
  gpu_memory_temperature: "Cel",
  gpu_package_power: "W",
  gpu_average_package_power: "W",
  gpu_power_usage: "W",
  gpu_energy_consumed: "uJ",
  gpu_clock: "MHz",
  gpu_ecc_correct_total: "",
  gpu_ecc_uncorrect_total: "",
});

/** A cluster without GPUs has none of these. */
export const GPU_QUERIES: readonly QuerySpec[] = [...DCGM, ...HAMI, ...AMD];
