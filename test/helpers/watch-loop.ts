import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { isMainThread } from "node:worker_threads";

/**
 * Preloaded into the program (`node --import`): notes in the file WATCHED_FILE what its process has come to since the last SIGUSR2.
 * `heldMs` is the processor time of the main thread between two ticks of a timer of 10 ms, at most: what the clock says depends on who else
 * uses the machine. `rssBytes` counts its worker processes as well, at most. Linux only. In the workers themselves it does nothing.
 */
const TICK_MS = 10;
const NOTE_TICKS = 10;
const MICROSECONDS = 1000;
const KIB = 1024;

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / MICROSECONDS;
};

function workersRss(): number {
  const threads = readdirSync("/proc/self/task");
  const children = threads.flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, "utf8").split(" ").filter(Boolean),
  );
  return children.reduce((sum, pid) => sum + rssOf(pid), 0);
}

function rssOf(pid: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KIB;
  } catch {
    // It has ended.
    return 0;
  }
}

function watch(file: string): void {
  let worst = { heldMs: 0, rssBytes: 0, ticks: 0 };
  let before = cpuMs();
  const tick = (): void => {
    const now = cpuMs();
    worst.heldMs = Math.max(worst.heldMs, now - before);
    if (worst.ticks % 2 === 0)
      worst.rssBytes = Math.max(worst.rssBytes, process.memoryUsage.rss() + workersRss());
    if (++worst.ticks % NOTE_TICKS === 0) {
      writeFileSync(`${file}.new`, JSON.stringify(worst));
      renameSync(`${file}.new`, file);
    }
    before = cpuMs();
  };
  setInterval(tick, TICK_MS).unref();
  process.on("SIGUSR2", () => {
    worst = { heldMs: 0, rssBytes: 0, ticks: 0 };
  });
}

// Node preloads it in worker threads as well.
if (isMainThread && process.argv[1]?.endsWith("main.ts")) watch(process.env["WATCHED_FILE"]!);
