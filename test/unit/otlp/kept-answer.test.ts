import { promisify } from "node:util";
import { gunzipSync, gzip } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createMemoryBudget, type MemoryBudget } from "#lib/memory-budget.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import type { Exporter } from "#otlp/exporter.ts";
import { answerBytesMax, createKeptAnswer, type KeptAnswer } from "#otlp/kept-answer.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import { createOtlpWriter, type Batch } from "#otlp/writer.ts";
import { expectedPoints, pointsOf, RESOURCE, type DecodedPoint } from "../../helpers/otlp-points.ts";
import { toScanned, type PlainSeries } from "../../helpers/scanned-series.ts";

const GAUGE: MetricDescription = { name: "up", kind: "gauge", unit: "", description: "" };
const NOW = 1_767_225_600_000;
const MIB = 1 << 20;
const { signal } = new AbortController();

const pack: Exporter["pack"] = async (batch) => {
  const { points, parts } = batch;
  const packed = await promisify(gzip)(batch.body, { level: 1 });
  batch.release();
  return { body: packed, packed: "gzip", points, parts, release: () => {} };
};

const seriesOf = (owner: string, index: number, samples: number): PlainSeries => ({
  name: "up",
  labels: [
    ["owner", owner],
    ["index", String(index)],
  ],
  samples: Array.from({ length: samples }, (_, i) => [NOW + i, index + i / 7]),
});

interface Harness {
  open(owner: string, size?: "usual" | "largest"): Promise<KeptAnswer>;
  /** Reads `series` series of 100 samples into the answer, as a client does. */
  fill(answer: KeptAnswer, owner: string, series: number): Promise<void>;
  batches: { points: DecodedPoint[]; parts: Batch<string>["parts"]; isPacked: boolean }[];
  flush(): void;
  memory: MemoryBudget;
}

/** What is handed over is taken at once. */
function createHarness(limits: Partial<typeof DEFAULTS> & { memoryMax?: number } = {}): Harness {
  const settings = { ...DEFAULTS, ...limits, resource: RESOURCE, scope: { name: "s", version: "1" } };
  const memory = createMemoryBudget(limits.memoryMax ?? Infinity);
  const account = memory.open(() => {});
  const pool = createBufferPool(4);
  const batches: Harness["batches"] = [];
  const submit = (batch: Batch<string>): void => {
    const { body, packed, parts } = batch;
    batches.push({
      points: pointsOf(packed ? gunzipSync(body) : body),
      parts,
      isPacked: packed !== undefined,
    });
    batch.release();
  };
  const shared = createOtlpWriter<string>({ ...settings, pool, onBatch: submit });
  return {
    open: async (owner, size = "usual") => {
      const isLargest = size === "largest";
      const bytes = isLargest ? answerBytesMax(settings) : 1;
      const reservation = await account.reserve(bytes, isLargest, signal);
      return createKeptAnswer({ exporter: { pack }, pool, shared, submit }, settings, owner, reservation);
    },
    fill: async (answer, owner, series) => {
      for (let i = 0; i < series; i++) {
        answer.series(toScanned(seriesOf(owner, i, 100)), GAUGE);
        await answer.room();
      }
    },
    batches,
    flush: () => shared.flush(),
    memory,
  };
}

const DEFAULTS = { pointsMax: 1000, bytesMax: 8 * MIB, keptBytesMax: 8 * MIB };

const ownersOf = ({ batches }: Harness): string[][] =>
  batches.map(({ parts }) => parts.map(({ owner }) => owner));

