import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHistogramPoint, type HistogramPoint } from "#otlp/histogram-point.ts";
import { splitRequest } from "#otlp/split.ts";
import {
  createNativeHistogram,
  CUSTOM_SCHEMA,
  type NativeHistogram,
  type Span,
} from "#prometheus/remote-read/native-histogram.ts";
import { createKeepingWriter, decodeRequest } from "../../helpers/otlp-points.ts";
import { toScanned } from "../../helpers/scanned-series.ts";

const MS = 1_767_225_600_123;
const LABELS: [string, string][] = [
  ["job", "a"],
  ["path", "/ä"],
];
const STALE_BITS = Uint32Array.of(2, 0x7ff00000);

function native(parts: Partial<NativeHistogram>): NativeHistogram {
  const histogram = { ...createNativeHistogram(), timestampMs: MS, ...parts };
  if (parts.sum !== undefined) histogram.sumBits = new Uint32Array(Float64Array.of(parts.sum).buffer);
  return histogram;
}

const counts = (...values: number[]): Float64Array => Float64Array.from(values);
const span = (offset: number, length: number): Span => ({ offset, length });

function pointOf(histogram: NativeHistogram): HistogramPoint {
  const point = toHistogramPoint(histogram);
  if (typeof point === "string") throw new Error(point);
  return point;
}

/** The point as protobufjs reads it back, and the request. */
function written(point: HistogramPoint) {
  const { writer, batches } = createKeepingWriter<string>();
  const metric = { name: "h", kind: point.kind, unit: "s", description: "d" };
  const series = toScanned({ name: "h", labels: LABELS, samples: [] });
  expect(writer.histogram(series, point, metric, "owner")).toBeUndefined();
  writer.flush();
  const { body, points, parts } = batches[0]!;
  expect({ points, parts }).toEqual({ points: 1, parts: [{ owner: "owner", points: 1 }] });
  const [decoded] = decodeRequest(body).resourceMetrics[0]!.scopeMetrics[0]!.metrics;
  expect(decoded).toMatchObject({ name: "h", unit: "s", description: "d" });
  const data = point.kind === "histogram" ? decoded!.histogram! : decoded!.exponentialHistogram!;
  expect(data.aggregationTemporality).toBe(2);
  return { body, data: data.dataPoints[0]! };
}

function plain(point: HistogramPoint) {
  const { data } = written(point);
  const big = (value: { toString(): string }): bigint => BigInt(value.toString());
  const words = new Uint32Array(Float64Array.of(data.sum).buffer);
  const base = {
    ns: big(data.timeUnixNano),
    start: big(data.startTimeUnixNano),
    count: big(data.count),
    sumBits: [...words],
    flags: data.flags,
    labels: data.attributes.map(({ key, value }) => [key, value?.stringValue]),
  };
  if ("explicitBounds" in data) {
    return { ...base, bounds: data.explicitBounds, counts: data.bucketCounts.map(big) };
  }
  const side = (buckets: typeof data.positive) => ({
    offset: buckets?.offset ?? 0,
    counts: (buckets?.bucketCounts ?? []).map(big),
  });
  return {
    ...base,
    scale: data.scale,
    zeroCount: big(data.zeroCount),
    positive: side(data.positive),
    negative: side(data.negative),
  };
}

