import { randomBytes } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { PrometheusFault } from "#simulator/fault-kinds.ts";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "../helpers/bridge-child.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { isOwn, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { startSourcePrometheus, type StandIn } from "../helpers/source-prometheus.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord, SMALL } from "../helpers/test-bridge.ts";

// The whole program before twins: an answer of one Pod that does not end, and then the other Pod's answer about the same window. The twins scrape at
// other times, so that a point of the half answer beside the whole one would show.

const ID = "sim-1";
const HALF = "kube_pod_info";
const METRICS = ["up", "node_load15", HALF];
const SETTLED = { timeout: 200_000, interval: 50 };

const folder = createTemporaryFolder();
let simulator: Simulator;
let cluster: SimulatedCluster;
let collector: OtlpCollector;

beforeEach(async () => {
  simulator = await startSimulator({ shape: SMALL, replicas: 2 });
  cluster = simulator.cluster(ID);
  collector = await startOtlpCollector();
});

afterEach(async () => {
  await collector.stop();
  await simulator.stop();
});

const countOf = (metric: string): number =>
  [...collector.acknowledged.values()].filter((point) => point.metric === metric).length;

/** Starts a bridge that gets half an answer about HALF. */
async function startWithHalf(directory: string, fault: PrometheusFault): Promise<BridgeChild> {
  await simulator.faults.set(ID, fault);
  const child = startBridgeChild({
    ...bridgeEnvironment(directory, { simulator, collector, metrics: METRICS }),
    // Many batches of a half answer are full.
    METRICS_BATCH_SIZE: "2",
    METRICS_COLLECTION_TIMEOUT: "120",
    EXPORT_TIMEOUT: "60",
    CLUSTER_DEADLINE: "280",
  });
  await child.url;
  return child;
}

const isAsked = (): boolean =>
  simulator.faults
    .traffic(ID)
    .requests.some(({ layer, query }) => layer === "prometheus" && query?.includes(HALF));

/** The Pod that gave half an answer is not ready any more; its twin answers. */
async function useTwin(): Promise<void> {
  cluster.kube.updatePod(cluster.kube.pods[0]!.name, { ready: false });
  await simulator.faults.clear(ID);
}

/** Every sample of HALF is the twin's; of the others those of the Pod that was read. */
async function expectOnePod(directory: string): Promise<void> {
  const progress = await readProgressRecord(join(directory, "data"), ID);
  const half = compareWithExpected(collector, cluster.world, progress, {
    replica: 1,
    only: ({ metric }) => metric === HALF,
  });
  expect(half).toEqual(noDifferences(half.samples));
  expect(half.samples).toBeGreaterThan(10);
  expect(collector.conflicts).toEqual([]);
}

it("a worker that is killed in the middle of an answer: the twin's answer is stored alone", async () => {
  const directory = mkdtempSync(join(folder, "killed-"));
  // The rest of the answer does not come.
  const drip = { kind: "drip", bytes: 2000, delayMs: 600_000 } as const;
  const child = await startWithHalf(directory, { layer: "prometheus", query: HALF, ...drip });
  const round = child.collect();
  await expect.poll(() => isAsked() && countOf("up") > 0 && countOf("node_load15") > 0, SETTLED).toBe(true);
  expect(countOf(HALF)).toBe(0);
  await useTwin();
  for (const pid of child.workers()) process.kill(pid, "SIGKILL");
  // The cluster is collected again in the same round, by another worker.
  expect(await round).toMatchObject({ successful: 1 });
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  await expectOnePod(directory);
}, 300_000);

it("an answer that is cut: nothing of it is stored, the twin's answer is, alone", async () => {
  const directory = mkdtempSync(join(folder, "cut-"));
  const cut = { kind: "truncate", atByte: 2000, how: "complete" } as const;
  const child = await startWithHalf(directory, { layer: "prometheus", query: HALF, ...cut });
  const first = await child.collect();
  expect(first).toMatchObject({ partial: 1 });
  expect(isAsked()).toBe(true);
  expect(countOf("up")).toBeGreaterThan(0);
  expect(countOf(HALF)).toBe(0);
  await useTwin();
  expect(await child.collect()).toMatchObject({ successful: 1 });
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  await expectOnePod(directory);
  // What was sent was sent once.
  expect(collector.repeats).toBe(0);
  expect(
    [...collector.acknowledged.values()].every((point) => isOwn(point) || METRICS.includes(point.metric)),
  ).toBe(true);
}, 300_000);

/** Series of one sample each, spread over some minutes, with labels that can't be compressed: 18 MB as OTLP, more than 8 MiB compressed. */
function createWide(): { standIn: StandIn; times: number[]; windows: [number, number][] } {
  const label = randomBytes(4500 * 3000).toString("base64");
  const endMs = Date.now() - 120_000;
  const times = Array.from({ length: 4500 }, (_, i) => endMs - i * 30);
  const windows: [number, number][] = [];
  const standIn: StandIn = ({ form, response }) => {
    const range = /^node_load1\[(\d+)ms\]$/.exec(form.get("query") ?? "");
    if (!range) return false;
    const toMs = Number(form.get("time")) * 1000;
    const fromMs = toMs - Number(range[1]);
    windows.push([fromMs, toMs]);
    const result = times.flatMap((time, i) => {
      if (time <= fromMs || time > toMs) return [];
      const metric = { __name__: "node_load1", i: String(i), wide: label.slice(i * 4000, (i + 1) * 4000) };
      return [{ metric, values: [[time / 1000, String(i)]] }];
    });
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ status: "success", data: { resultType: "matrix", result } }));
    return true;
  };
  return { standIn, times, windows };
}

it("an answer of more than 8 MiB: its window is read in halves, and each sample is stored once", async () => {
  const directory = mkdtempSync(join(folder, "wide-"));
  const { standIn, times, windows } = createWide();
  const prometheus = await startSourcePrometheus([], {}, { wide: standIn });
  const sources = await startSimulator({
    shape: { nodes: 1, pods: 0 },
    realPrometheus: { host: "127.0.0.1", port: prometheus.port },
  });
  try {
    const environment = bridgeEnvironment(directory, {
      simulator: sources,
      collector,
      metrics: ["node_load1"],
    });
    const service = "bud-metrics-kube-prometheu-prometheus";
    const target = { namespace: "bud-system", service, port: 9090, path_prefix: "/wide" };
    const clusters = [{ id: ID, kubeconfig: sources.cluster(ID).kubeconfig, prometheus: target }];
    writeFileSync(environment["CLUSTERS_FILE"]!, JSON.stringify({ clusters }));
    const child = startBridgeChild({
      ...environment,
      METRICS_BATCH_BYTES: String(1 << 20),
      METRICS_COLLECTION_TIMEOUT: "120",
      EXPORT_TIMEOUT: "60",
      CLUSTER_DEADLINE: "280",
      INITIAL_LOOKBACK: "15m",
    });
    await child.url;
    expect(await child.collect()).toMatchObject({ successful: 1 });
    const [first] = windows;
    // The same time once more, in parts.
    const parts = windows.slice(1).filter(([fromMs, toMs]) => fromMs >= first![0] && toMs <= first![1]);
    expect(parts.length).toBeGreaterThanOrEqual(2);
    expect(countOf("node_load1")).toBe(times.length);
    expect([collector.repeats, collector.conflicts]).toEqual([0, []]);
    child.signal("SIGTERM");
    expect(await child.ended).toBe(0);
  } finally {
    await sources.stop();
    await prometheus.stop();
  }
}, 300_000);