describe("an answer that is kept", () => {
  test("leaves as a whole, full batches compressed, when it is sent", async () => {
    const harness = createHarness();
    const answer = await harness.open("a");
    await harness.fill(answer, "a", 28);
    expect(harness.batches).toEqual([]);
    const bytes = await answer.send();
    expect(harness.batches.map(({ points, isPacked }) => [points.length, isPacked])).toEqual([
      [1000, true],
      [1000, true],
      // More than half a batch is not worth a copy.
      [800, false],
    ]);
    expect(harness.batches.flatMap(({ points }) => points)).toEqual(
      Array.from({ length: 28 }, (_, i) => expectedPoints(seriesOf("a", i, 100), GAUGE)).flat(),
    );
    expect(bytes).toBeGreaterThan(800 * 16);
    expect(harness.memory.used()).toBe(0);
  });

  test("shares its rest with others in a batch", async () => {
    const harness = createHarness();
    for (const owner of ["a", "b", "c"]) {
      const answer = await harness.open(owner);
      await harness.fill(answer, owner, 4);
      await answer.send();
    }
    expect(ownersOf(harness)).toEqual([["a", "b"]]);
    harness.flush();
    expect(ownersOf(harness)).toEqual([["a", "b"], ["c"]]);
    expect(harness.batches.flatMap(({ points }) => points)).toEqual(
      ["a", "b", "c"].flatMap((owner) =>
        Array.from({ length: 4 }, (_, i) => expectedPoints(seriesOf(owner, i, 100), GAUGE)).flat(),
      ),
    );
  });

  test("that is dropped leaves nothing, in no batch and not in memory", async () => {
    const harness = createHarness();
    const half = await harness.open("half");
    const whole = await harness.open("whole");
    await Promise.all([harness.fill(half, "half", 25), harness.fill(whole, "whole", 13)]);
    await half.drop();
    await whole.send();
    harness.flush();
    expect(new Set(ownersOf(harness).flat())).toEqual(new Set(["whole"]));
    expect(half.ranOut()).toBe(false);
    expect(harness.memory.used()).toBe(0);
  });

  test("ends when it is too large, by name", async () => {
    const harness = createHarness({ keptBytesMax: 20_000 });
    const answer = await harness.open("a");
    const failure = await harness.fill(answer, "a", 500).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "prometheus_answer_too_large", message: /20000 bytes compressed/ });
    await expect(answer.send()).rejects.toBe(failure);
    await answer.drop();
    expect(answer.ranOut()).toBe(false);
    expect([harness.batches, harness.memory.used()]).toEqual([[], 0]);
  });

  test("ends when there is no memory for it, and goes through when enough is reserved", async () => {
    const memoryMax = 600_000;
    const harness = createHarness({ memoryMax, bytesMax: 200_000 });
    const other = await harness.open("other");
    await harness.fill(other, "other", 1);
    const answer = await harness.open("a");
    await expect(harness.fill(answer, "a", 100)).rejects.toThrow(/no memory/);
    expect(harness.memory.used()).toBeLessThanOrEqual(memoryMax);
    await answer.drop();
    expect(answer.ranOut()).toBe(true);
    await other.drop();
    const again = await harness.open("a", "largest");
    await harness.fill(again, "a", 100);
    await again.send();
    harness.flush();
    expect(harness.batches.flatMap(({ points }) => points)).toHaveLength(10_000);
    expect(harness.memory.used()).toBe(0);
  });

  test("has at most two full batches that are not compressed yet", async () => {
    const harness = createHarness({ pointsMax: 100 });
    const answer = await harness.open("a");
    for (let i = 0; i < 2; i++) answer.series(toScanned(seriesOf("a", i, 100)), GAUGE);
    const room = answer.room();
    expect(room).toBeInstanceOf(Promise);
    await room;
    expect(answer.room()).toBeUndefined();
    await answer.drop();
  });

  test("any answers, however they end, are sent whole or not at all", async () => {
    const answers = fc.array(
      fc.record({ series: fc.integer({ min: 0, max: 25 }), isWhole: fc.boolean(), atOnce: fc.boolean() }),
      { maxLength: 8 },
    );
    const limits = fc.record({
      pointsMax: fc.constantFrom(30, 1000, 20_000),
      bytesMax: fc.constantFrom(128 << 10, MIB),
      keptBytesMax: fc.constantFrom(5000, MIB),
      memoryMax: fc.constantFrom(300_000, 1_000_000, Infinity),
    });
    await fc.assert(
      fc.asyncProperty(answers, limits, async (list, given) => {
        const harness = createHarness(given);
        const sent = new Set<string>();
        const run = async ({ series, isWhole }: (typeof list)[0], owner: string): Promise<void> => {
          for (const size of ["usual", "largest"] as const) {
            const answer = await harness.open(owner, size);
            try {
              await harness.fill(answer, owner, series);
              if (!isWhole) throw new Error("cut");
              await answer.send();
              sent.add(owner);
              return;
            } catch {
              await answer.drop();
              if (!answer.ranOut()) return;
            }
          }
          throw new Error("the largest answer ran out of memory");
        };
        let underWay: Promise<void>[] = [];
        for (const [i, each] of list.entries()) {
          underWay.push(run(each, `o${i}`));
          if (!each.atOnce) await Promise.all(underWay.splice(0));
        }
        await Promise.all(underWay);
        underWay = [];
        harness.flush();
        const points = harness.batches.flatMap((batch) => batch.points);
        for (const [i, { series }] of list.entries()) {
          const owner = `o${i}`;
          const own = points.filter(({ attributes }) => attributes[0]![1] === owner);
          const wanted = sent.has(owner)
            ? Array.from({ length: series }, (_, n) => expectedPoints(seriesOf(owner, n, 100), GAUGE)).flat()
            : [];
          expect(own).toEqual(wanted);
        }
        for (const batch of harness.batches)
          expect(batch.parts.reduce((sum, part) => sum + part.points, 0)).toBe(batch.points.length);
        expect(harness.memory.used()).toBe(0);
      }),
      { numRuns: 20 },
    );
  }, 120_000);
});
