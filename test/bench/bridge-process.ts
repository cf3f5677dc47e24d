import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { childrenOf } from "../helpers/processes.ts";

// A bridge as a process of its own, and what a round costs it. Linux only (/proc).

const WAIT_MS = 600_000;
const TICKS_PER_SECOND = 100;

interface Round {
  total: number;
  successful: number;
  points: number;
  bytes: number;
  duration_seconds: number;
  clusters: { series: number }[];
}

export interface RoundCost extends Pick<Round, "points" | "bytes" | "duration_seconds"> {
  series: number;
  /** User and system time of the bridge and its workers. */
  cpuSeconds: number;
  /** The sum of the processes' peak RSS. */
  peakMb: number;
}

/** Takes every request as stored. */
export async function startCollector(): Promise<{ server: Server; url: string }> {
  const server = createServer((request: IncomingMessage, response) => {
    request.on("error", () => {});
    request.resume().once("end", () => {
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

export async function waitFor<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  for (let waited = 0; waited < WAIT_MS; waited += 100) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(100);
  }
  throw new Error(`${what} did not come in ${WAIT_MS} ms`);
}

export async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGTERM");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

/** Starts a bridge with the environment, collects one round and ends it. Throws unless all clusters were collected. */
export async function measureRound(
  folder: string,
  environment: Record<string, string>,
  nodeOptions: readonly string[] = [],
): Promise<RoundCost> {
  const bridge = spawn(process.execPath, [...nodeOptions, "src/main.ts"], {
    env: {
      PATH: process.env["PATH"],
      ROLE: "bridge",
      SCHEDULER: "dapr",
      PORT: "0",
      DATA_DIR: folder,
      CLUSTER_DEADLINE: "1h",
      COLLECTION_INTERVAL: "1h",
      METRICS_COLLECTION_TIMEOUT: "10m",
      ...environment,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    let log = "";
    bridge.stdout.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-100_000)));
    const url = await waitFor("the bridge", () => /"url":"([^"]+)"/.exec(log)?.[1]);
    const before = costOf(bridge.pid!);
    const answer = await fetch(`${url}/metrics/collect-all?wait=true`, { method: "POST" });
    const { round } = (await answer.json()) as { round: Round };
    const after = costOf(bridge.pid!);
    if (round.successful !== round.total) throw new Error(`not all clusters were collected: ${log}`);
    const { points, bytes, duration_seconds, clusters } = round;
    return {
      points,
      bytes,
      duration_seconds,
      series: clusters.reduce((sum, { series }) => sum + series, 0),
      cpuSeconds: after.cpuSeconds - before.cpuSeconds,
      peakMb: after.peakMb,
    };
  } finally {
    await kill(bridge);
  }
}

export type Cost = Pick<RoundCost, "cpuSeconds" | "peakMb">;

/** Of the process and its workers. */
export function costOf(pid: number): Cost {
  const costs = [pid, ...childrenOf(pid)].map(costOfProcess);
  return {
    cpuSeconds: costs.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    peakMb: costs.reduce((sum, { peakMb }) => sum + peakMb, 0),
  };
}

function costOfProcess(pid: number): Cost {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    peakMb: Number(peak) / 1024,
  };
}
