import { BridgeError } from "#errors/error.ts";
import {
  createNativeHistogram,
  CUSTOM_SCHEMA,
  type NativeHistogram,
  type Span,
} from "./remote-read/native-histogram.ts";
import { parseSampleValue } from "./sample-value.ts";

/** A bucket of the query API: its ends, and which of them belong to it (0: the right one, 1: the left one, 2: none, 3: both). */
interface Bucket {
  rule: number;
  left: number;
  right: number;
  count: number;
}

/** Collects a native histogram from the tokens of `{"count":"5","sum":"2.5","buckets":[[0,"1","2","5"]]}`. Throws `prometheus_answer_invalid`. */
export interface JsonHistogram {
  begin(timestampMs: number): void;
  count(text: string): void;
  sum(text: string): void;
  /** An element of a bucket. */
  element(index: number, text: string, isText: boolean): void;
  endBucket(elements: number): void;
  end(): NativeHistogram;
}

const BUCKET_ELEMENTS = 4;
const BUCKETS_MAX = 65_536;
/** How far a bound may be from the power of two that it is written for, in buckets. */
const TOLERANCE = 1e-6;
/** Schemas of Prometheus' histograms (model/histogram/generic.go). */
const SCHEMA_MIN = -4;
const SCHEMA_MAX = 8;

export function createJsonHistogram(): JsonHistogram {
  let timestampMs = 0;
  let count: number | undefined;
  let sum: number | undefined;
  let buckets: Bucket[] = [];
  let open: Bucket = { rule: 0, left: 0, right: 0, count: 0 };

  return {
    begin: (ms) => {
      timestampMs = ms;
      count = undefined;
      sum = undefined;
      buckets = [];
    },
    count: (text) => void (count = parseSampleValue(text)),
    sum: (text) => void (sum = parseSampleValue(text)),
    element: (index, text, isText) => {
      if (index === 0) {
        if (isText || !/^[0-3]$/.test(text)) throw notAHistogram();
        open = { rule: Number(text), left: 0, right: 0, count: 0 };
        return;
      }
      if (!isText || index >= BUCKET_ELEMENTS) throw notAHistogram();
      const value = parseSampleValue(text);
      if (index === 1) open.left = value;
      else if (index === 2) open.right = value;
      else open.count = value;
    },
    endBucket: (elements) => {
      if (elements !== BUCKET_ELEMENTS || !(open.left <= open.right)) throw notAHistogram();
      if (buckets.push(open) > BUCKETS_MAX) {
        throw new BridgeError(
          "prometheus_answer_too_large",
          `a native histogram has more than ${BUCKETS_MAX} buckets`,
        );
      }
    },
    end: () => {
      if (count === undefined || sum === undefined) throw notAHistogram();
      return toNativeHistogram(timestampMs, count, sum, buckets);
    },
  };
}

export function notAHistogram(): BridgeError {
  return new BridgeError(
    "prometheus_answer_invalid",
    "a native histogram is not [time, {count, sum, buckets}] in the query API's form",
  );
}

/**
 * The query API tells neither schema nor bucket numbers, and leaves empty buckets out. Ends that are powers of one base 2^(2^-schema) give the schema and the numbers back, in
 * Prometheus' own numbering. Where they are not, or are not enough to tell, the ends themselves become the bounds of custom buckets: the counts of
 * every interval stay as they are.
 */
function toNativeHistogram(
  timestampMs: number,
  count: number,
  sum: number,
  buckets: readonly Bucket[],
): NativeHistogram {
  const histogram = createNativeHistogram();
  histogram.timestampMs = timestampMs;
  histogram.isFloat = true;
  histogram.count = count;
  histogram.sum = sum;
  new Float64Array(histogram.sumBits.buffer)[0] = sum;
  if (!setExponential(histogram, buckets)) setCustom(histogram, buckets);
  return histogram;
}

