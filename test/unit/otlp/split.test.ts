import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitRequest } from "#otlp/split.ts";
import {
  attributesOf,
  createKeepingWriter,
  decodeRequest,
  pointsOf,
  RESOURCE,
} from "../../helpers/otlp-points.ts";
import { toOtlpRequest } from "../../helpers/otlp-request.ts";
import { toScanned } from "../../helpers/scanned-series.ts";

const METRICS = [
  { name: "first", kind: "gauge" as const, unit: "", description: "" },
  { name: "zweite_total", kind: "counter" as const, unit: "By", description: "Größe" },
  { name: "third", kind: "gauge" as const, unit: "s", description: "x".repeat(300) },
];

/** A request with runs of points: run i has `counts[i]` points of metric i. */
function requestOf(counts: readonly number[]): Buffer {
  const { writer, batches } = createKeepingWriter<number>();
  for (const [i, count] of counts.entries()) {
    const samples = Array.from({ length: count }, (_, n): [number, number] => [1_767_225_600_000 + n, n]);
    writer.series(
      toScanned({ name: "", labels: [["run", String(i)]], samples }),
      METRICS[i % METRICS.length]!,
      i,
    );
  }
  writer.flush();
  return batches[0]!.body;
}

const runs = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 8 }).chain((counts) => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return fc.record({ counts: fc.constant(counts), cut: fc.tuple(fc.nat(total - 1), fc.nat(total - 1)) });
});

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe("a request that is split", () => {
  test("gives any of its points, knows their kind, and the same point again by its fingerprint", () => {
    fc.assert(
      fc.property(runs, fc.array(fc.nat(100)), ({ counts }, chosen) => {
        const body = requestOf(counts);
        const all = pointsOf(body);
        const split = splitRequest(body);
        const indexes = [...new Set(chosen.filter((index) => index < all.length))].toSorted((a, b) => a - b);
        const part = split.select(indexes);
        expect(pointsOf(part)).toEqual(indexes.map((index) => all[index]));
        const prints = range(0, all.length).map((index) => split.fingerprintOf(index));
        const again = splitRequest(part);
        expect(indexes.map((_, i) => again.fingerprintOf(i))).toEqual(indexes.map((index) => prints[index]));
        expect(new Set(prints).size).toBe(
          new Set(
            all.map((point) =>
              JSON.stringify(point, (_key, value: unknown) =>
                typeof value === "bigint" ? String(value) : value,
              ),
            ),
          ).size,
        );
        for (const [i, index] of indexes.entries()) expect(again.kindOf(i)).toBe(split.kindOf(index));
        expect(range(0, all.length).map((index) => split.kindOf(index))).toEqual(
          counts.flatMap((count, run) => Array<string>(count).fill(run % 3 === 1 ? "sum" : "gauge")),
        );
      }),
    );
  });

  test("gives any run of its points as a request of its own", () => {
    fc.assert(
      fc.property(runs, ({ counts, cut }) => {
        const body = requestOf(counts);
        const all = pointsOf(body);
        const split = splitRequest(body);
        const from = Math.min(...cut);
        const to = Math.max(...cut) + 1;
        const slice = split.select(range(from, to));
        expect(split.points).toBe(all.length);
        expect(pointsOf(slice)).toEqual(all.slice(from, to));
        const { resourceMetrics } = decodeRequest(slice);
        expect(resourceMetrics).toHaveLength(1);
        expect(Object.fromEntries(attributesOf(resourceMetrics[0]!.resource!.attributes))).toEqual(RESOURCE);
        expect(resourceMetrics[0]!.scopeMetrics).toHaveLength(1);
        expect(resourceMetrics[0]!.scopeMetrics[0]!.scope).toMatchObject({
          name: "budcluster",
          version: "1.2.3",
        });
        for (const { gauge, sum } of resourceMetrics[0]!.scopeMetrics[0]!.metrics) {
          expect((gauge ?? sum)!.dataPoints.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("knows the metric of each point", () => {
    const body = requestOf([2, 1, 3, 1]);
    const split = splitRequest(body);
    const names = Array.from({ length: split.points }, (_, i) => split.metricOf(i));
    expect(names).toEqual(pointsOf(body).map(({ metric }) => metric));
    expect(split.metricOf(split.points)).toBe("");
  });

  test("may be split again", () => {
    const body = requestOf([5, 5, 5]);
    const part = splitRequest(body).select(range(3, 12));
    expect(pointsOf(splitRequest(part).select(range(1, 4)))).toEqual(pointsOf(body).slice(4, 7));
  });

  test("may come from another writer", () => {
    const body = toOtlpRequest({ cluster_id: "c" }, [
      {
        name: "a",
        kind: "sum",
        points: [
          { time: 1n, bits: 0n },
          { time: 2n, bits: 1n },
        ],
      },
      { name: "b", kind: "gauge", unit: "s", points: [{ time: 3n, bits: 2n, labels: { l: "m" } }] },
    ]);
    expect(pointsOf(splitRequest(body).select(range(1, 3)))).toEqual(pointsOf(body).slice(1));
  });

  test.each([
    ["bytes that are cut", (body: Buffer) => body.subarray(0, body.length - 1)],
    ["two resources", (body: Buffer) => Buffer.concat([body, body])],
    ["nothing", () => Buffer.alloc(0)],
    ["other bytes", () => Buffer.from("no protobuf at all")],
    ["a resource without a scope", () => Buffer.of(0x0a, 0x02, 0x0a, 0x00)],
  ])("is refused when it is %s", (_name, change) => {
    expect(() => splitRequest(change(requestOf([3])))).toThrow(RangeError);
  });
});
