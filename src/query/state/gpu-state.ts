import type { GpuQuantity } from "#query/gpu-exporters.ts";
import { firstLabel } from "#query/gpu-metrics.ts";
import { toTimestamp } from "#query/range.ts";
import { growthOf, toClockReasons, toXidError } from "./gpu-events.ts";
import { IDLE_MS } from "./rows.ts";
import { gpuUseOf } from "./gpu-use.ts";
import type { GpuView } from "./gpu-view.ts";
import type { GpuPod, GpuState } from "./gpus.ts";

interface Times {
  fromMs: number;
  asOfMs: number;
  lookbackMs: number;
}

/** What is known of a GPU or a part of one, on a node. */
export function toGpuState(view: GpuView, node: string, times: Times): GpuState {
  const { labels, exporter } = view;
  const { fromMs, asOfMs } = times;
  const sinceMs = asOfMs - times.lookbackMs;
  const measuredMs = view.measuredMs(sinceMs);
  const value = (quantity: GpuQuantity): number | null => view.value(quantity, sinceMs)?.value ?? null;
  const utilization = view.value("utilization", sinceMs);
  const xid = toXidError(view.samples("xid"), fromMs);
  return {
    uuid: firstLabel(labels, exporter.labels.device),
    gpu: firstLabel(labels, exporter.labels.index),
    mig_instance: view.part === "" ? null : view.part,
    mig_profile: view.part === "" ? null : firstLabel(labels, exporter.labels.profile) || null,
    node,
    model: firstLabel(labels, exporter.labels.model),
    pods: toPods(view, sinceMs),
    use: toUse(view, times),
    utilization_percent: utilization?.value ?? null,
    utilization_source: utilization?.metric ?? null,
    tensor_active_percent: value("tensorActive"),
    memory_active_percent: value("memoryActive"),
    ...memoryOf(value),
    memory_copy_utilization_percent: value("copyUtilization"),
    temperature_celsius: value("temperature"),
    memory_temperature_celsius: value("memoryTemperature"),
    slowdown_temperature_celsius: value("slowdownTemperature"),
    power_watts: value("power"),
    sm_clock_mhz: value("clock"),
    clock_reasons: toClockReasons(view.value("clockReasons", sinceMs)?.value),
    thermal_violation: isAbove(growthOf(view.samples("thermalViolation")), 0),
    pcie_transmit_bytes_per_second: value("pcieTransmit"),
    pcie_receive_bytes_per_second: value("pcieReceive"),
    xid_error: xid?.code ?? null,
    xid,
    ecc_uncorrected_errors: value("eccUncorrected"),
    ecc_uncorrected_errors_new: growthOf(view.samples("eccUncorrected")) ?? null,
    remapped_rows: value("remappedUncorrectable"),
    remapped_rows_new: growthOf(view.samples("remappedUncorrectable")) ?? null,
    row_remap_failure: isAbove(view.value("remapFailure", sinceMs)?.value, 0),
    last_sample: toTimestamp(measuredMs),
    age_seconds: (asOfMs - measuredMs) / 1000,
  };
}

type MemoryFields = Pick<GpuState, "memory_used_mib" | "memory_total_mib" | "memory_reserved_mib">;

function memoryOf(value: (quantity: GpuQuantity) => number | null): MemoryFields {
  const [used, free, total] = [value("memoryUsed"), value("memoryFree"), value("memoryTotal")];
  const both = used === null || free === null ? null : used + free;
  return {
    memory_used_mib: used,
    memory_total_mib: both ?? total,
    memory_reserved_mib: value("memoryReserved"),
  };
}

function toPods(view: GpuView, sinceMs: number): GpuPod[] {
  return view.holders.map((holder) => ({
    ...holder,
    utilization_percent:
      view.share({ slice: "sliceUtilization", device: "utilization" }, holder, sinceMs) ?? null,
    memory_used_mib: view.share({ slice: "sliceMemoryUsed", device: "memoryUsed" }, holder, sinceMs) ?? null,
    memory_limit_mib: view.share({ slice: "sliceMemoryLimit" }, holder, sinceMs) ?? null,
  }));
}

function toUse(view: GpuView, { asOfMs, lookbackMs }: Times): GpuState["use"] {
  const sinceMs = asOfMs - lookbackMs;
  const value = (quantity: GpuQuantity): number | null => view.value(quantity, sinceMs)?.value ?? null;
  const { memory_used_mib, memory_total_mib } = memoryOf(value);
  const utilization = view.value("utilization", sinceMs);
  const range = utilization === undefined ? undefined : view.range(utilization);
  return gpuUseOf({
    isHeld: view.holders.length > 0,
    heldLong: view.isHeldSince(asOfMs - IDLE_MS),
    utilization: utilization?.value ?? null,
    peak: range?.peak,
    before: range?.before,
    memoryUsed: memory_used_mib,
    memoryTotal: memory_total_mib,
  });
}

function isAbove(value: number | undefined, limit: number): boolean | null {
  return value === undefined ? null : value > limit;
}
