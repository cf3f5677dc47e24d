import { afterEach, beforeEach, expect, it } from "vitest";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences, type ComparisonOptions } from "../helpers/expected-samples.ts";

// Replicas of Prometheus scrape the same targets at their own moments, so their samples have different timestamps: reading one window from two of
// them would double it.

const ID = "sim-1";
const LAG_MS = 90_000;
const MINUTE_MS = 60_000;
const pod = (replica: number): string => `prometheus-bud-metrics-kube-prometheu-prometheus-${replica}`;

let clock: JumpingClock;
let simulator: Simulator;
let cluster: SimulatedCluster;
let collector: OtlpCollector;
let bridge: TestBridge;

beforeEach(async () => {
  clock = createJumpingClock();
  simulator = await startSimulator({ clock, shape: SMALL, replicas: 3 });
  cluster = simulator.cluster(ID);
  collector = await startOtlpCollector();
  // No test here is about time-outs, and the machine may be busy.
  const environment = { METRICS_COLLECTION_TIMEOUT: "30", EXPORT_TIMEOUT: "30" };
  bridge = await startTestBridge({ simulator, collector, clock, environment });
});

afterEach(async () => {
  await bridge.stop();
  await collector.stop();
  await simulator.stop();
});

const endOfWindow = (): number => clock.now() - LAG_MS;

async function expectPod(replica: number): Promise<void> {
  expect((await bridge.statusOf(ID)).prometheus_pod).toBe(pod(replica));
}

async function expectExact(options: ComparisonOptions): Promise<void> {
  const compared = compareWithExpected(collector, cluster.world, await bridge.progress(ID), options);
  expect(compared).toEqual(noDifferences(compared.samples));
  expect(compared.samples).toBeGreaterThan(50);
}

/** The first sample of `up` that a replica has after `fromMs`: from then on it is known to have data. */
function firstUpOf(replica: number, fromMs: number): number {
  return Math.min(
    ...cluster.world
      .expected({ fromMs, toMs: endOfWindow(), metric: "up", replica })
      .flatMap(({ timestamps }) => timestamps),
  );
}

it("reads every window from the pinned Pod, as long as it is ready", async () => {
  for (let round = 0; round < 4; round++) {
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    await expectPod(0);
    clock.jump(MINUTE_MS);
  }
  await expectExact({ replica: 0 });
  expect((await bridge.progress(ID)).pod).toMatchObject({ name: pod(0), uid: cluster.kube.pods[0]!.uid });
});

it.each([
  ["not ready any more", () => cluster.kube.updatePod(pod(0), { ready: false })],
  ["terminating", () => cluster.kube.updatePod(pod(0), { terminating: true })],
  ["gone", () => cluster.kube.deletePod(pod(0))],
])(
  "a pinned Pod that is %s: another takes over at the boundary, recorded, and stays",
  async (_name, leave) => {
    await bridge.collect();
    const boundary = endOfWindow();
    leave();
    clock.jump(MINUTE_MS);
    const since = endOfWindow();
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    await expectPod(1);
    expect(bridge.logs.find(({ msg }) => String(msg).includes("another Prometheus Pod"))).toMatchObject({
      cluster_id: ID,
      from: pod(0),
      to: pod(1),
    });
    if (cluster.kube.pods.some(({ name }) => name === pod(0))) {
      cluster.kube.updatePod(pod(0), { ready: true, terminating: false });
    }
    clock.jump(MINUTE_MS);
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    await expectPod(1);
    const record = await bridge.progress(ID);
    expect(record.pod).toMatchObject({ name: pod(1), since });
    await expectExact({ replica: 0, between: [0, boundary] });
    await expectExact({ replica: 1, between: [boundary, endOfWindow()] });
  },
);

