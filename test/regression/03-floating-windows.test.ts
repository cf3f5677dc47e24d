import { expect, it } from "vitest";
import { createApp } from "../../src/app.ts";
import { loadConfig } from "../../src/config.ts";
import { setScene } from "../helpers/scene.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { bridgeEnvironment } from "../helpers/test-bridge.ts";
import { exact } from "../helpers/truth.ts";

// The former system's windows were "the last five minutes" of whenever it ran: late rounds left gaps, early ones doubled, and each replica
// collected everything.

it("rounds at any time: every sample once, what was missed is read later", async () => {
  const { bridge, clock, collector, compareAll } = await setScene();
  for (const pauseMs of [0, 1, 17_003, 300_000, 299_999, 45 * 60_000, 12, 61_500]) {
    clock.jump(pauseMs);
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
  }
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
  expect(compared.samples).toBeGreaterThan(5000);
  expect(collector.repeats).toBe(0);
});

it("two rounds at once collect a cluster once", async () => {
  const { bridge, collector, compareAll } = await setScene();
  const rounds = await Promise.all([bridge.collect(), bridge.collect()]);
  const outcomes = rounds.map(({ successful, skipped }) => `${successful} successful, ${skipped} skipped`);
  expect(new Set(outcomes)).toEqual(new Set(["1 successful, 0 skipped", "0 successful, 1 skipped"]));
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
  expect(collector.repeats).toBe(0);
});

it("a second process on the same state does not start", async () => {
  const { bridge, simulator, collector } = await setScene();
  const config = loadConfig(bridgeEnvironment(bridge.directory, { simulator, collector }));
  const second = createApp(config, createSilentLogger());
  await expect(second.start()).rejects.toMatchObject({ code: "state_unavailable" });
});
