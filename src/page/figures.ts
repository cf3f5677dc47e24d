import type { Gpus, Nodes } from "./api-types.ts";
import { count } from "./format.ts";

export interface Figures {
  nodes: number;
  ready: number;
  /** Cores in use and cores there are, of the nodes that were measured; null: of none. */
  cpuUsed: number | null;
  cpuCores: number | null;
  memoryUsed: number | null;
  memoryTotal: number | null;
  gpus: number;
  gpusHeld: number;
  /** Of these idle for 15 minutes with memory on them. */
  gpusIdle: number;
  gpusFree: number;
  /** Used by nobody who is known, or not measured. */
  gpusOther: number;
}

/** The sum of what was measured; null when nothing was. */
function sum(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((total, value) => total + value, 0);
}

/** The figures of a row, from the answers of /nodes and /gpus. */
export function toFigures({ nodes }: Nodes, { gpu_count: gpus, uses }: Gpus): Figures {
  const byCpu = nodes.filter((node) => node.cpu_cores !== null && node.cpu_usage_percent !== null);
  const byMemory = nodes.filter(
    (node) => node.memory_used_bytes !== null && node.memory_total_bytes !== null,
  );
  return {
    nodes: nodes.length,
    ready: nodes.filter((node) => node.ready === true).length,
    cpuUsed: sum(byCpu.map((node) => ((node.cpu_cores ?? 0) * (node.cpu_usage_percent ?? 0)) / 100)),
    cpuCores: sum(byCpu.map((node) => node.cpu_cores)),
    memoryUsed: sum(byMemory.map((node) => node.memory_used_bytes)),
    memoryTotal: sum(byMemory.map((node) => node.memory_total_bytes)),
    gpus,
    gpusHeld: uses.in_use + uses.idle_held + uses.allocated,
    gpusIdle: uses.idle_held,
    gpusFree: uses.free,
    gpusOther: uses.unattributed + uses.unknown,
  };
}

/** The figures of several clusters together. */
export function addFigures(all: readonly Figures[]): Figures {
  const total = (
    name: "nodes" | "ready" | "gpus" | "gpusHeld" | "gpusIdle" | "gpusFree" | "gpusOther",
  ): number => all.reduce((amount, figures) => amount + figures[name], 0);
  return {
    nodes: total("nodes"),
    ready: total("ready"),
    cpuUsed: sum(all.map((figures) => figures.cpuUsed)),
    cpuCores: sum(all.map((figures) => figures.cpuCores)),
    memoryUsed: sum(all.map((figures) => figures.memoryUsed)),
    memoryTotal: sum(all.map((figures) => figures.memoryTotal)),
    gpus: total("gpus"),
    gpusHeld: total("gpusHeld"),
    gpusIdle: total("gpusIdle"),
    gpusFree: total("gpusFree"),
    gpusOther: total("gpusOther"),
  };
}

/** "14 / 2 / 0", and what is not known if there is any. */
export function gpuText({ gpusHeld, gpusIdle, gpusFree, gpusOther }: Figures): string {
  const other = gpusOther > 0 ? `, ${count(gpusOther)} not known` : "";
  return `${count(gpusHeld)} / ${count(gpusIdle)} / ${count(gpusFree)}${other}`;
}

/** 0 to 100; null when a part is not known. */
export function shareOf(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole === 0 ? null : (100 * part) / whole;
}