describe("exponential buckets", () => {
  test("Prometheus' bucket i is OTLP's i - 1, gaps are zeros, and each number arrives", () => {
    const histogram = native({
      schema: 3,
      sum: -0.1,
      count: 21,
      zeroCount: 1,
      zeroThreshold: 1e-128,
      positiveSpans: [span(-20, 2), span(3, 1)],
      positiveCounts: counts(1, 300, 70_000),
      negativeSpans: [span(4, 1)],
      negativeCounts: counts(9),
    });
    expect(plain(pointOf(histogram))).toEqual({
      ns: BigInt(MS) * 1_000_000n,
      start: 0n,
      count: 21n,
      sumBits: [...new Uint32Array(Float64Array.of(-0.1).buffer)],
      flags: 0,
      labels: LABELS,
      scale: 3,
      zeroCount: 1n,
      positive: { offset: -21, counts: [1n, 300n, 0n, 0n, 0n, 70_000n] },
      negative: { offset: 3, counts: [9n] },
    });
  });

  test.each([-9, -4, -1, 0, 1, 4, 8, 12, 52])("schema %i is the scale", (schema) => {
    const point = pointOf(
      native({ schema, count: 1, positiveSpans: [span(1, 1)], positiveCounts: counts(1) }),
    );
    expect(plain(point)).toMatchObject({ scale: schema, positive: { offset: 0, counts: [1n] } });
  });

  test("the buckets of infinity and of the smallest number are there; those beyond are refused", () => {
    const at = (index: number) =>
      toHistogramPoint(
        native({ schema: 2, count: 1, positiveSpans: [span(index, 1)], positiveCounts: counts(1) }),
      );
    expect(at(4 * 1024 + 1)).toMatchObject({ positive: { offset: 4096 } });
    expect(at(4 * -1074)).toMatchObject({ positive: { offset: 4 * -1074 - 1 } });
    expect(at(4 * 1024 + 2)).toMatch(/float64/);
    expect(at(4 * -1074 - 1)).toMatch(/float64/);
    expect(at(2_147_483_647)).toMatch(/float64/);
  });

  test("buckets that are too far apart are joined with their neighbours, as far as it takes", () => {
    const far = native({
      schema: 8,
      count: 10,
      positiveSpans: [span(-100_000, 2), span(200_000, 1)],
      positiveCounts: counts(1, 2, 3),
      negativeSpans: [span(257, 1)],
      negativeCounts: counts(4),
    });
    const point = pointOf(far);
    expect(point).toMatchObject({ scale: 4, count: 10, negative: { offset: 16, counts: [4] } });
    if (point.kind === "histogram") throw new Error("not exponential");
    const { offset, counts: dense } = point.positive;
    expect(dense.length).toBeLessThanOrEqual(16_384);
    // (-100001 .. -100000) >> 4 and 100001 >> 4.
    expect(offset).toBe(Math.floor(-100_001 / 16));
    expect(dense.map((count, i) => [i + offset, count]).filter(([, count]) => count !== 0)).toEqual([
      [Math.floor(-100_001 / 16), 1],
      [-6250, 2],
      [6250, 3],
    ]);
  });

  test("counts of 2^53 and more are exact, as integers and as float64", () => {
    const count = 2n ** 64n - 1n;
    const exact = {
      count,
      zeroCount: 2n ** 53n + 1n,
      positiveCounts: [count - 2n ** 53n, 5n],
      negativeCounts: [2n ** 32n],
    };
    const integers = native({
      exact,
      positiveSpans: [span(0, 2)],
      positiveCounts: counts(0, 0),
      negativeSpans: [span(0, 1)],
      negativeCounts: counts(0),
    });
    expect(plain(pointOf(integers))).toMatchObject({
      count,
      zeroCount: 2n ** 53n + 1n,
      positive: { counts: exact.positiveCounts },
      negative: { counts: [2n ** 32n] },
    });
    const float = native({ isFloat: true, count: 2 ** 63, zeroCount: 2 ** 53 + 2 });
    expect(plain(pointOf(float))).toMatchObject({ count: 2n ** 63n, zeroCount: 2n ** 53n + 2n });
  });
});

describe("custom buckets", () => {
  test("are explicit bounds, with zeros where there is no bucket", () => {
    const histogram = native({
      schema: CUSTOM_SCHEMA,
      sum: 12.5,
      count: 7,
      positiveSpans: [span(1, 1), span(1, 1)],
      positiveCounts: counts(3, 4),
      customValues: [-1, 0.1, 5],
    });
    expect(plain(pointOf(histogram))).toMatchObject({
      count: 7n,
      bounds: [-1, 0.1, 5],
      counts: [0n, 3n, 0n, 4n],
      labels: LABELS,
      flags: 0,
    });
  });

  test.each([
    ["bounds that do not ascend", { customValues: [1, 1] }, /ascend/],
    ["bounds that are no numbers", { customValues: [Number.NaN] }, /ascend/],
    ["a bound of infinity", { customValues: [1, Number.POSITIVE_INFINITY] }, /ascend/],
    [
      "a bucket behind the last",
      { positiveSpans: [span(2, 1)], positiveCounts: counts(1), customValues: [1] },
      /no bounds/,
    ],
    [
      "a bucket before the first",
      { positiveSpans: [span(-1, 1)], positiveCounts: counts(1), customValues: [1] },
      /no bounds/,
    ],
    ["negative buckets", { negativeSpans: [span(0, 1)], negativeCounts: counts(1) }, /others as well/],
    ["a zero bucket", { zeroCount: 1 }, /others as well/],
  ])("with %s are refused", (_, parts, reason) => {
    expect(toHistogramPoint(native({ schema: CUSTOM_SCHEMA, ...parts }))).toMatch(reason);
  });
});

test.each([
  ["a gauge", { counterReset: "gauge" }, /gauge/],
  ["a count that is not whole", { isFloat: true, count: 0.5 }, /whole/],
  ["a negative count", { isFloat: true, count: -1 }, /whole/],
  ["a count that is NaN", { isFloat: true, count: Number.NaN }, /whole/],
  ["a count of 2^64", { isFloat: true, count: 2 ** 64 }, /whole/],
  ["a bucket that is not whole", { positiveSpans: [span(0, 1)], positiveCounts: counts(1.5) }, /whole/],
  ["a zero bucket that is not whole", { zeroCount: 0.25 }, /whole/],
  [
    "spans that overlap",
    { positiveSpans: [span(5, 2), span(-1, 1)], positiveCounts: counts(1, 1, 1) },
    /overlap/,
  ],
] as const)("%s is refused by name", (_, parts, reason) => {
  expect(toHistogramPoint(native(parts as Partial<NativeHistogram>))).toMatch(reason);
});

