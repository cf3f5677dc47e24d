import { formatFloat } from "#promql/go-numbers.ts";
import { allBuckets, type Bucket } from "#promql/histogram-buckets.ts";
import type { FloatHistogram } from "#promql/histogram.ts";

/** The JSON of a native histogram, as Prometheus' API has it: its buckets that are not empty, from the lowest to the highest. */
export function toHistogramJson(histogram: FloatHistogram): string {
  const buckets = allBuckets(histogram).filter(({ count }) => count !== 0);
  const list = buckets.length === 0 ? "" : `,"buckets":[${buckets.map(printBucket).join(",")}]`;
  return `{"count":"${formatFloat(histogram.count)}","sum":"${formatFloat(histogram.sum)}"${list}}`;
}

/** The first number says which ends belong to the bucket. */
function printBucket({ lower, upper, lowerInclusive, upperInclusive, count }: Bucket): string {
  const rule = lowerInclusive ? (upperInclusive ? 3 : 1) : upperInclusive ? 0 : 2;
  return `[${rule},"${formatFloat(lower)}","${formatFloat(upper)}","${formatFloat(count)}"]`;
}
