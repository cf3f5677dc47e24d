import { allBuckets, type Bucket, isCustom } from "./histogram-buckets.ts";
import { log2 } from "./go-math.ts";
import type { FloatHistogram } from "./histogram.ts";
import { KahanSum } from "./kahan.ts";

/** What is to be said of a value. */
export type ValueRemark = "nan_result" | "nan_skew" | "nan_fraction";

/** The quantile of the observations; NaN, -Infinity and Infinity where Prometheus has them. */
export function histogramQuantile(q: number, h: FloatHistogram, remark: (what: ValueRemark) => void): number {
  if (q < 0) return -Infinity;
  if (q > 1) return Infinity;
  if (h.count === 0 || Number.isNaN(q)) return NaN;
  // NaN observations are in the count, and in no bucket: then only the way up finds the bucket.
  const isUpwards = Number.isNaN(h.sum) || q < 0.5;
  const buckets = isUpwards ? allBuckets(h) : allBuckets(h).reverse();
  let rank = (isUpwards ? q : 1 - q) * h.count;
  let count = 0;
  let bucket: Bucket = { lower: 0, upper: 0, lowerInclusive: false, upperInclusive: false, count: 0 };
  let next = 0;
  while (next < buckets.length) {
    bucket = buckets[next++]!;
    if (bucket.count === 0) continue;
    count += bucket.count;
    if (count >= rank) break;
  }
  let { lower, upper } = bucket;
  if (!isCustom(h) && lower < 0 && upper > 0) [lower, upper] = zeroLimits(h, lower, upper);
  else if (isCustom(h) && lower === -Infinity) {
    if (upper <= 0) return upper;
    lower = 0;
  } else if (isCustom(h) && upper === Infinity) return lower;
  if (count > h.count) count = h.count;
  if (count < rank) {
    if (!Number.isNaN(h.sum)) return upper;
    remark("nan_result");
    return NaN;
  }
  rank = isUpwards ? rank - (count - bucket.count) : count - rank;
  if (Number.isNaN(h.sum)) {
    for (; next < buckets.length; next++) count += buckets[next]!.count;
    if (count < h.count) remark("nan_skew");
  }
  const fraction = rank / bucket.count;
  if (isCustom(h) || (lower <= 0 && upper >= 0)) return lower + (upper - lower) * fraction;
  const logLower = log2(Math.abs(lower));
  const logUpper = log2(Math.abs(upper));
  if (lower > 0) return 2 ** (logLower + (logUpper - logLower) * fraction);
  return -(2 ** (logUpper + (logLower - logUpper) * (1 - fraction)));
}

/** The zero bucket of a histogram whose observations are all on one side ends at zero. */
export function zeroLimits(h: FloatHistogram, lower: number, upper: number): [lower: number, upper: number] {
  if (h.negativeBuckets.length === 0 && h.positiveBuckets.length > 0) return [0, upper];
  if (h.positiveBuckets.length === 0 && h.negativeBuckets.length > 0) return [lower, 0];
  return [lower, upper];
}

/** The part of the observations between the bounds. */
export function histogramFraction(
  lower: number,
  upper: number,
  h: FloatHistogram,
  remark: (what: ValueRemark) => void,
): number {
  if (h.count === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return NaN;
  if (lower >= upper) return 0;
  const buckets = allBuckets(h);
  let total = h.count;
  if (Number.isNaN(h.sum)) {
    total = buckets.reduce((sum, { count }) => sum + count, 0);
    if (total < h.count) remark("nan_fraction");
  }
  const upperRank = Math.min(rankOf(upper, h, buckets), total);
  return (upperRank - Math.min(rankOf(lower, h, buckets), total)) / h.count;
}

/** Observations below the value; Infinity when it is above all. */
function rankOf(value: number, h: FloatHistogram, buckets: readonly Bucket[]): number {
  let rank = 0;
  for (const bucket of buckets) {
    let { lower, upper } = bucket;
    const isZero = lower <= 0 && upper >= 0;
    if (isZero) [lower, upper] = zeroLimits(h, lower, upper);
    if (lower >= value) return rank;
    if (lower < value && upper > value) {
      if (lower === -Infinity) return rank + bucket.count;
      if (isCustom(h) || isZero) return rank + (bucket.count * (value - lower)) / (upper - lower);
      return rank + bucket.count * exponentialFraction(value, lower, upper);
    }
    rank += bucket.count;
  }
  return Infinity;
}

function exponentialFraction(value: number, lower: number, upper: number): number {
  const logLower = log2(Math.abs(lower));
  const logUpper = log2(Math.abs(upper));
  const logValue = log2(Math.abs(value));
  if (value > 0) return (logValue - logLower) / (logUpper - logLower);
  return 1 - (logValue - logUpper) / (logLower - logUpper);
}

/** The variance, if each observation were at its bucket's mean. */
export function histogramVariance(h: FloatHistogram): number {
  const mean = h.sum / h.count;
  const variance = new KahanSum();
  for (const { lower, upper, count } of allBuckets(h)) {
    if (count === 0) continue;
    const delta = centre(h, lower, upper) - mean;
    variance.add(count * delta * delta);
  }
  return (variance.sum + variance.compensation) / h.count;
}

function centre(h: FloatHistogram, lower: number, upper: number): number {
  if (isCustom(h)) return (upper + lower) / 2;
  if (lower <= 0 && upper >= 0) return 0;
  const geometric = Math.sqrt(upper * lower);
  return upper < 0 ? -geometric : geometric;
}
