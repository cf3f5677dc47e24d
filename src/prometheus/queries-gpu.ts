import type { QuerySpec } from "./query-spec.ts";

const gpu = (name: string, unit = ""): QuerySpec => ({ name, promql: name, group: "gpu", unit });

/** NVIDIA's DCGM exporter. Units: its default-counters.csv. A cluster without GPUs has none of these. */
export const GPU_QUERIES: readonly QuerySpec[] = [
  gpu("DCGM_FI_DEV_GPU_UTIL", "%"),
  gpu("DCGM_FI_DEV_FB_FREE", "MiBy"),
  gpu("DCGM_FI_DEV_FB_USED", "MiBy"),
  gpu("DCGM_FI_DEV_GPU_TEMP", "Cel"),
  gpu("DCGM_FI_DEV_POWER_USAGE", "W"),
  gpu("DCGM_FI_DEV_SM_CLOCK", "MHz"),
  gpu("DCGM_FI_DEV_MEM_CLOCK", "MHz"),
  gpu("DCGM_FI_DEV_MEM_COPY_UTIL", "%"),
  gpu("DCGM_FI_DEV_XID_ERRORS"),
  gpu("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ"),
  gpu("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "1"),
];
