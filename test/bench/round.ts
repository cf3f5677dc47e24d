import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { childrenOf } from "../helpers/processes.ts";

// CPU and memory of a bridge: ROLE=bridge as a process of its own, collecting simulated clusters over real TLS and port-forwards, for rounds of five minutes.
// The figures of docs/operations.md ("Sizing"). The simulator shares the machine, so the wall clock says little; processor time and memory are those
// of the bridge and its workers. Linux only (/proc).

const SIZES =
  process.env["BENCH_QUICK"] === "1"
    ? [{ clusters: 3, pods: 50 }]
    : [
        { clusters: 10, pods: 50 },
        { clusters: 50, pods: 50 },
        { clusters: 10, pods: 500 },
        { clusters: 1, pods: 5000 },
      ];
const ROUND_SECONDS = 300;
const WAIT_MS = 120_000;
const TICKS_PER_SECOND = 100;

interface Round {
  total: number;
  successful: number;
  points: number;
  bytes: number;
  duration_seconds: number;
  clusters: { series: number }[];
}

/** Takes every request as stored. */
async function startCollector(): Promise<{ server: Server; url: string }> {
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

async function waitFor<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (let waited = 0; waited < WAIT_MS; waited += 100) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(100);
  }
  throw new Error(`${what} did not come in ${WAIT_MS} ms`);
}

/** User and system seconds of the bridge and its workers so far, and the sum of their peak RSS in MB. */
function costOf(pid: number): { cpuSeconds: number; peakMb: number } {
  const costs = [pid, ...childrenOf(pid)].map(costOfProcess);
  return {
    cpuSeconds: costs.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    peakMb: costs.reduce((sum, { peakMb }) => sum + peakMb, 0),
  };
}

function costOfProcess(pid: number): { cpuSeconds: number; peakMb: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    peakMb: Number(peak) / 1024,
  };
}

async function measure(size: { clusters: number; pods: number }, collectorUrl: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "bench-round-"));
  const children: ChildProcess[] = [];
  const run = (file: string, environment: Record<string, string>): ChildProcess => {
    const child = spawn(process.execPath, [file], {
      env: { PATH: process.env["PATH"], ...environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    return child;
  };
  try {
    run("simulator/main.ts", {
      SIM_CLUSTERS: String(size.clusters),
      SIM_PODS: String(size.pods),
      SIM_DIR: folder,
    }).stdout!.resume();
    const clustersFile = join(folder, "clusters.yaml");
    await waitFor("the simulator", () => (existsSync(clustersFile) ? true : undefined));
    const bridge = run("src/main.ts", {
      ROLE: "bridge",
      SCHEDULER: "dapr",
      PORT: "0",
      DATA_DIR: join(folder, "data"),
      CLUSTERS_FILE: clustersFile,
      ALLOW_PRIVATE_API_SERVERS: "true",
      OTEL_COLLECTOR_ENDPOINT: collectorUrl,
      INITIAL_LOOKBACK: String(ROUND_SECONDS),
      CLUSTER_DEADLINE: "1h",
      COLLECTION_INTERVAL: "1h",
      METRICS_COLLECTION_TIMEOUT: "10m",
    });
    let log = "";
    bridge.stdout!.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-100_000)));
    const url = await waitFor("the bridge", () => /"url":"([^"]+)"/.exec(log)?.[1]);
    const before = costOf(bridge.pid!);
    const answer = await fetch(`${url}/metrics/collect-all?wait=true`, { method: "POST" });
    const { round } = (await answer.json()) as { round: Round };
    const after = costOf(bridge.pid!);
    if (round.successful !== round.total) throw new Error(`not all clusters were collected: ${log}`);
    const series = round.clusters.reduce((sum, cluster) => sum + cluster.series, 0);
    const cpuSeconds = after.cpuSeconds - before.cpuSeconds;
    return [
      `${String(size.clusters).padStart(8)} ${String(series).padStart(8)} ${String(round.points).padStart(9)}`,
      `${(round.bytes / 1e6).toFixed(1).padStart(8)} ${cpuSeconds.toFixed(2).padStart(7)}`,
      `${((cpuSeconds / ROUND_SECONDS) * 1000).toFixed(0).padStart(9)} ${after.peakMb.toFixed(0).padStart(8)}`,
      `${(round.points / cpuSeconds / 1e6).toFixed(2).padStart(8)} ${round.duration_seconds.toFixed(1).padStart(7)}`,
    ].join(" ");
  } finally {
    for (const child of children) {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

const collector = await startCollector();
console.log("clusters   series   samples       MB   CPU s  mCPU/5min  peak MB  M/CPU s  wall s");
for (const size of SIZES) console.log(await measure(size, collector.url));
collector.server.close();
