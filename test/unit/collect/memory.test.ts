import { expect, test } from "vitest";
import { abortable } from "#lib/clock.ts";
import type { Exporter } from "#otlp/exporter.ts";
import { createMemoryBudget } from "#lib/memory-budget.ts";
import { createLatch } from "../../helpers/latch.ts";
import { createCollection, HOUR, type Collection } from "../../helpers/collection.ts";

const FIRST_BUFFER = 256 << 10;

/** Collections that share one budget. Batches are only full at a round's end: everything that leaves before was flushed for want of memory. */
function collections(count: number, bytesMax: number): { all: Collection[]; peak: () => number } {
  const memory = createMemoryBudget(bytesMax);
  let peak = 0;
  const all = Array.from({ length: count }, () => {
    const collection = createCollection({ batchPointsMax: 1_000_000, initialLookbackMs: 3 * HOUR });
    collection.deps.memory = memory;
    const { exporter } = collection.deps;
    const send: Exporter["send"] = async (batch, probe, signal) => {
      peak = Math.max(peak, memory.used());
      // The Collector takes its time.
      for (let i = 0; i < 5; i++) await new Promise((resolve) => void setImmediate(resolve));
      return await exporter.send(batch, probe, signal);
    };
    collection.deps.exporter = { ...exporter, send };
    return collection;
  });
  return { all, peak: () => peak };
}

test("clusters that together hold more than the budget wait for each other, and all of them end", async () => {
  const alone = createCollection({ initialLookbackMs: 3 * HOUR });
  await alone.run();
  const { all, peak } = collections(8, FIRST_BUFFER);
  const results = await Promise.all(all.map((each) => each.run()));
  expect(results.map(({ outcome }) => outcome)).toEqual(all.map(() => "successful"));
  for (const each of all)
    expect(new Set(each.collector.points.keys())).toEqual(new Set(alone.collector.points.keys()));
  // A reader in the middle of a piece writes it to its end: one first buffer for each, and what is on its way.
  expect(peak()).toBeLessThanOrEqual(FIRST_BUFFER + 2 * 8 * FIRST_BUFFER);
  expect(all[0]!.collector.batches.length).toBeGreaterThan(1);
});

test("a cluster that gets no memory ends with its deadline, and the others do not notice", async () => {
  const { all } = collections(3, FIRST_BUFFER);
  const [stuck, ...others] = all as [Collection, ...Collection[]];
  const never = createLatch();
  // Its requests are never answered: it uses the whole budget until its deadline.
  const { exporter } = stuck.deps;
  const send: Exporter["send"] = async (batch, probe, signal) => {
    // The bridge's own metrics of the cluster pass.
    if (batch.points < 10) return await exporter.send(batch, probe, signal);
    never.open();
    try {
      return await abortable(new Promise<never>(() => {}), signal);
    } finally {
      batch.release();
    }
  };
  stuck.deps.exporter = { ...exporter, send };
  const deadline = new AbortController();
  const ended = stuck.run({ signal: deadline.signal });
  await never.opened;
  const running = Promise.all(others.map((each) => each.run()));
  deadline.abort(new Error("the cluster's deadline"));
  expect((await ended).outcome).toBe("failed");
  expect((await running).map(({ outcome }) => outcome)).toEqual(["successful", "successful"]);
});