/** False: these are no exponential buckets for sure. */
function setExponential(histogram: NativeHistogram, buckets: readonly Bucket[]): boolean {
  const zeros = buckets.filter(({ left, right }) => left === -right && Number.isFinite(right));
  const positive = buckets.filter(({ rule, left, right }) => rule === 0 && left >= 0 && right > 0);
  const negative = buckets.filter(({ rule, left, right }) => rule === 1 && right <= 0 && left < 0).reverse();
  if (zeros.length > 1 || zeros.length + positive.length + negative.length < buckets.length) return false;
  const threshold = zeros[0]?.right ?? 0;
  const sides = {
    positive: positive.map(({ left, right, count }) => ({ near: left, far: right, count })),
    negative: negative.map(({ left, right, count }) => ({ near: -right, far: -left, count })),
  };
  const all = [...sides.positive, ...sides.negative];
  const schema = all.length === 0 ? 0 : schemaOf(all);
  if (schema === undefined) return false;
  const positives = toSpans(sides.positive, schema);
  const negatives = toSpans(sides.negative, schema);
  if (!positives || !negatives) return false;
  histogram.schema = schema;
  histogram.zeroThreshold = threshold;
  histogram.zeroCount = zeros[0]?.count ?? 0;
  histogram.positiveSpans = positives;
  histogram.positiveCounts = Float64Array.from(sides.positive, ({ count }) => count);
  histogram.negativeSpans = negatives;
  histogram.negativeCounts = Float64Array.from(sides.negative, ({ count }) => count);
  return true;
}

/** A bucket of one side by its distance from 0: (near, far]. */
interface SideBucket {
  near: number;
  far: number;
  count: number;
}

/** Of the outermost bucket that has a power at its end: only the innermost one of a side is cut, where the zero bucket ends. */
function schemaOf(buckets: readonly SideBucket[]): number | undefined {
  const finite = buckets.filter(({ far }) => Number.isFinite(far));
  if (finite.length === 0) return undefined;
  const { near, far } = finite.reduce((a, b) => (a.far >= b.far ? a : b));
  const schema = 0 - Math.log2(Math.log2(far) - Math.log2(near));
  // Not -0.
  const rounded = Math.round(schema) + 0;
  if (!(Math.abs(schema - rounded) < TOLERANCE)) return undefined;
  return rounded >= SCHEMA_MIN && rounded <= SCHEMA_MAX ? rounded : undefined;
}

/** The buckets' numbers as spans. Undefined: one of them is no bucket of the schema. */
function toSpans(buckets: readonly SideBucket[], schema: number): Span[] | undefined {
  const perPower = 2 ** schema;
  const spans: Span[] = [];
  let next = 0;
  for (const { near, far } of buckets) {
    const isLast = !Number.isFinite(far);
    const number = isLast ? Math.log2(near) * perPower + 1 : Math.log2(far) * perPower;
    const index = Math.round(number);
    if (!(Math.abs(number - index) < TOLERANCE)) return undefined;
    const begin = Math.log2(near) * perPower - (index - 1);
    // The innermost bucket begins where the zero bucket ends, or at 0 when its power is less than every float64.
    const isCut = spans.length === 0 && begin > 0 && begin < 1;
    if (!(Math.abs(begin) < TOLERANCE) && !isCut && near !== 0) return undefined;
    if (index < next && spans.length > 0) return undefined;
    if (index === next && spans.length > 0) spans.at(-1)!.length++;
    else spans.push({ offset: index - next, length: 1 });
    next = index + 1;
  }
  return spans;
}

/** Each end is a bound; between two buckets that are apart is an empty one. */
function setCustom(histogram: NativeHistogram, buckets: readonly Bucket[]): void {
  const ends = buckets.flatMap(({ left, right }) => [left, right]).filter((end) => Number.isFinite(end));
  const bounds = [...new Set(ends)].sort((a, b) => a - b);
  const indexOf = new Map(bounds.map((bound, i) => [bound, i]));
  const spans: Span[] = [];
  const counts: number[] = [];
  let next = 0;
  for (const { left, right, count } of buckets) {
    const index = indexOf.get(right) ?? bounds.length;
    if (index !== (indexOf.get(left) ?? -1) + 1) throw notAHistogram();
    spans.push({ offset: index - next, length: 1 });
    counts.push(count);
    next = index + 1;
  }
  histogram.schema = CUSTOM_SCHEMA;
  histogram.customValues = bounds;
  histogram.positiveSpans = spans;
  histogram.positiveCounts = Float64Array.from(counts);
}
