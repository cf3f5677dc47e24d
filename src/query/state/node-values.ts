import type { DeviceGrid, NodeGrids } from "./node-grids.ts";

/** The used part of a total. */
export interface Share {
  used: number;
  total: number;
}

/** CPU time at a time of the grid, in seconds a second: everything but mode idle is used. */
export function cpuShare(node: NodeGrids, i: number): Share | null {
  const idle = node.cpuIdle[i] ?? null;
  const all = node.cpuAll[i] ?? null;
  return idle === null || all === null ? null : { used: all - idle, total: all };
}

/** Bytes. Kernels before 3.14 have no MemAvailable: there it is the sum of free memory, buffers and cache. */
export function memoryShare(node: NodeGrids, i: number): Share | null {
  const at = (field: string): number | null => node.gauges.get(`node_memory_${field}_bytes`)?.[i] ?? null;
  const total = at("MemTotal");
  const parts = [at("MemFree"), at("Buffers"), at("Cached")];
  const free = parts.every((part) => part !== null) ? parts.reduce((sum, part) => sum + part, 0) : null;
  const available = at("MemAvailable") ?? free;
  return total === null || available === null ? null : { used: total - available, total };
}

/** Bytes. What is reserved for root counts as used. */
export function deviceShare(device: DeviceGrid, i: number): Share | null {
  const size = device.size[i] ?? null;
  const available = device.available[i] ?? null;
  return size === null || available === null ? null : { used: size - available, total: size };
}

/** All disks of a node. */
export function diskShare(node: NodeGrids, i: number): Share | null {
  return sumShares(node.devices.map((device) => deviceShare(device, i)));
}

export function load(node: NodeGrids, minutes: 1 | 5 | 15, i: number): number | null {
  return node.gauges.get(`node_load${minutes}`)?.[i] ?? null;
}

/** null when there is nothing to add. */
export function sumShares(shares: readonly (Share | null)[]): Share | null {
  const present = shares.filter((share) => share !== null);
  if (present.length === 0) return null;
  return {
    used: present.reduce((sum, share) => sum + share.used, 0),
    total: present.reduce((sum, share) => sum + share.total, 0),
  };
}

export function percent(share: Share | null): number | null {
  if (share === null || share.total <= 0) return null;
  const value = (100 * share.used) / share.total;
  return Number.isFinite(value) ? value : null;
}

export function mean(values: readonly (number | null)[]): number | null {
  const present = values.filter((value) => value !== null);
  return present.length === 0 ? null : present.reduce((sum, value) => sum + value, 0) / present.length;
}

export function largest(values: readonly (number | null)[]): number | null {
  return values.reduce(
    (most, value) => (most === null || (value !== null && value > most) ? value : most),
    null,
  );
}
