import { expect, it } from "vitest";
import { isOwn, refusal, ACCEPT } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";
import { exact } from "../helpers/truth.ts";

// The former system dropped data after a 4xx or when its retries were used up, and reported success; its count was that of the queries.

it.each([400, 404, 500, 503])(
  "a Collector that answers %d: no success, no points, nothing lost",
  async (status) => {
    const { bridge, clock, collector, compareAll } = await setScene();
    await bridge.collect();
    clock.jump(60_000);
    collector.onRequest = () => refusal(status);
    expect(await bridge.collect()).toMatchObject({ successful: 0, failed: 1, points: 0 });
    const { last_error, last_success, watermark } = await bridge.statusOf("sim-1");
    expect(last_error?.code).toMatch(/^collector_/);
    expect(Date.parse(last_success!)).toBe(clock.now() - 60_000);
    expect(Date.parse(watermark!)).toBe(clock.now() - 60_000 - 90_000);
    collector.onRequest = () => ACCEPT;
    expect(await bridge.collect()).toMatchObject({ successful: 1 });
    const compared = await compareAll();
    expect(compared).toEqual(exact(compared.samples));
  },
);

it("counts points, not queries", async () => {
  const { bridge, collector } = await setScene();
  const { points } = await bridge.collect();
  expect(points).toBe([...collector.acknowledged.values()].filter((point) => !isOwn(point)).length);
  expect(points).toBeGreaterThan(300);
});
