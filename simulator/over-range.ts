import type { RANGE_FUNCTIONS } from "./promql.ts";
import { larger, mean, quantile, smaller, sum } from "./reduce.ts";
import type { SampleBuffer } from "./series.ts";

export type RangeFunction = (typeof RANGE_FUNCTIONS)[number];

type Calculation = (samples: SampleBuffer, fromMs: number, toMs: number) => number | undefined;

const all = ({ values, count }: SampleBuffer): Float64Array => values.subarray(0, count);

const CALCULATIONS: Record<Exclude<RangeFunction, "quantile_over_time">, Calculation> = {
  rate: (samples, fromMs, toMs) => {
    const increased = increase(samples, fromMs, toMs);
    return increased === undefined ? undefined : increased / ((toMs - fromMs) / 1000);
  },
  increase,
  count_over_time: ({ count }) => count,
  sum_over_time: (samples) => sum(all(samples)),
  avg_over_time: (samples) => mean(all(samples)),
  min_over_time: (samples) => all(samples).reduce(smaller),
  max_over_time: (samples) => all(samples).reduce(larger),
  last_over_time: ({ values, count }) => values[count - 1],
};

/**
 * One function over the samples of a range; undefined: no result. `fromMs` and `toMs` are the range's ends; `q` is for quantile_over_time.
 */
export function overRange(
  run: RangeFunction,
  samples: SampleBuffer,
  range: { fromMs: number; toMs: number; q: number },
): number | undefined {
  if (samples.count === 0) return undefined;
  if (run === "quantile_over_time") return quantile(range.q, all(samples));
  return CALCULATIONS[run](samples, range.fromMs, range.toMs);
}

/**
 * Prometheus' extrapolatedRate for counters (promql/functions.go): resets add up, and the ends are
 * extrapolated at most half a step.
 */
function increase(
  { count, timestamps, values }: SampleBuffer,
  fromMs: number,
  toMs: number,
): number | undefined {
  if (count < 2) return undefined;
  const first = values[0] ?? 0;
  let result = (values[count - 1] ?? 0) - first;
  for (let i = 1; i < count; i++) {
    const before = values[i - 1] ?? 0;
    if ((values[i] ?? 0) < before) result += before;
  }
  const firstMs = timestamps[0] ?? 0;
  const lastMs = timestamps[count - 1] ?? 0;
  const sampled = (lastMs - firstMs) / 1000;
  const average = sampled / (count - 1);
  const threshold = average * 1.1;
  let toStart = (firstMs - fromMs) / 1000;
  let toEnd = (toMs - lastMs) / 1000;
  if (toStart >= threshold) toStart = average / 2;
  const toZero = result > 0 && first >= 0 ? sampled * (first / result) : sampled;
  toStart = Math.min(toStart, toZero);
  if (toEnd >= threshold) toEnd = average / 2;
  return result * ((sampled + toStart + toEnd) / sampled);
}
