import { CUSTOM_SCHEMA, type NativeHistogram, type Span } from "#prometheus/remote-read/native-histogram.ts";

export type HistogramKind = "exponential_histogram" | "histogram";

/** A whole number from 0 to 2^64 - 1; a bigint where a number would be rounded. */
export type Count = number | bigint;

interface PointBase {
  timestampMs: number;
  /** The series ended: there are no counts, and the sum is Prometheus' stale marker. */
  isMarker: boolean;
  /** The low and the high half of the sum's bits. */
  sumBits: Uint32Array;
  count: Count;
}

/** Bucket i is (base^(offset + i), base^(offset + i + 1)]. */
export interface DenseBuckets {
  offset: number;
  counts: readonly Count[];
}

/** base = 2^(2^-scale). */
export interface ExponentialPoint extends PointBase {
  kind: "exponential_histogram";
  scale: number;
  zeroThreshold: number;
  zeroCount: Count;
  positive: DenseBuckets;
  negative: DenseBuckets;
}

/** Bucket i is (bounds[i - 1], bounds[i]], the last one has no upper bound. */
export interface ExplicitPoint extends PointBase {
  kind: "histogram";
  bounds: readonly number[];
  counts: readonly Count[];
}

export type HistogramPoint = ExponentialPoint | ExplicitPoint;

/** Buckets of one side of a point, empty ones included: OTLP can't leave gaps out. Over it, pairs of neighbours become one, as in Prometheus' own bucket limit. */
const BUCKETS_MAX = 16_384;
const COUNT_END = 2 ** 64;
/** Powers of two that a float64 has. */
const EXPONENT_MAX = 1024;
const EXPONENT_MIN = -1074;
const NO_BUCKETS: DenseBuckets = { offset: 0, counts: [] };

/**
 * A native histogram as a point of OTLP: sum and counts are the same to the bit. Returns why it can't be expressed: one of few texts. Sources: OpenTelemetry "Prometheus and
 * OpenMetrics compatibility" and the Collector's Prometheus receiver; docs/decisions/0033-native-histograms.md says where this differs.
 */
export function toHistogramPoint(histogram: NativeHistogram): HistogramPoint | string {
  const { schema, counterReset, isStale } = histogram;
  if (counterReset === "gauge" && !isStale) return "it is a gauge histogram, which OTLP does not have";
  const counts = wholeCounts(histogram);
  if (!counts) return "its counts are not whole numbers below 2^64, and OTLP has no others";
  const { timestampMs, sumBits } = histogram;
  const base = { timestampMs, isMarker: isStale, sumBits, count: counts.count };
  return schema === CUSTOM_SCHEMA
    ? toExplicit(histogram, base, counts)
    : toExponential(histogram, base, counts);
}

interface Counts {
  count: Count;
  zeroCount: Count;
  positiveCounts: readonly Count[];
  negativeCounts: readonly Count[];
}

/** Undefined: one of them is not a whole number that OTLP can hold. */
function wholeCounts(histogram: NativeHistogram): Counts | undefined {
  if (histogram.exact) return histogram.exact;
  const { count, zeroCount, positiveCounts, negativeCounts } = histogram;
  if (!isCount(count) || !isCount(zeroCount)) return undefined;
  if (!positiveCounts.every(isCount) || !negativeCounts.every(isCount)) return undefined;
  return {
    count: toCount(count),
    zeroCount: toCount(zeroCount),
    positiveCounts: Array.from(positiveCounts, toCount),
    negativeCounts: Array.from(negativeCounts, toCount),
  };
}

function isCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < COUNT_END;
}

function toCount(value: number): Count {
  return Number.isSafeInteger(value) ? value : BigInt(value);
}

