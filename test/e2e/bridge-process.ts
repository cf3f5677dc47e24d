import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ClusterProgress } from "#collect/progress.ts";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";
import type { toStretchAnswer } from "#http/completeness-schemas.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";

export type StretchAnswer = ReturnType<typeof toStretchAnswer>;

/** The program in a process of its own, as users run it. */
export interface BridgeProcess {
  /** POST /metrics/collect-all?wait=true */
  collect(): Promise<RoundResult>;
  /** POST /metrics/collect-all */
  collectSoon(): Promise<void>;
  status(): Promise<CollectionStatus>;
  /** GET /metrics/completeness: the stretches that reach into (fromMs, toMs]. */
  stretches(clusterId: string, fromMs: number, toMs: number): Promise<StretchAnswer[]>;
  pid: number;
  /** Its output so far. */
  output(): string;
  hasEnded(): boolean;
  kill(signal: "SIGKILL" | "SIGTERM"): Promise<number | null>;
}

const READY_MS = 180_000;

/** Starts `node src/main.ts` with exactly this environment (and PATH), and waits until it is ready. */
export async function startBridge(
  environment: Record<string, string>,
  port: number,
  headers: Record<string, string> = {},
): Promise<BridgeProcess> {
  const base = `http://127.0.0.1:${port}`;
  const child = run({ ...environment, PORT: String(port) });
  const hasEnded = (): boolean => child.process.exitCode !== null || child.process.signalCode !== null;
  await untilReady(base, child).catch((error: unknown) => {
    child.process.kill("SIGKILL");
    throw error;
  });
  const call = async <T>(method: string, path: string): Promise<T> => {
    const answer = await fetch(`${base}${path}`, { method, headers });
    const body = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${body}`);
    return JSON.parse(body) as T;
  };
  return {
    collect: async () => (await call<{ round: RoundResult }>("POST", "/metrics/collect-all?wait=true")).round,
    collectSoon: async () => void (await call("POST", "/metrics/collect-all")),
    status: () => call("GET", "/metrics/status"),
    stretches: async (cluster, fromMs, toMs) => {
      const [from, to] = [fromMs, toMs].map((ms) => new Date(ms).toISOString()) as [string, string];
      const parameters = new URLSearchParams({ cluster, from, to }).toString();
      const path = `/metrics/completeness?${parameters}`;
      return (await call<{ stretches: StretchAnswer[] }>("GET", path)).stretches;
    },
    pid: child.process.pid!,
    output: () => child.output.join(""),
    hasEnded,
    kill: async (signal) => {
      if (!hasEnded()) {
        const ended = once(child.process, "exit");
        child.process.kill(signal);
        await ended;
      }
      return child.process.exitCode;
    },
  };
}

/** What the bridge that kept its state in this folder, and has ended, recorded of a cluster. */
export async function readProgress(dataDirectory: string, clusterId: string): Promise<ClusterProgress> {
  const store = createSqliteStore({
    path: join(dataDirectory, "state.sqlite"),
    logger: createSilentLogger(),
  });
  try {
    return (await store.get<ClusterProgress>(`progress:${clusterId}`))!.value;
  } finally {
    await store.close();
  }
}

/** Runs the program to its end; throws when its exit code is not 0. */
export async function runToEnd(environment: Record<string, string>): Promise<void> {
  const child = run(environment);
  await once(child.process, "exit");
  if (child.process.exitCode !== 0)
    throw new Error(`exit code ${child.process.exitCode}: ${child.output.join("")}`);
}

function run(environment: Record<string, string>): { process: ChildProcess; output: string[] } {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(process.execPath, ["src/main.ts"], {
    env: { PATH, HOME, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => output.push(text));
  return { process: child, output };
}

async function untilReady(base: string, child: { process: ChildProcess; output: string[] }): Promise<void> {
  const end = Date.now() + READY_MS;
  while (Date.now() < end) {
    if (child.process.exitCode !== null) break;
    const ready = await fetch(`${base}/readyz`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return;
    await delay(100);
  }
  throw new Error(`the bridge did not get ready: ${child.output.join("")}`);
}
