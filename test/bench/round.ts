import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { kill, measureRound, startCollector, waitFor } from "./bridge-process.ts";

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

async function measure(size: { clusters: number; pods: number }, collectorUrl: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "bench-round-"));
  const simulator = spawn(process.execPath, ["simulator/main.ts"], {
    env: {
      PATH: process.env["PATH"],
      SIM_CLUSTERS: String(size.clusters),
      SIM_PODS: String(size.pods),
      SIM_DIR: folder,
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    const clustersFile = join(folder, "clusters.yaml");
    await waitFor("the simulator", () => (existsSync(clustersFile) ? true : undefined));
    const cost = await measureRound(join(folder, "data"), {
      CLUSTERS_FILE: clustersFile,
      ALLOW_PRIVATE_API_SERVERS: "true",
      OTEL_COLLECTOR_ENDPOINT: collectorUrl,
      INITIAL_LOOKBACK: String(ROUND_SECONDS),
    });
    const { series, points, bytes, cpuSeconds, peakMb, duration_seconds } = cost;
    return [
      `${String(size.clusters).padStart(8)} ${String(series).padStart(8)} ${String(points).padStart(9)}`,
      `${(bytes / 1e6).toFixed(1).padStart(8)} ${cpuSeconds.toFixed(2).padStart(7)}`,
      `${((cpuSeconds / ROUND_SECONDS) * 1000).toFixed(0).padStart(9)} ${peakMb.toFixed(0).padStart(8)}`,
      `${(points / cpuSeconds / 1e6).toFixed(2).padStart(8)} ${duration_seconds.toFixed(1).padStart(7)}`,
    ].join(" ");
  } finally {
    await kill(simulator);
    rmSync(folder, { recursive: true, force: true });
  }
}

const collector = await startCollector();
console.log("clusters   series   samples       MB   CPU s  mCPU/5min  peak MB  M/CPU s  wall s");
for (const size of SIZES) console.log(await measure(size, collector.url));
collector.server.close();
