import { describe, expect, test } from "vitest";
import { createJsonHistogram } from "#prometheus/json-histogram.ts";
import { CUSTOM_SCHEMA, type NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";

type Bucket = [rule: number, left: string, right: string, count: string];

function read(buckets: Bucket[], count = "9", sum = "1.5"): NativeHistogram {
  const reader = createJsonHistogram();
  reader.begin(1000);
  reader.count(count);
  reader.sum(sum);
  for (const bucket of buckets) {
    bucket.forEach((value, i) => reader.element(i, String(value), i > 0));
    reader.endBucket(bucket.length);
  }
  return reader.end();
}

/** Each bucket of a side as [index, count]. */
function indexed(histogram: NativeHistogram, side: "positive" | "negative"): [number, number][] {
  const [spans, counts] =
    side === "positive"
      ? [histogram.positiveSpans, histogram.positiveCounts]
      : [histogram.negativeSpans, histogram.negativeCounts];
  const pairs: [number, number][] = [];
  let next = 0;
  for (const { offset, length } of spans) {
    next += offset;
    for (let i = 0; i < length; i++) pairs.push([next++, counts[pairs.length]!]);
  }
  return pairs;
}

const text = (value: number): string => (value === Infinity ? "+Inf" : String(value));
const bound = (index: number, schema: number): number =>
  Math.min(2 ** (index / 2 ** schema), Number.MAX_VALUE);

test.each([-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8])(
  "schema %i and the numbers of the buckets come back from their ends, near 1 and at the ends of float64",
  (schema) => {
    const perPower = 2 ** schema;
    const indexes = [-1000, -3, -1, 0, 1, 2, 5, 900].map((power) => Math.floor(power * perPower) + 1);
    const distinct = [...new Set(indexes)];
    const positive = distinct.map((index, i): Bucket => {
      return [0, text(bound(index - 1, schema)), text(bound(index, schema)), String(i + 1)];
    });
    const negative = distinct
      .map((index, i): Bucket => {
        return [1, text(-bound(index, schema)), text(-bound(index - 1, schema)), String(i + 10)];
      })
      .reverse();
    const histogram = read([...negative, [3, "-1e-310", "1e-310", "7"], ...positive]);
    expect(histogram).toMatchObject({ schema, zeroCount: 7, zeroThreshold: 1e-310, count: 9, sum: 1.5 });
    expect(indexed(histogram, "positive")).toEqual(distinct.map((index, i) => [index, i + 1]));
    expect(indexed(histogram, "negative")).toEqual(distinct.map((index, i) => [index, i + 10]));
  },
);

describe("the ends of a side", () => {
  test("the last buckets end at the largest number and at infinity", () => {
    const max = Number.MAX_VALUE;
    const histogram = read([
      [0, "1", "1.4142135623730951", "1"],
      [0, text(bound(2047, 1)), text(max), "2"],
      [0, text(max), "+Inf", "3"],
    ]);
    expect(histogram.schema).toBe(1);
    expect(indexed(histogram, "positive")).toEqual([
      [1, 1],
      [2048, 2],
      [2049, 3],
    ]);
  });

  test("a bucket that the zero bucket cuts keeps its number, also when that one is empty and not there", () => {
    const cut: Bucket = [0, "0.3", "0.5", "4"];
    const whole: Bucket = [0, "1", "2", "5"];
    for (const buckets of [
      [[3, "-0.3", "0.3", "1"] as Bucket, cut, whole],
      [cut, whole],
    ]) {
      const histogram = read(buckets);
      expect(histogram.schema).toBe(0);
      expect(indexed(histogram, "positive")).toEqual([
        [-1, 4],
        [1, 5],
      ]);
    }
  });
});

test("custom buckets become bounds: each interval has its count, and what is between them has none", () => {
  const histogram = read([
    [3, "-Inf", "0.1", "2"],
    [0, "0.1", "0.25", "3"],
    [0, "1", "2.5", "4"],
    [0, "10", "+Inf", "5"],
  ]);
  expect(histogram).toMatchObject({ schema: CUSTOM_SCHEMA, customValues: [0.1, 0.25, 1, 2.5, 10] });
  expect(indexed(histogram, "positive")).toEqual([
    [0, 2],
    [1, 3],
    [3, 4],
    [5, 5],
  ]);
});

test("ends that are no powers of one base are bounds as well", () => {
  expect(read([[0, "0.3", "0.5", "4"]])).toMatchObject({ schema: CUSTOM_SCHEMA, customValues: [0.3, 0.5] });
  const twoBases = read([
    [0, "1", "2", "4"],
    [0, "4", "16", "4"],
  ]);
  expect(twoBases).toMatchObject({ schema: CUSTOM_SCHEMA, customValues: [1, 2, 4, 16] });
});

test("without buckets there is a count and a sum, with the bits of the sum", () => {
  const histogram = read([], "18446744073709551615", "-0");
  expect(histogram).toMatchObject({ schema: 0, count: 2 ** 64, positiveSpans: [], isFloat: true });
  expect([...histogram.sumBits]).toEqual([0, 0x80000000]);
  expect(read([], "1", "NaN").sum).toBeNaN();
});

test.each([
  ["a rule that is none", [[4, "1", "2", "3"]]],
  ["a bucket of three", [[0, "1", "2"]]],
  ["a bucket of five", [[0, "1", "2", "3", "4"]]],
  ["ends in the wrong order", [[0, "2", "1", "3"]]],
  ["a number that is none", [[0, "1", "x", "3"]]],
  [
    "buckets that overlap",
    [
      [0, "1", "3", "1"],
      [0, "2", "5", "1"],
    ],
  ],
])("%s makes the answer invalid", (_, buckets) => {
  expect(() => read(buckets as Bucket[])).toThrow(/histogram is not|not a number/);
});

test("a histogram without a count or a sum makes the answer invalid", () => {
  const reader = createJsonHistogram();
  reader.begin(1);
  reader.count("1");
  expect(() => reader.end()).toThrow(/count, sum/);
});
