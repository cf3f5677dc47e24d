import { formatShort } from "./go-numbers.ts";
import { type BucketSpan, CUSTOM_BUCKETS, type FloatHistogram } from "./histogram.ts";

/** Buckets of one side of zero, by ascending index; also those that are empty. */
export interface Buckets {
  indices: number[];
  counts: number[];
}

/** A bucket with its limits. */
export interface Bucket {
  lower: number;
  upper: number;
  lowerInclusive: boolean;
  upperInclusive: boolean;
  count: number;
}

export function isCustom({ schema }: Pick<FloatHistogram, "schema">): boolean {
  return schema === CUSTOM_BUCKETS;
}

export function toBuckets(spans: readonly BucketSpan[], counts: readonly number[]): Buckets {
  const indices: number[] = [];
  let index = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let i = 0; i < length; i++) indices.push(index++);
  }
  return { indices, counts: [...counts] };
}

/** Empty buckets are left out. */
export function toSpans({ indices, counts }: Buckets): { spans: BucketSpan[]; counts: number[] } {
  const spans: BucketSpan[] = [];
  const kept: number[] = [];
  let next = 0;
  indices.forEach((index, i) => {
    const count = counts[i]!;
    if (count === 0) return;
    const last = spans.at(-1);
    if (last && index === next) last.length++;
    else spans.push({ offset: index - next, length: 1 });
    next = index + 1;
    kept.push(count);
  });
  return { spans, counts: kept };
}

/** Merges buckets to a lower resolution. */
export function toSchema(buckets: Buckets, from: number, to: number): Buckets {
  if (from === to) return buckets;
  const merged: Buckets = { indices: [], counts: [] };
  buckets.indices.forEach((index, i) => {
    const target = ((index - 1) >> (from - to)) + 1;
    const last = merged.indices.length - 1;
    if (merged.indices[last] === target) merged.counts[last]! += buckets.counts[i]!;
    else {
      merged.indices.push(target);
      merged.counts.push(buckets.counts[i]!);
    }
  });
  return merged;
}

/** The upper bound of an exponential bucket: 2 to the power of index / 2^schema. */
export function exponentialBound(index: number, schema: number): number {
  if (schema < 0) {
    const exponent = index * 2 ** -schema;
    return exponent === 1024 ? Number.MAX_VALUE : 2 ** exponent;
  }
  const perDouble = 2 ** schema;
  const exponent = Math.floor(index / perDouble);
  const fraction = index - exponent * perDouble;
  if (fraction === 0 && exponent === 1024) return Number.MAX_VALUE;
  // 2^1023 is the greatest power: the fraction makes it larger.
  return exponent === 1024 ? Infinity : 2 ** (fraction / perDouble) * 2 ** exponent;
}

/** Buckets above zero, ascending. Of custom buckets all. */
export function* positiveBuckets(h: FloatHistogram): Generator<Bucket> {
  const { indices, counts } = toBuckets(h.positiveSpans, h.positiveBuckets);
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    if (!isCustom(h)) {
      yield exponential(exponentialBound(index - 1, h.schema), exponentialBound(index, h.schema), counts[i]!);
      continue;
    }
    const bounds = h.customValues ?? [];
    yield {
      lower: index === 0 ? -Infinity : bounds[index - 1]!,
      upper: index >= bounds.length ? Infinity : bounds[index]!,
      lowerInclusive: index === 0,
      upperInclusive: true,
      count: counts[i]!,
    };
  }
}

function exponential(lower: number, upper: number, count: number): Bucket {
  return { lower, upper, lowerInclusive: false, upperInclusive: true, count };
}

/** Buckets below zero, from zero downwards. */
export function* negativeBuckets(h: FloatHistogram): Generator<Bucket> {
  const { indices, counts } = toBuckets(h.negativeSpans, h.negativeBuckets);
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    const lower = -exponentialBound(index, h.schema);
    const upper = -exponentialBound(index - 1, h.schema);
    yield { lower, upper, lowerInclusive: true, upperInclusive: false, count: counts[i]! };
  }
}

export function zeroBucket(h: FloatHistogram): Bucket {
  return {
    lower: -h.zeroThreshold,
    upper: h.zeroThreshold,
    lowerInclusive: true,
    upperInclusive: true,
    count: h.zeroCount,
  };
}

/** All buckets, ascending; those next to the zero bucket end at it. */
export function allBuckets(h: FloatHistogram): Bucket[] {
  const negative = [...negativeBuckets(h)].reverse();
  for (const bucket of negative) bucket.upper = Math.min(bucket.upper, -h.zeroThreshold);
  const positive = [...positiveBuckets(h)];
  if (isCustom(h)) return positive;
  for (const bucket of positive) bucket.lower = Math.max(bucket.lower, h.zeroThreshold);
  return [...negative, ...(h.zeroCount > 0 ? [zeroBucket(h)] : []), ...positive];
}

/** As Prometheus writes a histogram: {count:3, sum:4, (1,2]:3}. */
export function histogramText(h: FloatHistogram): string {
  const negative = [...negativeBuckets(h)].reverse();
  const zero = h.zeroCount === 0 || isCustom(h) ? [] : [zeroBucket(h)];
  const buckets = [...negative, ...zero, ...positiveBuckets(h)].filter(({ count }) => count !== 0);
  const texts = buckets.map(
    ({ lower, upper, lowerInclusive, upperInclusive, count }) =>
      `, ${lowerInclusive ? "[" : "("}${formatShort(lower)},${formatShort(upper)}${upperInclusive ? "]" : ")"}:${formatShort(count)}`,
  );
  return `{count:${formatShort(h.count)}, sum:${formatShort(h.sum)}${texts.join("")}}`;
}
