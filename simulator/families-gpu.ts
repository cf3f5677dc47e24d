import type { ClusterLayout } from "./layout.ts";
import { metric } from "./metric.ts";
import { mix, uuidOf } from "./noise.ts";
import type { Label, MetricType, SimulatedMetric } from "./series.ts";
import { constant, counter, gauge } from "./values.ts";
import type { ValueAt } from "./values.ts";

interface GpuSignal {
  name: string;
  type: MetricType;
  help: string;
  value: (hash: number, gpu: number, layout: ClusterLayout, bootedAt: (timeMs: number) => number) => ValueAt;
}

const wave =
  (base: number, swing: number, whole: boolean) =>
  (hash: number): ValueAt =>
    gauge({ hash, base, swing, whole });

const always = (value: number) => (): ValueAt => constant(value);

/** The fourth GPU of a node belongs to a Pod that keeps its memory and does nothing. */
const IDLE_GPU = 3;

/** `busy`, or next to nothing on the GPU that is held in vain. */
const unlessIdle =
  (busy: (hash: number) => ValueAt, idle: number): GpuSignal["value"] =>
  (hash, gpu) =>
    gpu === IDLE_GPU ? constant(idle) : busy(hash);

const SIGNALS: readonly GpuSignal[] = [
  {
    name: "DCGM_FI_DEV_GPU_UTIL",
    type: "gauge",
    help: "GPU utilization (in %).",
    value: unlessIdle(wave(55, 40, true), 0),
  },
  {
    name: "DCGM_FI_DEV_FB_FREE",
    type: "gauge",
    help: "Framebuffer memory free (in MiB).",
    value: wave(60_000, 20_000, true),
  },
  {
    name: "DCGM_FI_DEV_FB_USED",
    type: "gauge",
    help: "Framebuffer memory used (in MiB).",
    value: wave(80_000, 20_000, true),
  },
  {
    name: "DCGM_FI_DEV_GPU_TEMP",
    type: "gauge",
    help: "GPU temperature (in C).",
    value: (hash, gpu, { shape }) =>
      wave(gpu === shape.hotGpu ? 97 : 58, gpu === shape.hotGpu ? 2 : 12, true)(hash),
  },
  {
    name: "DCGM_FI_DEV_POWER_USAGE",
    type: "gauge",
    help: "Power draw (in W).",
    value: wave(420, 200, false),
  },
  {
    name: "DCGM_FI_DEV_SM_CLOCK",
    type: "gauge",
    help: "SM clock frequency (in MHz).",
    value: wave(1500, 400, true),
  },
  {
    name: "DCGM_FI_DEV_MEM_CLOCK",
    type: "gauge",
    help: "Memory clock frequency (in MHz).",
    value: () => constant(2619),
  },
  {
    name: "DCGM_FI_DEV_MEM_COPY_UTIL",
    type: "gauge",
    help: "Memory utilization (in %).",
    value: wave(35, 30, true),
  },
  {
    name: "DCGM_FI_DEV_XID_ERRORS",
    type: "gauge",
    help: "Value of the last XID error encountered.",
    value: (_hash, gpu) => (timeMs) => (gpu === 1 && timeMs % 3_600_000 > 1_800_000 ? 79 : 0),
  },
  {
    name: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    type: "counter",
    help: "Total energy consumption since boot (in mJ).",
    value: (hash, _gpu, _layout, startedAt) => counter({ hash, perSecond: 420_000, startedAt, whole: true }),
  },
  {
    name: "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    type: "gauge",
    help: "Ratio of time the graphics engine is active.",
    value: (hash, gpu, layout) =>
      gpu === 2 && layout.shape.oddities
        ? constant(Number.NaN)
        : unlessIdle(wave(0.5, 0.45, false), 0.004)(hash, gpu, layout, () => 0),
  },
  {
    name: "DCGM_FI_PROF_SM_ACTIVE",
    type: "gauge",
    help: "The ratio of cycles an SM has at least 1 warp assigned.",
    value: unlessIdle(wave(0.45, 0.4, false), 0.002),
  },
  {
    name: "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    type: "gauge",
    help: "Ratio of cycles the tensor (HMMA) pipe is active.",
    value: unlessIdle(wave(0.3, 0.25, false), 0),
  },
  {
    name: "DCGM_FI_PROF_DRAM_ACTIVE",
    type: "gauge",
    help: "Ratio of cycles the device memory interface is active sending or receiving data.",
    value: unlessIdle(wave(0.35, 0.3, false), 0),
  },
  {
    name: "DCGM_FI_PROF_PCIE_TX_BYTES",
    type: "gauge",
    help: "The rate of data transmitted over the PCIe bus in bytes per second.",
    value: wave(2e8, 1e8, true),
  },
  {
    name: "DCGM_FI_PROF_PCIE_RX_BYTES",
    type: "gauge",
    help: "The rate of data received over the PCIe bus in bytes per second.",
    value: wave(4e8, 2e8, true),
  },
  {
    name: "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
    type: "counter",
    help: "Total number of NVLink bandwidth counters for all lanes.",
    value: (hash, _gpu, _layout, startedAt) => counter({ hash, perSecond: 9000, startedAt, whole: true }),
  },
  {
    name: "DCGM_FI_DEV_FB_RESERVED",
    type: "gauge",
    help: "Framebuffer memory reserved (in MiB).",
    value: always(580),
  },
  {
    name: "DCGM_FI_DEV_MEMORY_TEMP",
    type: "gauge",
    help: "Memory temperature (in C).",
    value: wave(62, 10, true),
  },
  {
    name: "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
    type: "gauge",
    help: "Current clock event reasons (bit mask).",
    // Idle, or at its power limit.
    value: (_hash, gpu) => constant(gpu === IDLE_GPU ? 1 : 4),
  },
  {
    name: "DCGM_FI_DEV_THERMAL_VIOLATION",
    type: "counter",
    help: "Throttling duration due to thermal constraints (in us).",
    value: always(0),
  },
  {
    name: "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS",
    type: "counter",
    help: "Number of remapped rows for correctable errors",
    value: always(1),
  },
  {
    name: "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
    type: "counter",
    help: "Number of remapped rows for uncorrectable errors",
    value: always(0),
  },
  {
    name: "DCGM_FI_DEV_ROW_REMAP_FAILURE",
    type: "gauge",
    help: "Whether remapping of rows has failed",
    value: always(0),
  },
  {
    name: "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
    type: "counter",
    help: "Total number of single-bit volatile ECC errors.",
    value: always(2),
  },
  {
    name: "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    type: "counter",
    help: "Total number of double-bit volatile ECC errors.",
    value: always(0),
  },
];

