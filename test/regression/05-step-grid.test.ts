import { expect, it } from "vitest";
import { isOwn } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";
import { exact } from "../helpers/truth.ts";

// query_range replaced the samples' own times by those of a grid, and so dropped or repeated samples.

it.each([2, 3] as const)("samples of Prometheus %d keep their own millisecond", async (version) => {
  const { bridge, clock, collector, compareAll } = await setScene({ prometheus: { version } });
  await bridge.collect();
  const points = [...collector.acknowledged.values()].filter((point) => !isOwn(point));
  const milliseconds = new Set(points.map(({ timestampMs }) => timestampMs % 1000));
  expect(milliseconds.size).toBeGreaterThan(20);
  clock.jump(60_000);
  await bridge.collect();
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
});

it.each([2, 3] as const)(
  "a sample at the edge of two windows comes once from Prometheus %d",
  async (version) => {
    // 2.x closes ranges at both ends, 3.x leaves their start out.
    const { bridge, clock, collector, compareAll, simulator } = await setScene({
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
    expect(compared).toEqual(exact(compared.samples));
    expect(collector.repeats).toBe(0);
  },
);
