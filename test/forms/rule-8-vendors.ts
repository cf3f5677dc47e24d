import type { FormTable } from "./form.ts";
import { gpu, MIB, node, overruled, series, up, type FormSeries } from "./series.ts";

type Labels = Readonly<Record<string, string>>;
type Values = Readonly<Record<string, number>>;

/** AMD's device-metrics-exporter: metric names in lower case, values by name. */
const amd = (labels: Labels, values: Values): FormSeries[] =>
  Object.entries(values).map(([name, value]) =>
    series(
      name,
      {
        job: "amd-metrics-exporter",
        instance: "10.244.1.8:5000",
        gpu_id: "0",
        gpu_partition_id: "0",
        gpu_compute_partition_type: "spx",
        gpu_memory_partition_type: "nps1",
        card_series: "AMD Instinct MI300X",
        card_model: "",
        hostname: "a",
        ...labels,
      },
      value,
    ),
  );
const MI300X = {
  gpu_gfx_activity: 83,
  gpu_umc_activity: 21,
  gpu_used_vram: 98_304,
  gpu_total_vram: 196_608,
  gpu_free_vram: 98_304,
  gpu_package_power: 610,
  gpu_junction_temperature: 71,
};
const hami = (metric: string, labels: Labels, value: number): FormSeries =>
  series(metric, { job: "hami", instance: "10.244.1.9:9394", zone: "vGPU", ...labels }, value);

