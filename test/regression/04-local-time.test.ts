import { join } from "node:path";
import { expect, it } from "vitest";
import { startSimulator } from "#simulator/simulator.ts";
import { startBridgeChild } from "../helpers/bridge-child.ts";
import { startOtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord, SMALL } from "../helpers/test-bridge.ts";
import { compare, exact } from "../helpers/truth.ts";

// The former system's window was shifted by the host's time zone.

it("a host far from UTC collects the same window", async () => {
  const directory = createTemporaryFolder();
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
    const compared = compare(collector, simulator.cluster("sim-1").world, record);
    expect(compared).toEqual(exact(compared.samples));
    expect(compared.samples).toBeGreaterThan(300);
  } finally {
    await collector.stop();
    await simulator.stop();
  }
});
