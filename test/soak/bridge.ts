import { setTimeout as delay } from "node:timers/promises";
import { startBridge, type BridgeProcess } from "../e2e/bridge-process.ts";
import { childrenOf, isRunning, useOf } from "../helpers/processes.ts";
import type { UseSample } from "./resources.ts";

/** The bridge and its workers. After a kill it is another process with the same state; until then, requests to it fail. */
export interface SoakBridge extends Pick<BridgeProcess, "collect" | "status" | "stretches"> {
  /** Kills the main process; returns what starts it again. */
  kill(): Promise<() => Promise<void>>;
  /** Stops all of its processes; returns what lets them go on. */
  pause(): () => void;
  /** Of all of its processes; undefined while it is away. */
  use(): Omit<UseSample, "atMs"> | undefined;
  /** What went wrong: it ended by itself, or a worker outlived a kill. */
  failures: readonly string[];
  /** Ends it with SIGTERM; its exit code. */
  end(): Promise<number | null>;
  /** Leaves nothing of it behind, whatever state it is in. */
  destroy(): Promise<void>;
}

const ORPHAN_MS_MAX = 15_000;
const OUTPUT_CHARS_MAX = 2000;

export async function startSoakBridge(
  environment: Record<string, string>,
  port: number,
): Promise<SoakBridge> {
  const failures: string[] = [];
  let current: BridgeProcess | undefined;
  let readyAt = 0;
  const start = async (): Promise<void> => {
    current = await startBridge(environment, port);
    readyAt = performance.now();
  };
  const running = (): BridgeProcess => {
    if (current) return current;
    throw new Error("the bridge is away");
  };
  const noticeEnd = (): void => {
    if (current?.hasEnded())
      failures.push(`the bridge ended by itself: ${current.output().slice(-OUTPUT_CHARS_MAX)}`);
  };
  await start();
  return {
    kill: async () => {
      noticeEnd();
      const { pid } = running();
      const workers = current?.hasEnded() ? [] : childrenOf(pid);
      await running().kill("SIGKILL");
      current = undefined;
      if (!(await haveEnded(workers))) failures.push(`workers ${workers.join()} outlived the bridge ${pid}`);
      return start;
    },
    pause: () => {
      noticeEnd();
      const { pid } = running();
      const all = [pid, ...childrenOf(pid)];
      for (const each of all) process.kill(each, "SIGSTOP");
      return () => {
        for (const each of all) process.kill(each, "SIGCONT");
      };
    },
    collect: async () => await running().collect(),
    status: async () => await running().status(),
    stretches: async (...request) => await running().stretches(...request),
    use: () => {
      const use = current && useOf(current.pid);
      return use && { ...use, pid: current!.pid, ageMs: performance.now() - readyAt };
    },
    failures,
    end: async () => {
      noticeEnd();
      return await running().kill("SIGTERM");
    },
    destroy: async () => {
      await current?.kill("SIGKILL");
    },
  };
}

async function haveEnded(pids: readonly number[]): Promise<boolean> {
  const until = performance.now() + ORPHAN_MS_MAX;
  while (pids.some(isRunning)) {
    if (performance.now() > until) return false;
    await delay(100);
  }
  return true;
}