/** One table of vendors: the same answers whatever the exporter calls things. */
export const VENDORS: FormTable = {
  rule: "vendors and exporters",
  switches: {
    amd: [["[DCGM, AMD, HAMI, HAMI_LEGACY]", "[DCGM, HAMI, HAMI_LEGACY]"]],
    "not partitioned": [['{ gpu_compute_partition_type: "none" },\n      { gpu_partition_id: "NA" },', ""]],
    hami: [["[DCGM, AMD, HAMI, HAMI_LEGACY]", "[DCGM, AMD, HAMI_LEGACY]"]],
    "hami legacy": [["[DCGM, AMD, HAMI, HAMI_LEGACY]", "[DCGM, AMD, HAMI]"]],
  },
  forms: [
    {
      name: "an AMD MI300X with a Pod",
      source: "https://github.com/ROCm/device-metrics-exporter/pull/211",
      why: "gfx activity, VRAM in MB, package power and junction temperature are the GPU's numbers",
      needs: "amd",
      series: [
        ...node("a", "10.0.0.1"),
        ...amd(
          {
            gpu_uuid: "9fff74b9-0000-1000-8044-4a2fb30adeb0",
            namespace: "ml",
            pod: "resnet",
            container: "main",
          },
          MI300X,
        ),
      ],
      summary: { gpu_count: 1, total_gpu_memory_gb: 192, used_gpu_memory_gb: 96, gpu_power_watts: 610 },
      gpus: {
        "9fff74b9-0000-1000-8044-4a2fb30adeb0": {
          node: "a",
          utilization_percent: 83,
          utilization_source: "gpu_gfx_activity",
          memory_used_mib: 98_304,
          memory_total_mib: 196_608,
          temperature_celsius: 71,
          power_watts: 610,
          pods: [{ namespace: "ml", pod: "resnet", container: "main" }],
        },
      },
    },
    {
      name: "an AMD GPU that can have no partitions",
      source: "https://github.com/ROCm/device-metrics-exporter/issues/135",
      why: "the partition NA of type none is the whole GPU",
      needs: "not partitioned",
      series: [
        ...node("a", "10.0.0.1"),
        ...amd(
          { serial_number: "PCB-9", gpu_partition_id: "NA", gpu_compute_partition_type: "none" },
          MI300X,
        ),
      ],
      gpus: { "PCB-9": { mig_instance: null, utilization_percent: 83, node: "a" } },
    },
    {
      name: "two AMD GPUs without serial number, one with the driver's 65535",
      source: "https://github.com/ROCm/device-metrics-exporter/issues/171",
      why: "gpu_uuid tells them apart; the largest number of 16 bits is no percentage",
      needs: "amd",
      series: [
        ...node("a", "10.0.0.1"),
        ...amd(
          { serial_number: "", gpu_uuid: "17ff74b5-0000", namespace: "", pod: "", container: "" },
          MI300X,
        ),
        ...amd(
          { serial_number: "", gpu_uuid: "27ff74b9-0000", gpu_id: "7" },
          { ...MI300X, gpu_gfx_activity: 65_535 },
        ),
      ],
      summary: { gpu_count: 2, avg_gpu_utilization_percent: 83 },
      gpus: {
        "17ff74b5-0000": { pods: [], utilization_percent: 83 },
        "27ff74b9-0000": { utilization_percent: null },
      },
    },
    {
      name: "HAMi's monitor before 2.9",
      source: "https://github.com/Project-HAMi/HAMi/issues/931",
      why: "HostCoreUtilization and HostGPUMemoryUsage are the device, the scheduler has its size",
      needs: "hami legacy",
      series: [
        ...node("node14-h20", "10.0.0.14"),
        hami(
          "HostCoreUtilization",
          { deviceidx: "1", deviceuuid: "GPU-6ff6801c", nodename: "node14-h20" },
          72,
        ),
        hami(
          "HostGPUMemoryUsage",
          { deviceidx: "1", deviceuuid: "GPU-6ff6801c", nodename: "node14-h20" },
          90_000 * MIB,
        ),
        hami(
          "GPUDeviceMemoryLimit",
          { deviceidx: "1", deviceuuid: "GPU-6ff6801c", nodeid: "node14-h20" },
          97_871 * MIB,
        ),
      ],
      gpus: {
        "GPU-6ff6801c": {
          node: "node14-h20",
          utilization_percent: 72,
          utilization_source: "HostCoreUtilization",
          memory_used_mib: 90_000,
          memory_total_mib: 97_871,
        },
      },
    },
    {
      name: "HAMi's slices before 2.9: two Pods on a GPU",
      source: "https://github.com/Project-HAMi/HAMi/issues/555",
      why: "podnamespace, podname and ctrname are the holder; each slice has its own memory",
      needs: "hami legacy",
      series: [
        ...node("a", "10.0.0.1"),
        hami("HostCoreUtilization", { deviceidx: "0", deviceuuid: "GPU-9ef17446", nodeid: "a" }, 90),
        ...["mistral", "llama"].flatMap((name, i) => {
          const slice = {
            ctrname: "main",
            deviceuuid: "GPU-9ef17446",
            podname: name,
            podnamespace: "default",
            vdeviceid: "0",
          };
          return [
            hami("Device_utilization_desc_of_container", slice, 60 - 30 * i),
            hami("vGPU_device_memory_usage_in_bytes", slice, (4000 + 1000 * i) * MIB),
            hami("vGPU_device_memory_limit_in_bytes", slice, 10_000 * MIB),
          ];
        }),
      ],
      gpus: {
        "GPU-9ef17446": {
          utilization_percent: 90,
          pods: [
            {
              namespace: "default",
              pod: "llama",
              container: "main",
              utilization_percent: 30,
              memory_used_mib: 5000,
              memory_limit_mib: 10_000,
            },
            {
              namespace: "default",
              pod: "mistral",
              container: "main",
              utilization_percent: 60,
              memory_used_mib: 4000,
              memory_limit_mib: 10_000,
            },
          ],
        },
      },
    },
    {
      name: "HAMi's names since 2.9",
      source: "https://github.com/Project-HAMi/website/pull/879",
      why: "device_uuid is the device; namespace, pod and the container's index are the holder",
      needs: "hami",
      series: [
        ...node("a", "10.0.0.1"),
        ...up({ job: "hami", instance: "10.244.1.9:9394" }),
        hami("hami_host_gpu_utilization_ratio", { device_uuid: "GPU-2", device_index: "0", node: "a" }, 55),
        hami(
          "hami_host_gpu_memory_used_bytes",
          { device_uuid: "GPU-2", device_index: "0", node: "a" },
          5120 * MIB,
        ),
        hami(
          "hami_gpu_memory_limit_bytes",
          { device_uuid: "GPU-2", device_index: "0", node: "a" },
          24_576 * MIB,
        ),
      ],
      gpus: {
        "GPU-2": { node: "a", utilization_percent: 55, memory_used_mib: 5120, memory_total_mib: 24_576 },
      },
    },
    {
      name: "HAMi beside dcgm-exporter",
      source: "https://github.com/Project-HAMi/HAMi/issues/410",
      why: "the UUID is the same GPU: its memory counts once",
      needs: "hami legacy",
      series: [
        ...node("a", "10.0.0.1"),
        ...gpu("GPU-903ecef4", {}, { DEV_GPU_UTIL: 30, DEV_FB_USED: 2048, DEV_FB_FREE: 22_528 }),
        hami("HostCoreUtilization", { deviceidx: "0", deviceuuid: "GPU-903ecef4", nodeid: "a" }, 31),
        hami("HostGPUMemoryUsage", { deviceidx: "0", deviceuuid: "GPU-903ecef4", nodeid: "a" }, 2049 * MIB),
        hami(
          "vGPU_device_memory_usage_in_bytes",
          {
            ctrname: "c",
            deviceuuid: "GPU-903ecef4",
            podname: "test",
            podnamespace: "t-maas",
            vdeviceid: "0",
          },
          500 * MIB,
        ),
      ],
      summary: { gpu_count: 1, used_gpu_memory_gb: 2, avg_gpu_utilization_percent: 30 },
      gpus: {
        "GPU-903ecef4": {
          memory_used_mib: 2048,
          pods: [{ namespace: "t-maas", pod: "test", container: "c", memory_used_mib: 500 }],
        },
      },
    },
    {
      name: "AMD's exporter without honor_labels, on a free GPU and a held one",
      source: "https://github.com/ROCm/device-metrics-exporter/pull/219",
      why: "exported_pod is the holder; the free GPU has the exporter's Pod",
      needs: "amd",
      series: [
        ...node("a", "10.0.0.1"),
        ...[
          { gpu_uuid: "one", namespace: "ml", pod: "resnet", container: "main" },
          { gpu_uuid: "two", gpu_id: "1" },
        ].flatMap((labels) =>
          overruled(
            { namespace: "kube-amd-gpu", pod: "metrics-exporter-x", container: "metrics-exporter-container" },
            amd(labels, MI300X),
          ),
        ),
      ],
      gpus: { one: { pods: [{ namespace: "ml", pod: "resnet", container: "main" }] }, two: { pods: [] } },
    },
  ],
};
