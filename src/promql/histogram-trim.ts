import { type Bucket, isCustom, negativeBuckets, positiveBuckets, zeroBucket } from "./histogram-buckets.ts";
import { compact } from "./histogram-math.ts";
import { zeroLimits } from "./histogram-values.ts";
import type { FloatHistogram } from "./histogram.ts";

/** What remains of a bucket. */
interface Part {
  count: number;
  mean: number;
}

const NOTHING: Part = { count: 0, mean: 0 };

/**
 * Without the observations above the limit (`</`), or below it (`>/`). A bucket that the limit cuts is taken apart as quantiles are: evenly for
 * custom buckets and around zero, else on a logarithmic scale. The sum is then that of the buckets' means.
 */
export function trimHistogram(h: FloatHistogram, limit: number, keeps: "below" | "above"): FloatHistogram {
  const isUpper = keeps === "below";
  const kept = (buckets: Iterable<Bucket>): Part[] =>
    Array.from(buckets, (bucket) => {
      if (bucket.count === 0) return NOTHING;
      return isInfinite(bucket)
        ? infinitePart(bucket, limit, isUpper)
        : part(bucket, limit, isUpper, isCustom(h));
    });
  const positive = kept(positiveBuckets(h));
  const negative = kept(negativeBuckets(h));
  const zero = h.zeroCount > 0 ? zeroPart(h, limit, isUpper) : { count: h.zeroCount, mean: 0 };
  const parts = [...positive, ...negative, zero];
  const count = parts.reduce((sum, each) => sum + each.count, 0);
  const isWhole = [...h.positiveBuckets, ...h.negativeBuckets, h.zeroCount].every(
    (before, i) => parts[i]!.count === before,
  );
  return compact({
    ...h,
    positiveBuckets: positive.map((each) => each.count),
    negativeBuckets: negative.map((each) => each.count),
    zeroCount: zero.count,
    count: isWhole ? h.count : count,
    sum: isWhole ? h.sum : parts.reduce((sum, each) => sum + each.count * each.mean, 0),
  });
}

function isInfinite({ lower, upper }: Bucket): boolean {
  return lower === -Infinity || upper === Infinity;
}

function zeroPart(h: FloatHistogram, limit: number, isUpper: boolean): Part {
  const bucket = zeroBucket(h);
  const [lower, upper] = zeroLimits(h, bucket.lower, bucket.upper);
  return part({ ...bucket, lower, upper }, limit, isUpper, true);
}

function part({ lower, upper, count }: Bucket, limit: number, isUpper: boolean, isLinear: boolean): Part {
  const from = isUpper ? lower : Math.max(lower, limit);
  const to = isUpper ? Math.min(upper, limit) : upper;
  // A zero bucket of no width is at zero, which either side keeps.
  if (from > to || (from === to && lower !== upper)) return NOTHING;
  const mean = isLinear ? (from + to) / 2 : geometricMean(from, to);
  if (from === lower && to === upper) return { count, mean };
  const below = isLinear ? (limit - lower) / (upper - lower) : logarithmicFraction(limit, lower, upper);
  return { count: isUpper ? count * below : count - count * below, mean };
}

function geometricMean(from: number, to: number): number {
  const mean = Math.sqrt(Math.abs(from) * Math.abs(to));
  return to <= 0 ? -mean : mean;
}

/** The part of an exponential bucket's observations that is below the limit. */
function logarithmicFraction(limit: number, lower: number, upper: number): number {
  const logLower = Math.log2(Math.abs(lower));
  const logUpper = Math.log2(Math.abs(upper));
  const logLimit = Math.log2(Math.abs(limit));
  if (lower > 0) return (logLimit - logLower) / (logUpper - logLower);
  return 1 - (logLimit - logUpper) / (logLower - logUpper);
}

/** Of a custom bucket without an end little is known: it is kept or dropped whole, unless it may be taken to begin at 0. */
function infinitePart(bucket: Bucket, limit: number, isUpper: boolean): Part {
  const { lower, upper, count } = bucket;
  const isAll = isUpper ? limit === Infinity : limit === -Infinity;
  if (lower === -Infinity && upper === Infinity) return isAll ? { count, mean: 0 } : NOTHING;
  if (upper === Infinity) {
    if (isUpper) return isAll ? { count, mean: lower } : NOTHING;
    return limit === Infinity ? NOTHING : { count, mean: Math.max(limit, lower) };
  }
  if (upper > 0) {
    const isWithin = isUpper || limit >= 0 || isAll;
    return isWithin ? part({ ...bucket, lower: 0 }, limit, isUpper, true) : NOTHING;
  }
  if (!isUpper) return isAll ? { count, mean: upper } : NOTHING;
  return limit === -Infinity ? NOTHING : { count, mean: Math.min(limit, upper) };
}
