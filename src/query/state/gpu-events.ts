import { xidAdvice } from "#query/xid-catalogue.ts";
import { toTimestamp } from "#query/range.ts";
import type { GpuSample } from "./gpu-rows.ts";

/** The last XID error of a GPU. */
export interface XidError {
  code: number;
  description: string | null;
  /** The immediate action of NVIDIA's Xid catalogue, as RESTART_APP or RESET_GPU. */
  action: string;
  /** It came in the window. false: the metric has shown it since before; it keeps its last error until the exporter starts again. */
  is_new: boolean;
  /** When it came; of an error that is not new, the oldest sample that was read, which is older than the window. */
  since: string;
}

/** `samples`: one of each series and code, 0 among them. null: there was no error in the window. */
export function toXidError(samples: readonly GpuSample[], fromMs: number): XidError | null {
  const errors = samples.filter(({ latest, atMs }) => latest !== 0 && atMs > fromMs);
  const last = errors.toSorted((a, b) => b.atMs - a.atMs)[0];
  if (last === undefined) return null;
  const code = last.latest;
  const ofCode = samples.filter(({ latest }) => latest === code);
  const firstMs = Math.min(...ofCode.map((sample) => sample.firstMs));
  // What the metric said last before this error: it came after that.
  const others = samples.filter(({ latest, atMs }) => latest !== code && atMs < last.atMs);
  const sinceMs = Math.max(firstMs, ...others.map(({ atMs }) => atMs));
  const { action, description } = xidAdvice(code);
  return { code, description, action, is_new: sinceMs > fromMs, since: toTimestamp(sinceMs) };
}

/** How much a counter grew in the window, over all series that it had: from the newest sample of before it, else from the first. undefined: there is none. A reset counts from 0. */
export function growthOf(samples: readonly GpuSample[]): number | undefined {
  const newest = samples.toSorted((a, b) => b.atMs - a.atMs)[0];
  const oldest = samples.toSorted((a, b) => a.firstMs - b.firstMs)[0];
  if (newest === undefined || oldest === undefined) return undefined;
  const begun = samples.filter(({ before }) => before !== undefined).toSorted((a, b) => b.atMs - a.atMs)[0];
  const from = begun?.before ?? oldest.first;
  return newest.latest >= from ? newest.latest - from : newest.latest;
}

/** Bits of NVML's clock event reasons (nvml.h, nvmlClocksEventReasons) that slow a GPU down; the others are settings, or say that it has nothing to do. */
const CLOCK_REASONS = [
  [0x4, "sw_power_cap"],
  [0x8, "hw_slowdown"],
  [0x20, "sw_thermal_slowdown"],
  [0x40, "hw_thermal_slowdown"],
  [0x80, "hw_power_brake_slowdown"],
] as const;
/** The normal state of a GPU with much to do. */
const NORMAL_REASONS: readonly string[] = ["sw_power_cap"];

/** null: not measured. */
export function toClockReasons(mask: number | undefined): string[] | null {
  if (mask === undefined) return null;
  const bits = BigInt(Math.trunc(mask));
  return CLOCK_REASONS.filter(([bit]) => (bits & BigInt(bit)) !== 0n).map(([, name]) => name);
}

/** The reasons for which somebody should look at the GPU: heat, and a lack of power. */
export function alarmingReasons(reasons: readonly string[] | null): string[] {
  return (reasons ?? []).filter((reason) => !NORMAL_REASONS.includes(reason));
}
