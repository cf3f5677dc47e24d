import { formatTime, formatValue } from "./answer-format.ts";

/** A run of buckets: so many indexes behind the last bucket before it (behind index 0 at the start), and how many. */
export type Span = readonly [offset: number, length: number];

/** One sample of a native histogram, with whole counts. */
export interface NativeHistogram {
  /** 3: eight buckets a power of two; -53: the buckets end at `customValues`. */
  schema: 3 | -53;
  count: number;
  sum: number;
  zeroThreshold: number;
  zeroCount: number;
  positiveSpans: readonly Span[];
  /** One a bucket of the spans, as are the negative ones. */
  positiveCounts: readonly number[];
  negativeSpans: readonly Span[];
  negativeCounts: readonly number[];
  customValues: readonly number[];
  /** When the process began that counts (ms): between two samples that differ in it the counts went back to 0. */
  startedMs: number;
}

/** Each count less the one before it, as Prometheus stores them. */
export function deltasOf(counts: readonly number[]): number[] {
  return counts.map((count, i) => count - (counts[i - 1] ?? 0));
}

/** Prometheus' own bounds of schema 3 between two powers of two (model/histogram/generic.go). */
const EIGHTHS: readonly number[] = [
  0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048, 0.7071067811865475, 0.7711054127039704,
  0.8408964152537144, 0.9170040432046711,
];

/** The upper bound of a bucket of schema 3. */
export function exponentialBound(index: number): number {
  const eighth = index & 7;
  return EIGHTHS[eighth]! * 2 ** ((index - eighth) / 8 + 1);
}

/** 0: open on the left, 1: on the right, 3: both ends belong to it. */
type Bucket = readonly [rule: 0 | 1 | 3, lower: number, upper: number, count: number];

function bucketsOf(histogram: NativeHistogram): Bucket[] {
  const { schema, customValues, zeroThreshold, zeroCount } = histogram;
  const positive = indexesOf(histogram.positiveSpans).map((index, i): Bucket => {
    const count = histogram.positiveCounts[i] ?? 0;
    if (schema === 3) return [0, exponentialBound(index - 1), exponentialBound(index), count];
    const upper = customValues[index] ?? Number.POSITIVE_INFINITY;
    return index === 0
      ? [3, Number.NEGATIVE_INFINITY, upper, count]
      : [0, customValues[index - 1] ?? 0, upper, count];
  });
  const negative = indexesOf(histogram.negativeSpans).map((index, i): Bucket => {
    return [1, -exponentialBound(index), -exponentialBound(index - 1), histogram.negativeCounts[i] ?? 0];
  });
  return [...negative.reverse(), [3, -zeroThreshold, zeroThreshold, zeroCount], ...positive];
}

function indexesOf(spans: readonly Span[]): number[] {
  const indexes: number[] = [];
  let next = 0;
  for (const [offset, length] of spans) {
    next += offset;
    for (let i = 0; i < length; i++) indexes.push(next++);
  }
  return indexes;
}

/** A sample as the query API writes it; empty buckets are left out. */
export function formatHistogram(timeMs: number, histogram: NativeHistogram): string {
  const buckets = bucketsOf(histogram)
    .filter(([, , , count]) => count > 0)
    .map(
      ([rule, ...numbers]) => `[${rule},${numbers.map((number) => `"${formatValue(number)}"`).join(",")}]`,
    );
  const list = buckets.length > 0 ? `,"buckets":[${buckets.join(",")}]` : "";
  const { count, sum } = histogram;
  return `[${formatTime(timeMs)},{"count":"${formatValue(count)}","sum":"${formatValue(sum)}"${list}}]`;
}
