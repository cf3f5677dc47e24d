import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startSimulator, type SimulatedCluster, type Simulator } from "#simulator/simulator.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { createJumpingClock, type JumpingClock } from "../helpers/jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { SMALL, startTestBridge, type TestBridge } from "../helpers/test-bridge.ts";

// container_* samples have timestamps of their own, 45 s before their scrape: without COLLECTION_LAG they are late, as those of a node whose clock is behind.

const ID = "sim-1";
const MINUTE = 60_000;
const ROUNDS = 10;
/** Older stretches were compared when every sample of them had arrived. */
const SETTLED = 3 * MINUTE;

interface Completeness {
  stretches: {
    query: string;
    from: string;
    to: string;
    state: string;
    late: number;
    source: number | null;
    read: number;
  }[];
}

let clock: JumpingClock;
let simulator: Simulator;
let cluster: SimulatedCluster;
let collector: OtlpCollector;
let bridge: TestBridge;

async function start(version: 2 | 3): Promise<void> {
  clock = createJumpingClock();
  simulator = await startSimulator({ clock, shape: SMALL, prometheus: { version } });
  cluster = simulator.cluster(ID);
  collector = await startOtlpCollector();
  const environment = {
    COLLECTION_LAG: "0",
    PROOF_STRETCH: "1m",
    PROOF_DELAY: "30s",
    // The machine may be busy: the time limits are not what this is about.
    METRICS_COLLECTION_TIMEOUT: "60",
    EXPORT_TIMEOUT: "60",
    CLUSTER_DEADLINE: "300",
  };
  bridge = await startTestBridge({ simulator, collector, clock, environment });
}

async function completeness(): Promise<Completeness["stretches"]> {
  const answer = await fetch(`${bridge.url}/metrics/completeness?cluster=${ID}`);
  return ((await answer.json()) as Completeness).stretches;
}

describe.each([2, 3] as const)("late samples of Prometheus %i.x", (version) => {
  beforeEach(() => start(version));
  afterEach(async () => {
    await bridge.stop();
    await collector.stop();
    await simulator.stop();
  });

  it("are found, stored and counted; every stretch is proved against the same number of samples", async () => {
    for (let round = 0; round < ROUNDS; round++) {
      expect(bridge.resultOf(await bridge.collect(), ID).error).toBeNull();
      clock.jump(MINUTE);
    }
    expect(bridge.resultOf(await bridge.collect(), ID).error).toBeNull();
    const until = clock.now() - SETTLED;
    const stretches = (await completeness()).filter(({ to }) => Date.parse(to) <= until);
    expect(new Set(stretches.map(({ query }) => query)).size).toBe(5);
    expect(stretches.length).toBeGreaterThanOrEqual(5 * (ROUNDS - 4));
    expect(stretches.filter(({ state, source, read }) => state !== "proved" || source !== read)).toEqual([]);
    const late = (name: string): number =>
      stretches.filter(({ query }) => query === name).reduce((sum, stretch) => sum + stretch.late, 0);
    expect(late("container_cpu_usage_seconds_total")).toBeGreaterThan(0);
    expect(late("up")).toBe(0);
    expect(bridge.logs.some(({ code }) => code === "samples_late")).toBe(true);
    const counts = simulator.faults
      .traffic(ID)
      .requests.flatMap(({ query }) => (query?.startsWith("label_replace(") === true ? [query] : []));
    // A comparison of all five queries is one request.
    expect(new Set(counts.map((query) => query.split(" or ").length))).toEqual(new Set([5]));

    const progress = await bridge.progress(ID);
    const from = Math.min(...stretches.map((stretch) => Date.parse(stretch.from))) + MINUTE;
    const compared = compareWithExpected(collector, cluster.world, progress, {
      between: [from, until - MINUTE],
    });
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(50);
  });
});
