import { afterEach, beforeEach, expect, it } from "vitest";
import type { RemoteReadFlood } from "#simulator/remote-read-flood.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { startWatchedBridge } from "../helpers/watched-bridge.ts";

// As worst-answers.test.ts, by remote read.

const MIB = 1 << 20;
/** The chart's limit of the bridge's memory. */
const RSS_BYTES_MAX = 1024 * MIB;
const HELD_MS_MAX = 100;
const CLUSTERS = 10;
const ROUNDS_MAX = 50;
const HOSTILE = "sim-1";
const OTHER = "sim-2";
const READ = "/api/v1/read";
const METRIC = "node_load15";
const folder = createTemporaryFolder();

let simulator: Simulator;
let collector: OtlpCollector;

beforeEach(async () => {
  simulator = await startSimulator({ clusters: CLUSTERS, shape: { nodes: 1, pods: 2, cpus: 1, gpus: 0 } });
  collector = await startOtlpCollector();
});

afterEach(async () => {
  await collector.stop();
  await simulator.stop();
});

/** The answers of one cluster, round by round. */
const WORST: readonly RemoteReadFlood[] = [
  { content: "empty-frames", bytes: 8 * MIB },
  { content: "garbage", bytes: 4 * MIB },
  { content: "filler", bytes: 32 * MIB },
  { content: "empty-series", bytes: 32 * MIB },
  { content: "series", bytes: 32 * MIB },
  { content: "names", bytes: 32 * MIB },
  { content: "labels", bytes: 32 * MIB },
  { content: "label", bytes: 32 * MIB },
  { content: "chunks", bytes: 8 * MIB },
  { content: "samples", bytes: 0 },
  { content: "samples-empty", bytes: 0 },
  { content: "block", bytes: 16 * MIB },
];

/** A block that is as large as it may be and no answer, of each query of every cluster at once. */
const BLOCKS: RemoteReadFlood = { content: "block", bytes: 2 * MIB };

it("the worst answers of remote read of one cluster of ten: the others are collected, the loop turns, memory stays within the chart's limit", async () => {
  const child = startWatchedBridge(folder, { simulator, collector });
  await child.url;
  // Compiles what it needs, and decides for remote read.
  expect(await child.collect()).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  const others: unknown[] = [];
  const figures: string[] = [];
  const watch = async (name: string, id = HOSTILE, metric = METRIC) => {
    child.watch();
    simulator.faults.forget(id);
    const readsOf = (): number =>
      simulator.faults
        .traffic(id)
        .requests.filter(({ what, query }) => what === READ && query?.includes(metric)).length;
    let { clusters } = await child.collect();
    // A round within the same second as the one before has nothing to read.
    for (let round = 1; readsOf() === 0 && round < ROUNDS_MAX; round++)
      ({ clusters } = await child.collect());
    const { heldMs, rssBytes } = child.watched();
    const reads = readsOf();
    const hostile = clusters.find(({ cluster_id }) => cluster_id === id);
    const told = `${hostile?.outcome} ${hostile?.error?.code ?? ""}`;
    figures.push(
      `${name}: ${reads} reads, ${told}, loop held ${Math.round(heldMs)} ms, ${Math.round(rssBytes / MIB)} MiB`,
    );
    expect.soft(reads, name).toBeGreaterThan(0);
    expect.soft(heldMs, name).toBeLessThan(HELD_MS_MAX);
    expect.soft(rssBytes, name).toBeLessThan(RSS_BYTES_MAX);
    return clusters;
  };
  for (const flood of WORST) {
    const name = `${flood.content}, ${flood.bytes / MIB} MiB`;
    const fault = {
      layer: "prometheus",
      path: READ,
      query: METRIC,
      kind: "remote-read-flood",
      flood,
    } as const;
    await simulator.faults.set(HOSTILE, fault);
    const clusters = await watch(name);
    others.push(
      ...clusters.filter(({ cluster_id, outcome }) => cluster_id !== HOSTILE && outcome !== "successful"),
    );
  }
  expect(others).toEqual([]);
  const hostile = (await child.status()).clusters.find(({ cluster_id }) => cluster_id === HOSTILE);
  expect(JSON.stringify(hostile).length).toBeLessThan(64 << 10);
  await simulator.faults.clear();
  expect(await child.collect()).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  for (const { id } of simulator.clusters) {
    const fault = { layer: "prometheus", path: READ, kind: "remote-read-flood", flood: BLOCKS } as const;
    await simulator.faults.set(id, fault);
  }
  // The hostile one is read by the query API by now.
  // Of any metric: after three failures in a row a cluster is read by the query API.
  await watch("the largest block of every query of all clusters", OTHER, "");
  process.stdout.write(`${figures.join("\n")}\n`);
  await simulator.faults.clear();
  expect(await child.collect()).toMatchObject({ total: CLUSTERS, successful: CLUSTERS });
  expect(child.stderr()).toBe("");
}, 180_000);
