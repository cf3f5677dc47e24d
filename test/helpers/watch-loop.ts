import { renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { isMainThread } from "node:worker_threads";

/**
 * Preloaded into the program (`node --import`): notes in the file WATCHED_FILE what its process has come to since the last SIGUSR2.
 * `heldMs` is the processor time of the main thread between two ticks of a timer of 10 ms, at most: what the clock says depends on who else
 * uses the machine.
 */
const TICK_MS = 10;
const NOTE_TICKS = 10;
const MICROSECONDS = 1000;

const file = process.env["WATCHED_FILE"]!;
let worst = { heldMs: 0, rssBytes: 0, ticks: 0 };

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / MICROSECONDS;
};

let before = cpuMs();
const tick = (): void => {
  const now = cpuMs();
  worst.heldMs = Math.max(worst.heldMs, now - before);
  worst.rssBytes = Math.max(worst.rssBytes, process.memoryUsage.rss());
  if (++worst.ticks % NOTE_TICKS === 0) {
    writeFileSync(`${file}.new`, JSON.stringify(worst));
    renameSync(`${file}.new`, file);
  }
  before = cpuMs();
};
// Node preloads it in worker threads as well.
if (isMainThread) {
  setInterval(tick, TICK_MS).unref();
  process.on("SIGUSR2", () => {
    worst = { heldMs: 0, rssBytes: 0, ticks: 0 };
  });
}
