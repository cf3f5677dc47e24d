import { onTestFinished } from "vitest";
import { startSimulator, type Simulator, type SimulatorSettings } from "#simulator/simulator.ts";
import { createJumpingClock, type JumpingClock } from "./jumping-clock.ts";
import { startOtlpCollector, type OtlpCollector } from "./otlp-collector.ts";
import { SMALL, startTestBridge, type TestBridge, type TestBridgeParts } from "./test-bridge.ts";
import { compareWithExpected, type Comparison } from "./expected-samples.ts";

/** Simulated clusters, the bridge and a Collector, for one test. */
export interface TestSystem {
  clock: JumpingClock;
  simulator: Simulator;
  collector: OtlpCollector;
  bridge: TestBridge;
  /** Stops the bridge and compares the Collector's points with the cluster's samples, from the first window's start to the last one's end. */
  compareAll: (clusterId?: string) => Promise<Comparison>;
}

export type TestSystemSettings = Pick<SimulatorSettings, "clusters" | "prometheus" | "shape" | "seed"> &
  Pick<TestBridgeParts, "metrics" | "environment" | "resolve">;

/** Starts a simulator, a Collector and a bridge; all of them stop at the end of the test. */
export async function startTestSystem(settings: TestSystemSettings = {}): Promise<TestSystem> {
  const { metrics, environment, resolve, ...world } = settings;
  const clock = createJumpingClock();
  const simulator = await startSimulator({ ...world, clock, shape: { ...SMALL, ...world.shape } });
  const collector = await startOtlpCollector();
  const bridge = await startTestBridge({
    simulator,
    collector,
    clock,
    ...(metrics ? { metrics } : {}),
    ...(environment ? { environment } : {}),
    ...(resolve ? { resolve } : {}),
  });
  onTestFinished(async () => {
    await bridge.stop();
    await collector.stop();
    await simulator.stop();
  });
  return {
    clock,
    simulator,
    collector,
    bridge,
    compareAll: async (clusterId = "sim-1") => {
      const record = await bridge.progress(clusterId);
      for (const [query, { from, committed, attempted }] of Object.entries(record.queries)) {
        const isWhole = committed.length === 1 && committed[0]![0] === from && committed[0]![1] === attempted;
        if (!isWhole)
          throw new Error(`${query} has a hole: ${JSON.stringify({ from, committed, attempted })}`);
      }
      return compareWithExpected(collector, simulator.cluster(clusterId).world, record);
    },
  };
}
