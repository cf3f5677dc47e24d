/** What the answers about GPUs are made of, with the unit of the answers. */
export type GpuQuantity =
  /** % of the time or of the cycles in which the GPU computed. */
  | "utilization"
  /** % of the time in which memory was read or written. */
  | "copyUtilization"
  /** % of the cycles in which the tensor cores computed. */
  | "tensorActive"
  /** % of the cycles in which the memory was busy. */
  | "memoryActive"
  /** MiB. What the driver reserves is in none of used, free and total. */
  | "memoryUsed"
  | "memoryFree"
  | "memoryTotal"
  | "memoryReserved"
  /** °C. */
  | "temperature"
  | "memoryTemperature"
  /** °C: from here on the GPU lowers its clock. */
  | "slowdownTemperature"
  /** W. */
  | "power"
  /** J, a counter. */
  | "energy"
  /** MHz. */
  | "clock"
  /** The code of the last error; 0: none. */
  | "xid"
  /** NVML's bit mask of the reasons why the clock is lower. */
  | "clockReasons"
  /** A counter of the time that the GPU was slower because of its temperature; its unit differs between versions. */
  | "thermalViolation"
  /** Counters. */
  | "eccCorrected"
  | "eccUncorrected"
  | "remappedCorrectable"
  | "remappedUncorrectable"
  /** 1: a row could not be remapped. */
  | "remapFailure"
  /** Bytes a second. */
  | "pcieTransmit"
  | "pcieReceive"
  /** Of the share (slice) of a GPU that one container may use: %, MiB, MiB, %. */
  | "sliceUtilization"
  | "sliceMemoryUsed"
  | "sliceMemoryLimit"
  | "sliceCores";

/** A metric of a quantity. */
export interface GpuMetric {
  name: string;
  /** The number of the sample times this has the quantity's unit. Default: 1. */
  factor?: number;
  /** Only series with these labels. */
  only?: Readonly<Record<string, string>>;
  /** The exporter has no such number of a partitioned GPU and its parts: some versions then say 0. */
  unpartitioned?: true;
  /** A number that means "not measured", besides those of every exporter (isBlankNumber). */
  blank?: number;
  /** No exporter has it unless it is configured to, and the built-in catalogue does not collect it. */
  optional?: true;
}

/** How an exporter of GPU metrics names things. */
export interface GpuExporter {
  name: string;
  /** The metric names with these first letters are the exporter's. Without them only the names of `metrics`. */
  prefixes: readonly string[];
  /** Of each quantity, the first metric that has a value counts. */
  metrics: Partial<Record<GpuQuantity, readonly GpuMetric[]>>;
  /** Of each list, the first label that a series has counts. */
  labels: {
    device: readonly string[];
    /** A part of a partitioned GPU; empty for a whole one. */
    part: readonly string[];
    /** The labels of one of these together say that a GPU has no parts, whatever `part` says. */
    whole?: readonly Readonly<Record<string, string>>[];
    profile: readonly string[];
    /** The GPU's number on its node. */
    index: readonly string[];
    model: readonly string[];
    /** The node, where the exporter names it. */
    nodes: readonly string[];
    /** The Pod that holds the GPU, where the names are not Kubernetes' own (namespace, pod, container). */
    holder?: { namespace: string; pod: string; container: string };
    /** Labels that describe the GPU, its Pod or a single sample; they are no part of the series' source. */
    detail: readonly string[];
  };
  /** One of these is in the name of the exporter's own container, which never uses a GPU. */
  containers: readonly string[];
}

const fraction = (name: string): GpuMetric => ({ name, factor: 100 });
const inBytes = (name: string): GpuMetric => ({ name, factor: 1 / 2 ** 20 });
const u16 = (name: string): GpuMetric => ({ name, blank: 65_535 });

/**
 * NVIDIA's dcgm-exporter: etc/default-counters.csv and docs of NVIDIA/dcgm-exporter. DCGM_FI_DEV_GPU_UTIL only says that some kernel ran, which is why the
 * profiling metrics come first (NVIDIA's DCGM user guide, "Profiling Metrics"); MIG has no GPU_UTIL (dcgm-exporter#216, #397, #430).
 */
