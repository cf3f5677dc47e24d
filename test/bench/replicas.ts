import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createReplicaSet, startRedis, type Replica, type SharedStore } from "../e2e/replica-set.ts";
import { costOf, kill, startCollector, waitFor } from "./bridge-process.ts";

// One bridge and three that share simulated clusters by a real Redis behind Dapr's real sidecars: processor time and requests at the store. The figures
// of docs/operations.md ("Replicas"). All of them share the machine, so that three are not faster than one here. Linux and Docker only.

const CLUSTERS = Number(process.env["BENCH_CLUSTERS"] ?? "100");
const PODS = 50;
const ROUND_SECONDS = 60;
const ROUNDS = 2;

/** Sum of a counter of the program over its label sets. */
async function counted(replica: Replica, metric: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${replica.port}/metrics`)).text();
  const samples = [...text.matchAll(new RegExp(`^${metric}(?:\\{.*\\})? (\\S+)`, "gm"))];
  return samples.reduce((sum, [, value]) => sum + Number(value), 0);
}

interface Totals {
  cpuSeconds: number;
  samples: number;
  requests: number;
  peakMb: number;
}

async function totalsOf(replicas: readonly Replica[], store: SharedStore): Promise<Totals> {
  const costs = replicas.map(({ bridge }) => costOf(bridge.pid));
  const samples = await Promise.all(
    replicas.map((each) => counted(each, "budcluster_collection_samples_total")),
  );
  return {
    cpuSeconds: costs.reduce((sum, cost) => sum + cost.cpuSeconds, 0),
    samples: samples.reduce((sum, count) => sum + count, 0),
    requests: await store.requests(),
    peakMb: Math.max(...costs.map(({ peakMb }) => peakMb)),
  };
}

async function measure(count: number, clustersFile: string, collectorUrl: string): Promise<string> {
  const store = await startRedis();
  const set = await createReplicaSet({
    store,
    clustersFile,
    collectorUrl,
    intervalSeconds: ROUND_SECONDS,
    environment: { COLLECTION_LAG: "10", INITIAL_LOOKBACK: String(ROUND_SECONDS) },
  });
  try {
    const names = ["a", "b", "c"].slice(0, count);
    const replicas = await Promise.all(names.map((each) => set.start(`replica-${each}`)));
    // Two rounds until each has its share; what is measured begins and ends between two rounds.
    const boundary = (): number => ROUND_SECONDS * 1000 - (Date.now() % (ROUND_SECONDS * 1000));
    await sleep(boundary() + ROUND_SECONDS * 1500);
    const before = await totalsOf(replicas, store);
    await sleep(ROUNDS * ROUND_SECONDS * 1000);
    const after = await totalsOf(replicas, store);
    const seconds = ROUNDS * ROUND_SECONDS;
    const [cpu, samples] = [after.cpuSeconds - before.cpuSeconds, after.samples - before.samples];
    const requests = after.requests - before.requests;
    return [
      `${String(count).padStart(8)} ${String(CLUSTERS).padStart(8)} ${(samples / seconds / count).toFixed(0).padStart(11)}`,
      `${((cpu / samples) * 1e6).toFixed(1).padStart(7)} ${((cpu / seconds / count) * 1000).toFixed(0).padStart(12)}`,
      `${after.peakMb.toFixed(0).padStart(8)} ${(requests / seconds).toFixed(1).padStart(10)}`,
      (requests / CLUSTERS / ROUNDS).toFixed(1).padStart(17),
    ].join(" ");
  } finally {
    await set.stop();
    await store.stop();
  }
}

const folder = mkdtempSync(join(tmpdir(), "bench-replicas-"));
const simulator = spawn(process.execPath, ["simulator/main.ts"], {
  env: {
    PATH: process.env["PATH"],
    SIM_CLUSTERS: String(CLUSTERS),
    SIM_PODS: String(PODS),
    SIM_DIR: folder,
  },
  stdio: ["ignore", "ignore", "inherit"],
});
const collector = await startCollector();
try {
  const file = join(folder, "clusters.yaml");
  await waitFor("the simulator", () => (existsSync(file) ? true : undefined));
  console.log(
    "replicas clusters  samples/s a  us CPU  mCPU (mean)  peak MB  store requests/s  a cluster, round",
  );
  for (const count of [1, 3]) console.log(await measure(count, readFileSync(file, "utf8"), collector.url));
} finally {
  collector.server.close();
  await kill(simulator);
  rmSync(folder, { recursive: true, force: true });
}
