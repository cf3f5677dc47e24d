import { toTimestamp } from "#query/range.ts";
import { xidAdvice } from "#query/xid-catalogue.ts";
import type { UsageRow } from "./usage-sql.ts";

/** New XID errors of one code. */
interface XidUsage {
  code: number;
  description: string | null;
  /** The immediate action of NVIDIA's Xid catalogue. */
  action: string;
  count: number;
  first: string;
  last: string;
}

/** What was done with GPUs in a range. GPU-hours: one GPU for an hour; a part of one counts as its share. */
export interface GpuUsageTotals {
  /** GPUs that had samples. */
  gpus: number;
  /** Measured. */
  gpu_hours: number;
  /** A Pod held it. */
  held_gpu_hours: number;
  /** Utilization of 1 % or more. null: utilization is not measured. */
  active_gpu_hours: number | null;
  /** Held, with memory, and below 1 % for at least 15 minutes. */
  idle_held_gpu_hours: number | null;
  energy_kwh: number | null;
  /** The energy counter, or power over time. */
  energy_source: "counter" | "power" | "both" | null;
  /** Its clock was lower because of heat or a lack of power. */
  throttled_gpu_hours: number;
  /** Above its slowdown temperature, or the threshold of health. */
  hot_gpu_hours: number;
  xids: XidUsage[];
}

/** A sum under way. */
export interface Totals {
  devices: Set<string>;
  seconds: number;
  held: number;
  known: number;
  active: number;
  idle: number;
  throttled: number;
  hot: number;
  joules: number;
  byCounter: boolean;
  byPower: boolean;
  xids: Map<number, { count: number; firstMs: number; lastMs: number }>;
}

const JOULES_PER_KWH = 3_600_000;

export function createTotals(): Totals {
  return {
    devices: new Set(),
    seconds: 0,
    held: 0,
    known: 0,
    active: 0,
    idle: 0,
    throttled: 0,
    hot: 0,
    joules: 0,
    byCounter: false,
    byPower: false,
    xids: new Map(),
  };
}

/** `share`: the part of the row's GPU-time that counts here. Errors are not divided. */
export function addRow(totals: Totals, row: UsageRow, share: number): void {
  totals.devices.add(row.device);
  totals.seconds += row.seconds * share;
  if (row.holders.length > 0) totals.held += row.seconds * share;
  totals.known += row.known_seconds * share;
  totals.active += row.active_seconds * share;
  totals.idle += row.idle_seconds * share;
  totals.throttled += row.throttled_seconds * share;
  totals.hot += row.hot_seconds * share;
  totals.joules += (row.energy_joules ?? row.power_joules ?? 0) * share;
  totals.byCounter ||= row.energy_joules !== null;
  totals.byPower ||= row.energy_joules === null && row.power_joules !== null;
  for (const [i, code] of row.xid_codes.entries()) {
    const atMs = Number(row.xid_ms[i]);
    const known = totals.xids.get(code) ?? { count: 0, firstMs: atMs, lastMs: atMs };
    totals.xids.set(code, {
      count: known.count + 1,
      firstMs: Math.min(known.firstMs, atMs),
      lastMs: Math.max(known.lastMs, atMs),
    });
  }
}

export function toTotals(totals: Totals): GpuUsageTotals {
  const hours = (seconds: number): number => seconds / 3600;
  const { byCounter, byPower } = totals;
  const xids = [...totals.xids].map(([code, { count, firstMs, lastMs }]) => {
    const { description, action } = xidAdvice(code);
    return { code, description, action, count, first: toTimestamp(firstMs), last: toTimestamp(lastMs) };
  });
  return {
    gpus: totals.devices.size,
    gpu_hours: hours(totals.seconds),
    held_gpu_hours: hours(totals.held),
    active_gpu_hours: totals.known === 0 ? null : hours(totals.active),
    idle_held_gpu_hours: totals.known === 0 ? null : hours(totals.idle),
    energy_kwh: byCounter || byPower ? totals.joules / JOULES_PER_KWH : null,
    energy_source: byCounter && byPower ? "both" : byCounter ? "counter" : byPower ? "power" : null,
    throttled_gpu_hours: hours(totals.throttled),
    hot_gpu_hours: hours(totals.hot),
    xids: xids.sort((a, b) => a.code - b.code),
  };
}
