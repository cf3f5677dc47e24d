import { mkdtempSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { ACCEPT, isOwn, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord } from "../helpers/test-bridge.ts";

// A defect that one cluster brings out ends a worker process, and nothing else. See test/helpers/defective-worker.ts for the defects.

const MIB = 2 ** 20;
/** The chart's limit of the bridge's memory. */
const RSS_BYTES_MAX = 1024 * MIB;
const HELD_MS_MAX = 100;
/** What the error says of each defect. A heap that grows on a busy machine may be silent for too long before it is full. */
const DEEDS = {
  loop: /no sign of life for 5 s/,
  buffers: /MiB of memory, more than its|no sign of life/,
  heap: /ended by itself|no sign of life|MiB of memory/,
  crash: /SIGSEGV/,
};
const GOOD = 3;
const folder = createTemporaryFolder();

let simulator: Simulator;
let collector: OtlpCollector;

beforeEach(async () => {
  simulator = await startSimulator({
    clusters: Object.keys(DEEDS).length + GOOD,
    shape: { nodes: 1, pods: 2, cpus: 1, gpus: 0 },
  });
  collector = await startOtlpCollector();
});

afterEach(async () => {
  await collector.stop();
  await simulator.stop();
});

/** The simulator's clusters, the first of them named after the defects. */
function clustersFile(): string {
  return Object.keys(DEEDS).reduce(
    (text, defect, i) => text.replace(`name: "${simulator.clusters[i]!.name}"`, `name: "${defect}"`),
    simulator.clustersFile(),
  );
}

it("clusters that end their worker: the others are collected in the same round, each such cluster is put aside and named", async () => {
  const directory = mkdtempSync(join(folder, "worker-"));
  const watched = join(directory, "watched.json");
  const preloaded = ["watch-loop.ts", "defective-worker.ts"].map(
    (file) => `--import=${resolve("test/helpers", file)}`,
  );
  const child = startBridgeChild({
    ...bridgeEnvironment(directory, { simulator: { ...simulator, clustersFile }, collector }),
    NODE_OPTIONS: preloaded.join(" "),
    WATCHED_FILE: watched,
    CLUSTER_DEADLINE: "120",
    LOG_LEVEL: "info",
  });
  await child.url;
  process.kill(child.pid, "SIGUSR2");
  const round = await child.collect();
  expect(round).toMatchObject({ successful: GOOD, failed: Object.keys(DEEDS).length });
  for (const [defect, deed] of Object.entries(DEEDS)) {
    const result = round.clusters.find(({ cluster_name }) => cluster_name === defect);
    expect.soft(result?.error).toMatchObject({ code: "cluster_quarantined", details: { strikes: 1 } });
    expect.soft(result?.error?.message).toMatch(deed);
  }
  const { heldMs, rssBytes } = JSON.parse(readFileSync(watched, "utf8")) as Record<string, number>;
  expect(heldMs).toBeLessThan(HELD_MS_MAX);
  expect(rssBytes).toBeLessThan(RSS_BYTES_MAX);
  // They are not tried again before their time, and a worker is there for the others.
  const ends = (): number => child.stdout().split("a collection worker was replaced").length - 1;
  const before = ends();
  expect(before).toBeGreaterThan(Object.keys(DEEDS).length);
  expect(await child.collect()).toMatchObject({ successful: GOOD, failed: Object.keys(DEEDS).length });
  expect(ends()).toBe(before);
  const { clusters } = await child.status();
  const errors = clusters.flatMap(({ last_error }) => last_error?.code ?? []);
  expect(errors).toEqual(Object.keys(DEEDS).map(() => "cluster_quarantined"));
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
}, 120_000);

it("a worker that is killed or stopped from outside, while its samples are on their way: every sample is stored, the round ends", async () => {
  const directory = mkdtempSync(join(folder, "killed-"));
  const child = startBridgeChild({
    ...bridgeEnvironment(directory, { simulator, collector }),
    METRICS_BATCH_SIZE: "40",
    CLUSTER_DEADLINE: "120",
    INITIAL_LOOKBACK: "10m",
  });
  await child.url;
  const signals: NodeJS.Signals[] = ["SIGKILL", "SIGSTOP"];
  let requests = 0;
  collector.onRequest = ({ points }) => {
    const isDue = points.some((point) => !isOwn(point)) && ++requests % 4 === 3;
    const signal = isDue ? signals.shift() : undefined;
    if (signal) for (const pid of child.workers()) process.kill(pid, signal);
    return Promise.resolve(ACCEPT);
  };
  const { clusters } = await child.collect();
  expect(signals).toEqual([]);
  expect(
    clusters
      .map(({ error }) => error?.code)
      .filter((code) => code !== undefined && code !== "cluster_quarantined"),
  ).toEqual([]);
  child.signal("SIGTERM");
  expect(await child.ended).toBe(0);
  // A cluster that was alone twice in such a moment is put aside; a restart forgets that.
  const second = startBridgeChild(bridgeEnvironment(directory, { simulator, collector }));
  await second.url;
  expect(await second.collect()).toMatchObject({ successful: simulator.clusters.length });
  second.signal("SIGTERM");
  expect(await second.ended).toBe(0);
  for (const { id, world } of simulator.clusters) {
    const progress = await readProgressRecord(join(directory, "data"), id);
    const compared = compareWithExpected(collector, world, progress);
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(100);
  }
}, 120_000);