/** Where Prometheus' bucket i ends, OTLP's bucket i begins. */
function toExponential(histogram: NativeHistogram, base: PointBase, counts: Counts): HistogramPoint | string {
  const { schema, zeroThreshold } = histogram;
  const positive = toSide(histogram.positiveSpans, counts.positiveCounts, schema);
  const negative = toSide(histogram.negativeSpans, counts.negativeCounts, schema);
  if (!positive || !negative) return "its buckets overlap or are outside the range of float64";
  let shift = 0;
  while (extentOf(positive, shift) > BUCKETS_MAX || extentOf(negative, shift) > BUCKETS_MAX) shift++;
  return {
    ...base,
    kind: "exponential_histogram",
    scale: schema - shift,
    zeroThreshold,
    zeroCount: counts.zeroCount,
    positive: toDense(positive, shift),
    negative: toDense(negative, shift),
  };
}

/** Buckets by OTLP's index, in ascending order. */
interface Side {
  indexes: readonly number[];
  counts: readonly Count[];
}

function toSide(spans: readonly Span[], counts: readonly Count[], schema: number): Side | undefined {
  const indexes = indexesOf(spans);
  if (!indexes) return undefined;
  const width = 2 ** -schema;
  const [first, last] = [indexes[0], indexes.at(-1)];
  if (first === undefined || last === undefined) return { indexes, counts };
  // The last bucket, for infinity, begins at the largest power.
  if ((last - 1) * width > EXPONENT_MAX || first * width < EXPONENT_MIN) return undefined;
  return { indexes: indexes.map((index) => index - 1), counts };
}

/** Prometheus' index of each bucket. Undefined: they are not in ascending order. */
function indexesOf(spans: readonly Span[]): number[] | undefined {
  const indexes: number[] = [];
  let next = 0;
  for (const [i, { offset, length }] of spans.entries()) {
    if (i > 0 && offset < 0) return undefined;
    next += offset;
    for (let end = next + length; next < end; next++) indexes.push(next);
  }
  return indexes;
}

/** Index of the bucket that holds bucket `index` when the scale is `shift` lower. */
function lowerIndex(index: number, shift: number): number {
  return Math.floor(index / 2 ** shift);
}

function extentOf({ indexes }: Side, shift: number): number {
  const [first, last] = [indexes[0], indexes.at(-1)];
  if (first === undefined || last === undefined) return 0;
  return lowerIndex(last, shift) - lowerIndex(first, shift) + 1;
}

function toDense(side: Side, shift: number): DenseBuckets {
  const { indexes } = side;
  if (indexes.length === 0) return NO_BUCKETS;
  const offset = lowerIndex(indexes[0]!, shift);
  const counts = Array<Count>(extentOf(side, shift)).fill(0);
  indexes.forEach((index, i) => {
    const at = lowerIndex(index, shift) - offset;
    counts[at] = sumOf(counts[at]!, side.counts[i]!);
  });
  return { offset, counts };
}

function sumOf(a: Count, b: Count): Count {
  if (typeof a === "number" && typeof b === "number" && Number.isSafeInteger(a + b)) return a + b;
  return BigInt.asUintN(64, BigInt(a) + BigInt(b));
}

function toExplicit(histogram: NativeHistogram, base: PointBase, sparse: Counts): HistogramPoint | string {
  const { customValues: bounds } = histogram;
  const isAscending = bounds.every(
    (bound, i) => Number.isFinite(bound) && (i === 0 || bound > bounds[i - 1]!),
  );
  if (!isAscending) return "its custom bounds do not ascend";
  if (sparse.zeroCount || sparse.negativeCounts.length > 0) {
    return "it has custom buckets and others as well";
  }
  // A marker has no buckets, and OTLP allows none only without bounds.
  const counts = Array<Count>(base.isMarker ? 0 : bounds.length + 1).fill(0);
  const indexes = indexesOf(histogram.positiveSpans);
  if (!indexes?.every((index) => index in counts)) return "its custom buckets overlap or have no bounds";
  indexes.forEach((index, i) => (counts[index] = sparse.positiveCounts[i]!));
  return { ...base, kind: "histogram", bounds: base.isMarker ? [] : bounds.slice(), counts };
}
