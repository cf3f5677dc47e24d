import { existsSync, readdirSync, readFileSync } from "node:fs";

// What Linux says of processes (proc(5)).

/** Of a process and those that it started. */
export interface ProcessUse {
  rssBytes: number;
  /** Open descriptors. */
  descriptors: number;
}

const KIB = 1024;

/** The ids of the processes that a process started and that run. Throws when it has ended. */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number),
  );
}

/** Undefined when one of them ended meanwhile. */
export function useOf(pid: number): ProcessUse | undefined {
  try {
    const all = [pid, ...childrenOf(pid)].map((each) => ({
      kib: Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${each}/status`, "utf8"))![1]),
      descriptors: readdirSync(`/proc/${each}/fd`).length,
    }));
    return {
      rssBytes: all.reduce((sum, { kib }) => sum + kib * KIB, 0),
      descriptors: all.reduce((sum, { descriptors }) => sum + descriptors, 0),
    };
  } catch {
    return undefined;
  }
}

/** A process that ended and that nobody waited for counts as running. */
export function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