test("a stale marker has the flag and its own sum, and nothing else, whatever its hint says", () => {
  for (const schema of [0, CUSTOM_SCHEMA]) {
    const marker = native({ isStale: true, schema, sumBits: STALE_BITS, counterReset: "gauge" });
    const point = pointOf(marker);
    expect(point.kind).toBe(schema === 0 ? "exponential_histogram" : "histogram");
    const { data } = written(point);
    expect(data.flags).toBe(1);
    expect([...point.sumBits]).toEqual([...STALE_BITS]);
    expect(data.count.toString()).toBe("0");
    // The sum's 64 bits, as they stand in the request.
    const { body } = written(point);
    expect(body.includes(Buffer.from([0x29, 2, 0, 0, 0, 0, 0, 0xf0, 0x7f]))).toBe(true);
  }
});

/** Prometheus' spans of ascending indexes. */
function spansOf(indexes: readonly number[]): Span[] {
  const spans: Span[] = [];
  let next = 0;
  for (const index of indexes) {
    if (spans.length > 0 && index === next) spans.at(-1)!.length++;
    else spans.push(span(index - next, 1));
    next = index + 1;
  }
  return spans;
}

test("what is written is what was given: any schema, buckets, counts and sum", () => {
  const count = fc.oneof(fc.nat(), fc.maxSafeNat());
  const side = fc.dictionary(fc.integer({ min: -60, max: 60 }).map(String), count, { maxKeys: 12 });
  const toSide = (buckets: Record<string, number>) => {
    const entries = Object.entries(buckets).map(([index, value]) => [Number(index), value] as const);
    entries.sort(([a], [b]) => a - b);
    return { spans: spansOf(entries.map(([i]) => i)), counts: entries.map(([, value]) => value), entries };
  };
  fc.assert(
    fc.property(
      fc.integer({ min: -4, max: 8 }),
      count,
      count,
      fc.double({ noNaN: true }),
      side,
      side,
      (schema, total, zeroCount, sum, positive, negative) => {
        const [up, down] = [toSide(positive), toSide(negative)];
        const histogram = native({
          schema,
          count: total,
          zeroCount,
          sum,
          positiveSpans: up.spans,
          positiveCounts: counts(...up.counts),
          negativeSpans: down.spans,
          negativeCounts: counts(...down.counts),
        });
        const back = plain(pointOf(histogram));
        if (!("scale" in back)) throw new Error("not exponential");
        const sparse = ({ offset, counts: dense }: typeof back.positive) =>
          dense.map((value, i) => [offset + i + 1, value] as const).filter(([, value]) => value > 0n);
        const given = ({ entries }: typeof up) =>
          entries.filter(([, value]) => value > 0).map(([i, value]) => [i, BigInt(value)]);
        expect(back).toMatchObject({ scale: schema, count: BigInt(total), zeroCount: BigInt(zeroCount) });
        expect(back.sumBits).toEqual([...new Uint32Array(Float64Array.of(sum).buffer)]);
        expect(sparse(back.positive)).toEqual(given(up));
        expect(sparse(back.negative)).toEqual(given(down));
      },
    ),
  );
});

test("a batch keeps its limits, and a histogram that is larger than a batch is refused", () => {
  const { writer, batches } = createKeepingWriter<string>({ bytesMax: 128 << 10, pointsMax: 5 });
  const series = toScanned({ name: "h", labels: LABELS, samples: [[MS, 1]] });
  const metric = { name: "h", kind: "histogram", unit: "", description: "" } as const;
  const bounds = Array.from({ length: 2000 }, (_, i) => i);
  const point = pointOf(native({ schema: CUSTOM_SCHEMA, customValues: bounds }));
  for (let i = 0; i < 12; i++) {
    expect(writer.histogram(series, point, metric, "a")).toBeUndefined();
    writer.series(series, { ...metric, kind: "gauge" }, "b");
  }
  writer.flush();
  expect(batches.length).toBeGreaterThan(4);
  expect(batches.reduce((sum, { points }) => sum + points, 0)).toBe(24);
  for (const { body, points } of batches) {
    expect(body.length).toBeLessThanOrEqual(128 << 10);
    expect(points).toBeLessThanOrEqual(5);
    const split = splitRequest(body);
    expect(split.points).toBe(points);
    const whole = split.select([...Array(points).keys()]);
    expect(decodeRequest(whole)).toEqual(decodeRequest(body));
    const kinds = [...Array(points).keys()].map((i) => split.kindOf(i));
    expect(new Set(kinds)).toEqual(new Set(["gauge", "histogram"]));
  }
  const wide = Array.from({ length: 20_000 }, (_, i) => i);
  const large = pointOf(native({ schema: CUSTOM_SCHEMA, customValues: wide }));
  expect(writer.histogram(series, large, metric, "a")).toMatch(/more than a batch may have/);
  writer.series(series, { ...metric, kind: "gauge" }, "b");
  writer.flush();
  expect(batches.at(-1)!.points).toBe(1);
});
