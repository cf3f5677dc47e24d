import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { onTestFinished } from "vitest";
import type { CollectionStatus, RoundResult } from "#collect/status.ts";

/** The program in a process of its own, as users run it. */
export interface BridgeChild {
  /** Resolves when it listens. Rejects when it ends before. */
  url: Promise<string>;
  /** Everything that it wrote so far. */
  stdout(): string;
  stderr(): string;
  pid: number;
  /** Process ids of its workers. Linux only. */
  workers(): number[];
  signal(signal: NodeJS.Signals): void;
  /** Its exit code; null when a signal ended it. */
  ended: Promise<number | null>;
  /** POST /metrics/collect-all?wait=true; rejects when it ends before it answers. */
  collect(): Promise<RoundResult>;
  status(): Promise<CollectionStatus>;
}

export interface ChildOptions {
  /** Called with what ends the process for good. Default: at the end of the test. */
  atEnd?: (kill: () => Promise<void>) => void;
  /** A command that runs the one behind it, for example as another user. */
  wrapper?: readonly string[];
}

/** The variables of every start: vitest.config.ts says where compiled code is kept. */
const BASE = {
  PATH: process.env["PATH"] ?? "",
  NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? "",
};

/** Starts `node src/main.ts` with these arguments and exactly this environment (and PATH and NODE_COMPILE_CACHE). It does not outlive the test. */
export function startBridgeChild(
  environment: Record<string, string>,
  args: string[] = [],
  { atEnd = onTestFinished, wrapper = [] }: ChildOptions = {},
): BridgeChild {
  const [command = "", ...rest] = [...wrapper, process.execPath, "src/main.ts", ...args];
  const child = spawn(command, rest, {
    env: { ...BASE, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const written = { stdout: "", stderr: "" };
  const ended = once(child, "close").then(() => child.exitCode);
  atEnd(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const url = new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      written.stdout += text;
      const line = written.stdout.split("\n").find((each) => each.includes('"msg":"listening"'));
      if (line) resolve((JSON.parse(line) as { url: string }).url);
    });
    void ended.then((code) => reject(new Error(`ended with ${code}: ${written.stdout}${written.stderr}`)));
  });
  // Without this, a caller that does not wait for it gets an unhandled rejection.
  url.catch(() => {});
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written.stderr += text));
  const call = async <T>(method: string, path: string): Promise<T> => {
    const answer = await fetch(`${await url}${path}`, { method });
    const body = await answer.text();
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${body}`);
    return JSON.parse(body) as T;
  };
  return {
    url,
    ended,
    stdout: () => written.stdout,
    stderr: () => written.stderr,
    pid: child.pid ?? 0,
    workers: () =>
      readdirSync(`/proc/${child.pid}/task`).flatMap((task) =>
        readFileSync(`/proc/${child.pid}/task/${task}/children`, "utf8")
          .split(" ")
          .filter(Boolean)
          .map(Number),
      ),
    signal: (signal) => void child.kill(signal),
    collect: async () => (await call<{ round: RoundResult }>("POST", "/metrics/collect-all?wait=true")).round,
    status: () => call("GET", "/metrics/status"),
  };
}

/** Runs the program to its end: its exit code and what it wrote. Killed after 20 s. */
export async function runBridge(
  environment: Record<string, string>,
  args: string[] = [],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const env = { ...BASE, ...environment };
  return await new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ["src/main.ts", ...args],
      { env, timeout: 20_000, killSignal: "SIGKILL" },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}
