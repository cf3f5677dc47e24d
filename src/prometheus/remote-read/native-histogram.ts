import { invalid, tooLarge } from "./remote-read-error.ts";
import { isStaleMarker } from "./stale-marker.ts";

/** `length` buckets in a row, `offset` empty ones behind the span before; the first span's offset is its first bucket's index. */
export interface Span {
  offset: number;
  length: number;
}

/** Prometheus' hint, by its number in prometheus.Histogram.ResetHint. */
export const COUNTER_RESETS = ["unknown", "reset", "none", "gauge"] as const;
export type CounterReset = (typeof COUNTER_RESETS)[number];

/** A sample of a native histogram (prometheus.io/docs/specs/native_histograms). The object and its arrays are used again for the next one. */
export interface NativeHistogram {
  /** Since the epoch. */
  timestampMs: number;
  /** Are the counts floating point numbers in Prometheus, not integers? */
  isFloat: boolean;
  /** The end of a series: its sum is the stale marker, and it has no counts and no buckets. */
  isStale: boolean;
  counterReset: CounterReset;
  /** -9 to 52 for exponential buckets, -53 for custom ones, whose upper bounds are `customValues`. */
  schema: number;
  zeroThreshold: number;
  /** `sumBits`: its low and high half, with the payload of a NaN. */
  sum: number;
  sumBits: Uint32Array;
  count: number;
  zeroCount: number;
  positiveSpans: readonly Span[];
  negativeSpans: readonly Span[];
  /** Absolute counts of the buckets of the spans, one after the other. */
  positiveCounts: Float64Array;
  negativeCounts: Float64Array;
  customValues: readonly number[];
  /** All counts of an integer histogram in which one is 2^53 or more: the numbers above are then rounded. */
  exact: ExactCounts | undefined;
}

interface ExactCounts {
  count: bigint;
  zeroCount: bigint;
  positiveCounts: readonly bigint[];
  negativeCounts: readonly bigint[];
}

/** Spans, buckets of one side, and bounds that a histogram has at most. Prometheus' own have some hundreds. */
const BUCKETS_MAX = 65_536;
const SCHEMA_MIN = -9;
const SCHEMA_MAX = 52;
export const CUSTOM_SCHEMA = -53;
/** Where the words of the buckets begin behind those of count and zero count. */
export const FIRST_BUCKET = 2;
const NO_COUNTS = new Float64Array(0);

export function createNativeHistogram(): NativeHistogram {
  const sumBits = new Uint32Array(2);
  return {
    timestampMs: 0,
    isFloat: false,
    isStale: false,
    counterReset: "unknown",
    schema: 0,
    zeroThreshold: 0,
    sum: 0,
    sumBits,
    count: 0,
    zeroCount: 0,
    positiveSpans: [],
    negativeSpans: [],
    positiveCounts: NO_COUNTS,
    negativeCounts: NO_COUNTS,
    customValues: [],
    exact: undefined,
  };
}

/** Sets the sum by its bits; returns whether it is the stale marker. */
export function setSum(histogram: NativeHistogram, high: number, low: number): boolean {
  histogram.sumBits[0] = low;
  histogram.sumBits[1] = high;
  histogram.sum = doubleOf(high, low);
  return (histogram.isStale = isStaleMarker(high, low));
}

/** What is left of a histogram when it is stale: Prometheus' own reader gives the same, whatever its chunk has. */
export function setStale(histogram: NativeHistogram): void {
  histogram.counterReset = "unknown";
  histogram.schema = 0;
  histogram.zeroThreshold = 0;
  histogram.count = 0;
  histogram.zeroCount = 0;
  histogram.positiveSpans = [];
  histogram.negativeSpans = [];
  histogram.positiveCounts = NO_COUNTS;
  histogram.negativeCounts = NO_COUNTS;
  histogram.customValues = [];
  histogram.exact = undefined;
}

/**
 * Sets the counts of an integer histogram by their 64 bits: `words` has the low and high half of count, zero count, positive and negative buckets. Throws when a bucket's
 * count is negative.
 */
export function setIntegerCounts(histogram: NativeHistogram, words: Int32Array): void {
  const { positiveCounts, negativeCounts } = histogram;
  histogram.count = unsignedAt(words, 0);
  histogram.zeroCount = unsignedAt(words, 1);
  const highest = Math.max(
    histogram.count,
    histogram.zeroCount,
    setBuckets(positiveCounts, words, FIRST_BUCKET),
    setBuckets(negativeCounts, words, FIRST_BUCKET + positiveCounts.length),
  );
  histogram.exact = highest > Number.MAX_SAFE_INTEGER ? exactCounts(histogram, words) : undefined;
}

/** Returns the highest. */
function setBuckets(counts: Float64Array, words: Int32Array, first: number): number {
  let highest = 0;
  for (let i = 0; i < counts.length; i++) {
    if (words[(first + i) * 2 + 1]! < 0) throw invalid("a bucket of a histogram has a negative count");
    const count = unsignedAt(words, first + i);
    counts[i] = count;
    if (count > highest) highest = count;
  }
  return highest;
}

function unsignedAt(words: Int32Array, i: number): number {
  return (words[i * 2 + 1]! >>> 0) * 4_294_967_296 + (words[i * 2]! >>> 0);
}

function exactCounts({ positiveCounts, negativeCounts }: NativeHistogram, words: Int32Array): ExactCounts {
  const exactAt = (i: number): bigint =>
    (BigInt(words[i * 2 + 1]! >>> 0) << 32n) | BigInt(words[i * 2]! >>> 0);
  const exactFrom = (first: number, count: number): bigint[] =>
    Array.from({ length: count }, (_, i) => exactAt(first + i));
  return {
    count: exactAt(0),
    zeroCount: exactAt(1),
    positiveCounts: exactFrom(FIRST_BUCKET, positiveCounts.length),
    negativeCounts: exactFrom(FIRST_BUCKET + positiveCounts.length, negativeCounts.length),
  };
}

/** Checks a schema. */
export function checkSchema(schema: number): void {
  if (schema === CUSTOM_SCHEMA || (schema >= SCHEMA_MIN && schema <= SCHEMA_MAX)) return;
  throw invalid(`a histogram has the unknown schema ${schema}`);
}

/** Buckets of the spans. Throws when they are too many. */
export function countBuckets(spans: readonly Span[]): number {
  const buckets = spans.reduce((sum, { length }) => sum + length, 0);
  checkCount(buckets, "buckets");
  return buckets;
}

/** Buckets of a histogram and the empty ones between them, at most 2 * BUCKETS_MAX: what it costs to write it without gaps. */
export function extentOf({ positiveSpans, negativeSpans, customValues }: NativeHistogram): number {
  const extent = (spans: readonly Span[]): number => {
    const buckets = spans.reduce((sum, { offset, length }, i) => sum + length + (i > 0 ? offset : 0), 0);
    return Math.min(BUCKETS_MAX, Math.max(0, buckets));
  };
  return extent(positiveSpans) + extent(negativeSpans) + customValues.length;
}

export function checkCount(count: number, what: string): void {
  if (count > BUCKETS_MAX) throw tooLarge(`a histogram has more than ${BUCKETS_MAX} ${what}`);
}

const DOUBLE = new Float64Array(1);
const DOUBLE_WORDS = new Int32Array(DOUBLE.buffer);

export function doubleOf(high: number, low: number): number {
  DOUBLE_WORDS[0] = low;
  DOUBLE_WORDS[1] = high;
  return DOUBLE[0]!;
}