it("a Pod that dies in the middle of an answer leaves nothing of it beside its twin's", async () => {
  // Small batches: many of the answer are full when it breaks off.
  await bridge.restart({ METRICS_BATCH_SIZE: "2" });
  await bridge.collect();
  const boundary = endOfWindow();
  await simulator.faults.set(ID, {
    layer: "prometheus",
    query: "kube_pod_info",
    kind: "pod-restart",
    afterBytes: 700,
    times: 1,
  });
  clock.jump(MINUTE_MS);
  const failed = endOfWindow();
  expect(await bridge.collect()).toMatchObject({ partial: 1 });
  const { gaps } = await bridge.statusOf(ID);
  const open = gaps.map(({ query }) => query);
  expect(open).toContain("kube_pod_info");
  // It comes back with the same name but as another Pod; the Service's other Pods are ready as well.
  cluster.kube.updatePod(pod(0), { ready: false });
  clock.jump(MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  await expectPod(1);
  const isOpen = ({ metric }: { metric: string }): boolean => open.includes(metric);
  // The windows that were read to the end came from the first Pod, those that were left from the second.
  const record = await bridge.progress(ID);
  const settled = compareWithExpected(collector, cluster.world, record, {
    between: [boundary, failed],
    only: (point) => !isOpen(point),
  });
  expect(settled).toEqual(noDifferences(settled.samples));
  const left = compareWithExpected(collector, cluster.world, record, {
    between: [boundary, failed],
    replica: 1,
    only: isOpen,
  });
  expect(left).toEqual(noDifferences(left.samples));
  await expectExact({ replica: 1, between: [failed, endOfWindow()] });
});

it("what the pinned Pod lost with its volume is read from a twin that has it", async () => {
  await bridge.collect();
  const boundary = endOfWindow();
  clock.jump(60 * MINUTE_MS);
  const bornMs = clock.now() - 20 * MINUTE_MS;
  // The pinned Pod came back without its volume; one twin is as young, the other has everything.
  cluster.world.shape.youngReplicas.set(0, bornMs).set(1, bornMs + MINUTE_MS);
  await bridge.restart({ EXPORT_TIMEOUT: "60" });
  expect(bridge.resultOf(await bridge.collect(), ID)).toMatchObject({ outcome: "successful", error: null });
  await expectPod(0);
  expect((await bridge.statusOf(ID)).gaps).toEqual([]);
  // Windows change Pods where the young one's first sample of `up` is.
  const firstUp = firstUpOf(0, boundary);
  await expectExact({ replica: 2, between: [boundary, firstUp - 1] });
  await expectExact({ replica: 0, between: [firstUp - 1, endOfWindow()] });
});

it("what no ready Pod has is lost when it is seen twice, an interval apart, and said", async () => {
  await bridge.collect();
  const boundary = endOfWindow();
  // A while without the bridge; then only younger Pods are left.
  clock.jump(40 * MINUTE_MS);
  cluster.kube.deletePod(pod(0));
  const oldestMs = clock.now() - 20 * MINUTE_MS;
  cluster.world.shape.oldestMs = oldestMs;
  await bridge.restart({ EXPORT_TIMEOUT: "60" });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  await expectPod(1);
  const open = (await bridge.statusOf(ID)).gaps;
  expect(new Set(open.map(({ state }) => state))).toEqual(new Set(["open"]));
  expect(open[0]!.reason).toMatch(/no ready Prometheus Pod/);
  clock.jump(4 * MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  clock.jump(MINUTE_MS);
  const round = await bridge.collect();
  expect(bridge.resultOf(round, ID)).toMatchObject({ outcome: "partial", error: { code: "samples_lost" } });
  const { gaps, warnings } = await bridge.statusOf(ID);
  expect(new Set(gaps.map((gap) => gap.state))).toEqual(new Set(["lost"]));
  expect(gaps).toHaveLength(5);
  for (const gap of gaps) {
    expect(Date.parse(gap.from)).toBe(boundary);
    expect(Date.parse(gap.to)).toBeGreaterThanOrEqual(oldestMs - 1);
    expect(Date.parse(gap.to)).toBeLessThan(oldestMs + 20_000);
    expect(gap.reason).toMatch(/no ready Prometheus Pod has samples of that time any more/);
  }
  expect(warnings.join()).toMatch(/lost: 5 queries between /);
  expect(bridge.logs.find(({ code }) => code === "samples_lost")).toMatchObject({ cluster_id: ID });
  clock.jump(5 * MINUTE_MS);
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect((await bridge.statusOf(ID)).state).toBe("healthy");
  await expectExact({ replica: 1, between: [firstUpOf(1, boundary) - 1, endOfWindow()] });
});

it("a twin that comes back before the second look saves what the others lack", async () => {
  await bridge.collect();
  const boundary = endOfWindow();
  clock.jump(40 * MINUTE_MS);
  const bornMs = clock.now() - 20 * MINUTE_MS;
  cluster.world.shape.youngReplicas.set(0, bornMs).set(1, bornMs + MINUTE_MS);
  cluster.kube.updatePod(pod(2), { ready: false });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  clock.jump(6 * MINUTE_MS);
  cluster.kube.updatePod(pod(2), { ready: true });
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  expect((await bridge.statusOf(ID)).gaps).toEqual([]);
  const firstUp = firstUpOf(0, boundary);
  await expectExact({ replica: 2, between: [boundary, firstUp - 1] });
});
