import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import { createOtlpWriter, type Batch } from "#otlp/writer.ts";
import { expectedPoints, pointsOf } from "../../helpers/otlp-points.ts";
import { toScanned, type PlainSeries } from "../../helpers/scanned-series.ts";

describe("the pool", () => {
  test("gives a free buffer again that is large enough, the smallest first", () => {
    const pool = createBufferPool(3);
    const [small, large] = [pool.take(10), pool.take(1000)];
    pool.give(large);
    pool.give(small);
    expect(pool.take(11)).toBe(large);
    expect(pool.take(10)).toBe(small);
    expect(pool.take(5)).toHaveLength(5);
  });

  test("never gives a buffer twice", () => {
    const pool = createBufferPool(5);
    pool.give(Buffer.alloc(10));
    expect(pool.take(10)).not.toBe(pool.take(10));
  });

  test("keeps the largest, no more than it may", () => {
    const pool = createBufferPool(2);
    const buffers = [1, 2, 3, 4].map((size) => pool.take(size));
    for (const buffer of buffers) pool.give(buffer);
    expect(pool.take(1)).toBe(buffers[2]);
    expect(pool.take(1)).toBe(buffers[3]);
    expect(buffers).not.toContain(pool.take(1));
  });
});

test("a batch stays as it is until it is released, whatever is written meanwhile", () => {
  const gauge = { name: "g", kind: "gauge" as const, unit: "", description: "" };
  const counter = { name: "c", kind: "counter" as const, unit: "By", description: "d" };
  const step = fc.record({
    samples: fc.integer({ min: 1, max: 400 }),
    labelBytes: fc.integer({ min: 0, max: 3_000 }),
    isCounter: fc.boolean(),
    /** Batch to release afterwards, if any. */
    release: fc.option(fc.nat(), { freq: 1 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), fc.boolean(), (steps, isShared) => {
      const pool = createBufferPool(3);
      const held: { batch: Batch<number>; writer: number }[] = [];
      const seen: unknown[][] = [[], []];
      const wanted: unknown[][] = [[], []];
      const read = ({ batch, writer }: (typeof held)[0]): void => {
        seen[writer]!.push(...pointsOf(batch.body));
        batch.release();
      };
      const writers = [0, 1].map((writer) =>
        createOtlpWriter<number>({
          resource: { cluster_id: `c${writer}` },
          scope: { name: "s", version: "" },
          pointsMax: 100,
          bytesMax: 300 << 10,
          pool,
          onBatch: (batch) => void held.push({ batch, writer }),
        }),
      );
      for (const [i, { samples, labelBytes, isCounter, release }] of steps.entries()) {
        const writer = isShared ? i % 2 : 0;
        const series: PlainSeries = {
          name: "",
          labels: [["l", `${i}`.repeat(labelBytes)]],
          samples: Array.from({ length: samples }, (_, n) => [n, n + i / 100]),
        };
        writers[writer]!.series(toScanned(series), isCounter ? counter : gauge, i);
        wanted[writer]!.push(...expectedPoints(series, isCounter ? counter : gauge));
        // The oldest first, so that the points come in their order.
        if (release !== null) for (const one of held.splice(0, release % (held.length + 1))) read(one);
      }
      for (const writer of writers) writer.flush();
      held.forEach(read);
      expect(seen).toEqual(wanted);
    }),
    { numRuns: 25 },
  );
});