const DCGM: GpuExporter = {
  name: "dcgm-exporter",
  prefixes: ["DCGM_"],
  metrics: {
    utilization: [
      fraction("DCGM_FI_PROF_SM_ACTIVE"),
      fraction("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
      { name: "DCGM_FI_DEV_GPU_UTIL", unpartitioned: true },
    ],
    copyUtilization: [{ name: "DCGM_FI_DEV_MEM_COPY_UTIL" }],
    tensorActive: [fraction("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")],
    memoryActive: [fraction("DCGM_FI_PROF_DRAM_ACTIVE")],
    memoryUsed: [{ name: "DCGM_FI_DEV_FB_USED" }],
    memoryFree: [{ name: "DCGM_FI_DEV_FB_FREE" }],
    memoryReserved: [{ name: "DCGM_FI_DEV_FB_RESERVED" }],
    temperature: [{ name: "DCGM_FI_DEV_GPU_TEMP" }],
    memoryTemperature: [{ name: "DCGM_FI_DEV_MEMORY_TEMP" }],
    slowdownTemperature: [{ name: "DCGM_FI_DEV_SLOWDOWN_TEMP", optional: true }],
    power: [{ name: "DCGM_FI_DEV_POWER_USAGE" }],
    energy: [{ name: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", factor: 1e-3 }],
    clock: [{ name: "DCGM_FI_DEV_SM_CLOCK" }],
    xid: [{ name: "DCGM_FI_DEV_XID_ERRORS" }],
    // The second is its name before DCGM 3.3.
    clockReasons: [
      { name: "DCGM_FI_DEV_CLOCKS_EVENT_REASONS" },
      { name: "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", optional: true },
    ],
    thermalViolation: [{ name: "DCGM_FI_DEV_THERMAL_VIOLATION" }],
    eccCorrected: [{ name: "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL" }],
    eccUncorrected: [{ name: "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL" }],
    remappedCorrectable: [{ name: "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS" }],
    remappedUncorrectable: [{ name: "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS" }],
    remapFailure: [{ name: "DCGM_FI_DEV_ROW_REMAP_FAILURE" }],
    pcieTransmit: [{ name: "DCGM_FI_PROF_PCIE_TX_BYTES" }],
    pcieReceive: [{ name: "DCGM_FI_PROF_PCIE_RX_BYTES" }],
  },
  labels: {
    // `uuid` in versions with the metric names of 1.x.
    device: ["UUID", "uuid"],
    part: ["GPU_I_ID"],
    profile: ["GPU_I_PROFILE"],
    index: ["gpu"],
    model: ["modelName"],
    // `hostname` in newer versions (dcgm-exporter#655).
    nodes: ["Hostname", "hostname"],
    detail: [
      "device",
      "pci_bus_id",
      "DCGM_FI_DRIVER_VERSION",
      "err_code",
      "err_msg",
      "vgpu",
      "hpc_job",
      "pod_uid",
      "dra_claim_name",
      "dra_claim_namespace",
      "dra_driver_name",
      "dra_pool_name",
      "dra_device_name",
      "dra_mig_profile",
      "dra_mig_device_uuid",
    ],
  },
  containers: ["dcgm-exporter"],
};

/**
 * AMD's device-metrics-exporter: docs/configuration/metricslist.md of ROCm/device-metrics-exporter; exposed in lower case. A value that the driver does not have may leak as the
 * largest number of 16 bits (its #662).
 */
const AMD: GpuExporter = {
  name: "device-metrics-exporter",
  prefixes: [],
  metrics: {
    utilization: [{ name: "gpu_prof_sm_active", optional: true }, u16("gpu_gfx_activity")],
    copyUtilization: [u16("gpu_umc_activity")],
    tensorActive: [{ name: "gpu_prof_tensor_active_percent", optional: true }],
    memoryUsed: [{ name: "gpu_used_vram" }],
    memoryFree: [{ name: "gpu_free_vram" }],
    memoryTotal: [{ name: "gpu_total_vram" }],
    temperature: [u16("gpu_junction_temperature"), u16("gpu_edge_temperature")],
    memoryTemperature: [u16("gpu_memory_temperature")],
    power: [u16("gpu_package_power"), u16("gpu_average_package_power"), u16("gpu_power_usage")],
    energy: [{ name: "gpu_energy_consumed", factor: 1e-6 }],
    clock: [{ ...u16("gpu_clock"), only: { clock_type: "system" } }],
    eccCorrected: [{ name: "gpu_ecc_correct_total" }],
    eccUncorrected: [{ name: "gpu_ecc_uncorrect_total" }],
  },
  labels: {
    device: ["serial_number", "gpu_uuid"],
    part: ["gpu_partition_id"],
    // Partitioning that the GPU does not have: type "none" and ID "NA" (ROCm/device-metrics-exporter#135).
    whole: [
      { gpu_compute_partition_type: "spx" },
      { gpu_compute_partition_type: "none" },
      { gpu_partition_id: "NA" },
    ],
    profile: ["gpu_compute_partition_type"],
    index: ["gpu_id"],
    model: ["card_series", "card_model"],
    nodes: ["hostname"],
    detail: [
      "card_vendor",
      "driver_version",
      "vbios_version",
      "gpu_memory_partition_type",
      "clock_index",
      "clock_type",
      "job_id",
      "job_user",
      "job_partition",
    ],
  },
  containers: ["metrics-exporter"],
};

/**
 * HAMi: cmd/vGPUmonitor/metrics.go and cmd/scheduler/metrics.go of Project-HAMi/HAMi; its devices have NVIDIA's UUIDs. Utilization is in percent, whatever the
 * names say.
 */
const HAMI: GpuExporter = {
  name: "HAMi",
  prefixes: ["hami_"],
  metrics: {
    utilization: [{ name: "hami_host_gpu_utilization_ratio" }],
    memoryUsed: [inBytes("hami_host_gpu_memory_used_bytes")],
    memoryTotal: [inBytes("hami_gpu_memory_limit_bytes")],
    sliceUtilization: [{ name: "hami_container_device_utilization_ratio" }],
    sliceMemoryUsed: [inBytes("hami_vgpu_memory_used_bytes")],
    sliceMemoryLimit: [inBytes("hami_vgpu_memory_limit_bytes"), inBytes("hami_vgpu_memory_allocated_bytes")],
    sliceCores: [{ name: "hami_vgpu_core_allocated_ratio" }],
  },
  labels: {
    device: ["device_uuid"],
    part: [],
    profile: [],
    index: ["device_index"],
    model: ["device_type"],
    nodes: ["node"],
    detail: ["vdevice_index", "container_index", "device_cores", "total_core", "zone"],
  },
  containers: ["vgpu-monitor", "vgpu-scheduler"],
};

/** HAMi's names before 2.9, and with `--legacy-metrics`. */
const HAMI_LEGACY: GpuExporter = {
  name: "HAMi (legacy names)",
  prefixes: [],
  metrics: {
    utilization: [{ name: "HostCoreUtilization" }],
    memoryUsed: [inBytes("HostGPUMemoryUsage")],
    memoryTotal: [inBytes("GPUDeviceMemoryLimit")],
    sliceUtilization: [{ name: "Device_utilization_desc_of_container" }],
    sliceMemoryUsed: [inBytes("vGPU_device_memory_usage_in_bytes")],
    sliceMemoryLimit: [
      inBytes("vGPU_device_memory_limit_in_bytes"),
      { ...inBytes("vGPUMemoryAllocated"), optional: true },
    ],
    sliceCores: [{ name: "vGPUCoreAllocated", optional: true }],
  },
  labels: {
    device: ["deviceuuid"],
    part: [],
    profile: [],
    index: ["deviceidx"],
    model: ["devicetype"],
    nodes: ["nodeid", "nodename"],
    holder: { namespace: "podnamespace", pod: "podname", container: "ctrname" },
    detail: ["vdeviceid", "containeridx", "devicecores", "zone"],
  },
  containers: ["vgpu-monitor", "vgpu-scheduler"],
};

/**
 * All exporters of GPU metrics. Only this file has their names: another vendor is one more entry, and its metrics in src/prometheus/queries-gpu.ts. Where several
 * exporters measure one device, the first that has a number counts.
 */
export const GPU_EXPORTERS: readonly GpuExporter[] = [DCGM, AMD, HAMI, HAMI_LEGACY];
