import { afterEach, expect, it } from "vitest";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";

let clock: JumpingClock;
let simulator: Simulator;
let collector: OtlpCollector;
let bridge: TestBridge;

async function start(clusters: number, environment: Record<string, string> = {}): Promise<void> {
  clock = createJumpingClock();
  simulator = await startSimulator({ clock, clusters, shape: SMALL });
  collector = await startOtlpCollector();
  bridge = await startTestBridge({ simulator, collector, clock, environment });
}

afterEach(async () => {
  await bridge.stop();
  await collector.stop();
  await simulator.stop();
});

it("many clusters at once: no request and no sample of one is another's", async () => {
  // Small batches, so that the requests of all clusters mix on the way.
  await start(6, { MAX_CONCURRENT_CLUSTERS: "6", METRICS_BATCH_SIZE: "50" });
  for (let round = 0; round < 2; round++) {
    expect(await bridge.collect()).toMatchObject({ total: 6, successful: 6 });
    clock.jump(60_000);
  }
  const mixed = collector.requests.filter(({ clusterIds }) => clusterIds.size !== 1);
  expect(mixed).toEqual([]);
  const order = collector.requests.map(({ clusterIds }) => [...clusterIds][0]!);
  expect(order.filter((id, i) => i > 0 && id !== order[i - 1]).length).toBeGreaterThan(6);
  for (const { id, world } of simulator.clusters) {
    const traffic = simulator.faults.traffic(id);
    expect(traffic.strangers).toBe(0);
    const users = traffic.requests.filter(({ layer }) => layer !== "prometheus").map(({ user }) => user);
    expect(new Set(users)).toEqual(new Set(["bridge"]));
    const compared = compareWithExpected(collector, world, await bridge.progress(id));
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(300);
  }
  // Every cluster was asked the same, as far as it is its own.
  const counts = simulator.clusters.map(({ id }) => simulator.faults.traffic(id).prometheus);
  expect(new Set(counts).size).toBe(1);
});

it("a cluster that hangs ends at its own deadline; the others are done by then", async () => {
  await start(5, {
    MAX_CONCURRENT_CLUSTERS: "3",
    CLUSTER_DEADLINE: "2",
    METRICS_COLLECTION_TIMEOUT: "30",
  });
  await simulator.faults.set("sim-1", { layer: "tunnel", kind: "hang" });
  const round = await bridge.collect();
  expect(round).toMatchObject({ successful: 4, failed: 1 });
  expect(round.clusters.map(({ cluster_id }) => cluster_id).at(-1)).toBe("sim-1");
  const { error, duration_seconds } = bridge.resultOf(round, "sim-1");
  expect(error?.code).toBe("cluster_deadline_exceeded");
  expect(error?.hint).toMatch(/CLUSTER_DEADLINE/);
  expect(duration_seconds).toBeGreaterThan(1.9);
  expect(duration_seconds).toBeLessThan(3.5);
});

it("while a cluster hangs, the next round goes on without it and says so", async () => {
  await start(3, { CLUSTER_DEADLINE: "2", METRICS_COLLECTION_TIMEOUT: "30" });
  await simulator.faults.set("sim-2", { layer: "tunnel", kind: "hang" });
  const first = await fetch(`${bridge.url}/metrics/collect-all`, { method: "POST" });
  expect(await first.json()).toMatchObject({ status: "started", busy: [] });
  // Rounds that find everything busy end at once; the first that does not leaves out sim-2 alone.
  let next = await bridge.collect();
  while (next.skipped > 1) next = await bridge.collect();
  expect(next).toMatchObject({ total: 3, skipped: 1, successful: 2 });
  expect(bridge.resultOf(next, "sim-2")).toMatchObject({
    outcome: "skipped",
    error: { code: "cluster_busy" },
  });
  expect((await bridge.statusOf("sim-2")).collecting).toBe(true);
  expect((await bridge.statusOf("sim-1")).collecting).toBe(false);
  // Nothing of it was collected twice at a time.
  const connects = simulator.faults.traffic("sim-2").requests.filter(({ what }) => what === "get services");
  expect(connects).toHaveLength(1);
});

it("a cluster with another's token is refused, and only that one", async () => {
  await start(3);
  const [first, second] = simulator.clusters;
  second!.kube.setUser({ name: "bridge", token: first!.token, rights: [] });
  const round = await bridge.collect();
  expect(bridge.resultOf(round, "sim-2").error?.code).toBe("cluster_unauthorized");
  expect(round).toMatchObject({ successful: 2, failed: 1 });
  expect(simulator.faults.traffic("sim-1").strangers).toBe(0);
  expect(simulator.faults.traffic("sim-2").strangers).toBeGreaterThan(0);
});
