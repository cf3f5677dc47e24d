/**
 * What a GPU or a part of one is used for.
 * - in_use: a Pod holds it, and it computed in the last 15 minutes.
 * - idle_held: a Pod has held it for 15 minutes and has memory on it, and in all that time its utilization was below 1 %.
 * - allocated: a Pod holds it, and neither is true (its use may be too new, or not measured).
 * - unattributed: something computes or has memory on it, and the exporter names no Pod.
 * - free: no Pod, nothing computes, no memory.
 */
export const GPU_USES = ["in_use", "idle_held", "allocated", "unattributed", "free"] as const;
export type GpuUse = (typeof GPU_USES)[number];

/** How many GPUs are used how; `unknown`: neither utilization nor memory is measured. */
export type GpuUseCounts = Record<GpuUse | "unknown", number>;

/** Below this a GPU counts as idle, %. */
const IDLE_PERCENT = 1;
/** Of its memory, %: drivers keep some for themselves on a GPU that nobody uses. */
const MEMORY_HELD_PERCENT = 1;

export interface ObservedUse {
  /** A Pod holds it now; `heldLong`: one of these held it 15 minutes ago already. */
  isHeld: boolean;
  heldLong: boolean;
  /** %, now; null: not measured. */
  utilization: number | null;
  /** The largest in the last 15 minutes, and the one when they began; undefined: there is none. */
  peak: number | undefined;
  before: number | undefined;
  /** MiB. */
  memoryUsed: number | null;
  memoryTotal: number | null;
}

/** null: neither a Pod nor a measurement says anything. */
export function gpuUseOf(observed: ObservedUse): GpuUse | null {
  const { isHeld, heldLong, utilization, peak = null, before } = observed;
  const hasMemory = isMemoryHeld(observed);
  const computes = (utilization ?? 0) >= IDLE_PERCENT;
  if (!isHeld) {
    if (utilization === null && hasMemory === null) return null;
    return computes || hasMemory === true ? "unattributed" : "free";
  }
  if (computes || (peak ?? 0) >= IDLE_PERCENT) return "in_use";
  const wasIdle = peak !== null && before !== undefined && before < IDLE_PERCENT;
  return wasIdle && heldLong && hasMemory === true ? "idle_held" : "allocated";
}

/** null: not measured. */
function isMemoryHeld({ memoryUsed, memoryTotal }: ObservedUse): boolean | null {
  if (memoryUsed === null) return null;
  return memoryUsed > ((memoryTotal ?? 0) * MEMORY_HELD_PERCENT) / 100;
}

/** Of a partitioned GPU: the busiest use of its parts. */
export function busiest(uses: readonly (GpuUse | null)[]): GpuUse | null {
  return GPU_USES.find((use) => uses.includes(use)) ?? null;
}

export function countUses(uses: readonly (GpuUse | null)[]): GpuUseCounts {
  const counts = { in_use: 0, idle_held: 0, allocated: 0, unattributed: 0, free: 0, unknown: 0 };
  for (const use of uses) counts[use ?? "unknown"]++;
  return counts;
}
