import { expect, it } from "vitest";
import { isOwn } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";
import { exact } from "../helpers/truth.ts";

// query_range replaced the samples' own times by those of a grid, and so dropped or repeated samples.

it.each([2, 3] as const)("samples of Prometheus %d keep their own millisecond", async (version) => {
  const { bridge, clock, collector, compareAll } = await setScene({ prometheus: { version } });
  await bridge.collect();
  // Window edges right at a sample: 2.x closes ranges at both ends, 3.x leaves the start out.
  const points = [...collector.acknowledged.values()].filter((point) => !isOwn(point));
  const milliseconds = new Set(points.map(({ timestampMs }) => timestampMs % 1000));
  expect(milliseconds.size).toBeGreaterThan(20);
  clock.jump(60_000);
  await bridge.collect();
  const compared = await compareAll();
  expect(compared).toEqual(exact(compared.samples));
  expect(collector.repeats).toBe(0);
});