/**
 * The families of dcgm-exporter: labels in capitals, and the pod that uses the GPU, so that series come and go
 * with pods.
 */
export function gpuMetrics(layout: ClusterLayout): SimulatedMetric[] {
  if (layout.shape.gpus === 0) return [];
  return SIGNALS.map(({ name, type, help, value }) =>
    metric(name, type, help, function* (span) {
      for (const [n, node] of layout.nodes.entries()) {
        for (let gpu = 0; gpu < layout.shape.gpus; gpu++) {
          const device: Label[] = [
            ["DCGM_FI_DRIVER_VERSION", "550.54.15"],
            ["Hostname", node.name],
            ["UUID", `GPU-${uuidOf(mix(node.hash, gpu))}`],
            ["device", `nvidia${gpu}`],
            ["gpu", String(gpu)],
            ["modelName", "NVIDIA H200"],
            ["pci_bus_id", `00000000:${(0x18 + gpu).toString(16).toUpperCase()}:00.0`],
          ];
          const part = {
            target: node.dcgm,
            // A counter is the device's own, whichever Pod uses it.
            value: (hash: number) =>
              value(type === "counter" ? mix(node.hash, gpu) : hash, gpu, layout, node.bootedAt),
          };
          let used = false;
          for (const pod of layout.podsOfGpu(n, gpu, span)) {
            used = true;
            const user: Label[] = [
              ["container", pod.container],
              ["namespace", pod.namespace],
              ["pod", pod.name],
            ];
            yield { ...part, labels: [...device, ...user], bornMs: pod.startMs, goneMs: pod.endMs };
          }
          if (!used) yield { ...part, labels: device };
        }
      }
    }),
  );
}
