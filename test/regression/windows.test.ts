import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import { createApp } from "#app/app.ts";
import { loadConfig } from "../../src/config.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { isOwn, startOtlpCollector } from "../helpers/otlp-collector.ts";
import { startTestSystem } from "../helpers/test-system.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { SMALL, bridgeEnvironment, readProgressRecord } from "../helpers/test-bridge.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";

// Defects of the system that this one replaces: each must stay out.

describe('Windows float from "now": gaps, doubles, no back-fill, and each replica collects', () => {
  it("rounds at any time: every sample once, what was missed is read later", async () => {
    const { bridge, clock, collector, compareAll } = await startTestSystem();
    for (const pauseMs of [0, 1, 17_003, 300_000, 299_999, 45 * 60_000, 12, 61_500]) {
      clock.jump(pauseMs);
      expect(await bridge.collect()).toMatchObject({ successful: 1 });
    }
    const compared = await compareAll();
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(5000);
    expect(collector.repeats).toBe(0);
  });

  it("two rounds at once collect a cluster once", async () => {
    const { bridge, collector, compareAll } = await startTestSystem();
    const rounds = await Promise.all([bridge.collect(), bridge.collect()]);
    const outcomes = rounds.map(({ successful, skipped }) => `${successful} successful, ${skipped} skipped`);
    expect(new Set(outcomes)).toEqual(new Set(["1 successful, 0 skipped", "0 successful, 1 skipped"]));
    const compared = await compareAll();
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(collector.repeats).toBe(0);
  });

  it("a second process on the same state does not start", async () => {
    const { bridge, simulator, collector } = await startTestSystem();
    const config = loadConfig(bridgeEnvironment(bridge.directory, { simulator, collector }));
    const second = createApp(config, createSilentLogger(), { work: "local" });
    await expect(second.start()).rejects.toMatchObject({ code: "state_unavailable" });
  });
});

describe("Naive local time shifts the window by the time zone of the host", () => {
  const directory = createTemporaryFolder();

  it("a host far from UTC collects the same window", async () => {
    const simulator = await startSimulator({ shape: SMALL });
    const collector = await startOtlpCollector();
    try {
      const environment = {
        ...bridgeEnvironment(directory, { simulator, collector }),
        TZ: "Pacific/Kiritimati",
      };
      const child = startBridgeChild({ ...environment, METRICS_COLLECTION_TIMEOUT: "10" });
      const before = Date.now();
      expect(await child.collect()).toMatchObject({ successful: 1 });
      const { clusters } = await child.status();
      const watermark = Date.parse(clusters[0]!.watermark!);
      expect(clusters[0]!.watermark).toMatch(/Z$/);
      expect(watermark).toBeGreaterThan(before - 92_000);
      expect(watermark).toBeLessThanOrEqual(Date.now() - 90_000);
      child.signal("SIGTERM");
      expect(await child.ended).toBe(0);
      const record = await readProgressRecord(join(directory, "data"), "sim-1");
      const compared = compareWithExpected(collector, simulator.cluster("sim-1").world, record);
      expect(compared).toEqual(noDifferences(compared.samples));
      expect(compared.samples).toBeGreaterThan(300);
    } finally {
      await collector.stop();
      await simulator.stop();
    }
  });
});

describe("The step of query_range replaces the real timestamps", () => {
  it.each([2, 3] as const)("samples of Prometheus %d keep their own millisecond", async (version) => {
    const { bridge, clock, collector, compareAll } = await startTestSystem({ prometheus: { version } });
    await bridge.collect();
    const points = [...collector.acknowledged.values()].filter((point) => !isOwn(point));
    const milliseconds = new Set(points.map(({ timestampMs }) => timestampMs % 1000));
    expect(milliseconds.size).toBeGreaterThan(20);
    clock.jump(60_000);
    await bridge.collect();
    const compared = await compareAll();
    expect(compared).toEqual(noDifferences(compared.samples));
  });

  it.each([2, 3] as const)(
    "a sample at the edge of two windows comes once from Prometheus %d",
    async (version) => {
      // 2.x closes ranges at both ends, 3.x leaves their start out.
      const { bridge, clock, collector, compareAll, simulator } = await startTestSystem({
        prometheus: { version },
        shape: { jitterMs: 2000 },
      });
      const nowMs = clock.now();
      const { world } = simulator.cluster("sim-1");
      const series = world.expected({ fromMs: nowMs, toMs: nowMs + 6 * 3_600_000, metric: "up" });
      // Windows end at whole seconds.
      const edge = series.flatMap(({ timestamps }) => timestamps).find((ms) => ms % 1000 === 0)!;
      for (const endMs of [edge - 60_000, edge, edge + 60_000]) {
        clock.jump(endMs + 90_000 - clock.now());
        expect(await bridge.collect()).toMatchObject({ successful: 1 });
      }
      expect([...collector.acknowledged.values()].some(({ timestampMs }) => timestampMs === edge)).toBe(true);
      const compared = await compareAll();
      expect(compared).toEqual(noDifferences(compared.samples));
      expect(collector.repeats).toBe(0);
    },
  );
});
