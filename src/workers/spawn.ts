import { fork } from "node:child_process";
import { closeSync, openSync, readSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { FromWorker } from "./messages.ts";
import type { SpawnWorker } from "./worker.ts";

const ENTRY = fileURLToPath(new URL("../worker.ts", import.meta.url));
const STATUS_BYTES = 4096;
const KIB = 1024;
const MIB = 2 ** 20;
/** Of the resident memory that a worker may have; the rest is for buffers and the program itself. */
const HEAP_SHARE = 0.6;

/**
 * Starts src/worker.ts as a process of its own. `environment` is what its exec plugins see; it must not hold the program's own secrets.
 * The heap is limited as well, so that objects end the worker before its memory has to be looked at.
 */
export function createSpawn(environment: NodeJS.ProcessEnv, memoryMax: number): SpawnWorker {
  const heapMiB = Math.floor((memoryMax * HEAP_SHARE) / MIB);
  return (on) => {
    const child = fork(ENTRY, [], {
      env: environment,
      execArgv: [`--max-old-space-size=${heapMiB}`],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const memory = openStatus(child.pid);
    let hasEnded = false;
    const end = (how: string): void => {
      if (hasEnded) return;
      hasEnded = true;
      memory?.close();
      on.exit(how);
    };
    child.on("message", (message) => on.message(message as FromWorker));
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (child.pid === undefined) end(error.code ?? error.message);
    });
    child.on("exit", (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
    return {
      pid: child.pid,
      send: (message) => {
        // A process that has just ended can't be told anything any more; its exit is reported.
        if (child.connected) child.send(message, () => {});
      },
      kill: () => void child.kill("SIGKILL"),
      rssBytes: () => memory?.rssBytes(),
    };
  };
}

/** VmRSS of /proc/PID/status (proc_pid_status(5)). Undefined where there is no /proc. */
function openStatus(pid: number | undefined): { rssBytes(): number | undefined; close(): void } | undefined {
  if (pid === undefined) return undefined;
  let descriptor: number;
  try {
    descriptor = openSync(`/proc/${pid}/status`, "r");
  } catch {
    return undefined;
  }
  const buffer = Buffer.alloc(STATUS_BYTES);
  return {
    rssBytes: () => {
      try {
        const length = readSync(descriptor, buffer, 0, buffer.length, 0);
        const kib = /^VmRSS:\s+(\d+) kB/m.exec(buffer.toString("latin1", 0, length))?.[1];
        return kib === undefined ? undefined : Number(kib) * KIB;
      } catch {
        // It has ended.
        return undefined;
      }
    },
    close: () => closeSync(descriptor),
  };
}
