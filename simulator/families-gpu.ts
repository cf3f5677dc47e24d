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

const SIGNALS: readonly GpuSignal[] = [
  { name: "DCGM_FI_DEV_GPU_UTIL", type: "gauge", help: "GPU utilization (in %).", value: wave(55, 40, true) },
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
  { name: "DCGM_FI_DEV_GPU_TEMP", type: "gauge", help: "GPU temperature (in C).", value: wave(58, 12, true) },
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
    value: (hash, gpu, { shape }) =>
      gpu === 2 && shape.oddities ? constant(Number.NaN) : gauge({ hash, base: 0.5, swing: 0.45 }),
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
            value: (hash: number) => value(hash, gpu, layout, node.bootedAt),
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
