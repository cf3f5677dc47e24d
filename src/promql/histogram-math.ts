import { type Buckets, isCustom, toBuckets, toSchema, toSpans } from "./histogram-buckets.ts";
import type { FloatHistogram } from "./histogram.ts";
import {
  above,
  type AdditionRemarks,
  commonBounds,
  HistogramSum,
  mapped,
  sameNumbers,
  targetOf,
  zeroForThreshold,
} from "./histogram-sum.ts";

/** Without empty buckets. */
export function compact(h: FloatHistogram): FloatHistogram {
  const positive = toSpans(toBuckets(h.positiveSpans, h.positiveBuckets));
  const negative = toSpans(toBuckets(h.negativeSpans, h.negativeBuckets));
  return {
    ...h,
    positiveSpans: positive.spans,
    positiveBuckets: positive.counts,
    negativeSpans: negative.spans,
    negativeBuckets: negative.counts,
  };
}

/** All but the bounds times the factor. A negative one makes a gauge of it. */
export function multiply(h: FloatHistogram, factor: number): FloatHistogram {
  return changed(h, (value) => value * factor, factor < 0);
}

/** All but the bounds by the divisor. By zero, no bucket remains. */
export function divide(h: FloatHistogram, divisor: number): FloatHistogram {
  const result = changed(h, (value) => value / divisor, divisor < 0);
  if (divisor !== 0) return result;
  return { ...result, positiveSpans: [], positiveBuckets: [], negativeSpans: [], negativeBuckets: [] };
}

function changed(h: FloatHistogram, change: (value: number) => number, isGauge: boolean): FloatHistogram {
  return {
    ...h,
    count: change(h.count),
    sum: change(h.sum),
    zeroCount: change(h.zeroCount),
    positiveBuckets: h.positiveBuckets.map(change),
    negativeBuckets: h.negativeBuckets.map(change),
    hint: isGauge ? "gauge" : h.hint,
  };
}

export interface Addition extends AdditionRemarks {
  histogram: FloatHistogram;
}

/** undefined: exponential and custom buckets can't be added. */
export function add(a: FloatHistogram, b: FloatHistogram, sign: 1 | -1 = 1): Addition | undefined {
  const sum = new HistogramSum(a);
  if (!sum.add(b, sign)) return undefined;
  return { histogram: sum.result(), ...sum.remarks };
}

/** The same in each number and bucket; also in empty ones, so both are compact. */
export function equalHistograms(a: FloatHistogram, b: FloatHistogram): boolean {
  if (a.schema !== b.schema || a.count !== b.count || !sameOrNaN(a.sum, b.sum)) return false;
  if (isCustom(a)) {
    if (!sameNumbers(a.customValues ?? [], b.customValues ?? [])) return false;
  } else if (a.zeroThreshold !== b.zeroThreshold || a.zeroCount !== b.zeroCount) return false;
  return (
    sameBuckets(
      toBuckets(a.positiveSpans, a.positiveBuckets),
      toBuckets(b.positiveSpans, b.positiveBuckets),
    ) &&
    sameBuckets(toBuckets(a.negativeSpans, a.negativeBuckets), toBuckets(b.negativeSpans, b.negativeBuckets))
  );
}

function sameOrNaN(a: number, b: number): boolean {
  return a === b || (Number.isNaN(a) && Number.isNaN(b));
}

function sameBuckets(a: Buckets, b: Buckets): boolean {
  return sameNumbers(a.indices, b.indices) && sameNumbers(a.counts, b.counts);
}

/** Was the counter reset between the two? By the histogram's hint, else because a count fell or the resolution grew. */
export function isReset(h: FloatHistogram, previous: FloatHistogram): boolean {
  if (h.hint === "reset") return true;
  if (h.hint === "no_reset") return false;
  if (h.count < previous.count || isCustom(h) !== isCustom(previous)) return true;
  if (isCustom(h)) return isCustomReset(h, previous);
  if (h.schema > previous.schema || h.zeroThreshold < previous.zeroThreshold) return true;
  const zero = zeroForThreshold(previous, h.zeroThreshold);
  if (zero.threshold !== h.zeroThreshold || h.zeroCount < zero.count) return true;
  const side = (of: FloatHistogram, isPositive: boolean): Buckets => {
    const buckets = isPositive
      ? toBuckets(of.positiveSpans, of.positiveBuckets)
      : toBuckets(of.negativeSpans, of.negativeBuckets);
    return above(toSchema(buckets, of.schema, h.schema), h.zeroThreshold, h.schema);
  };
  return [true, false].some((isPositive) => isFall(side(h, isPositive), side(previous, isPositive)));
}

function isCustomReset(h: FloatHistogram, previous: FloatHistogram): boolean {
  const [bounds, before] = [h.customValues ?? [], previous.customValues ?? []];
  const now = toBuckets(h.positiveSpans, h.positiveBuckets);
  const then = toBuckets(previous.positiveSpans, previous.positiveBuckets);
  if (sameNumbers(bounds, before)) return isFall(now, then);
  const common = commonBounds(bounds, before);
  return isFall(
    mapped(now, (index) => targetOf(index, bounds, common)),
    mapped(then, (index) => targetOf(index, before, common)),
  );
}

/** Is any bucket less than it was? */
function isFall(now: Buckets, then: Buckets): boolean {
  const counts = new Map(now.indices.map((index, i) => [index, now.counts[i]!]));
  return then.indices.some((index, i) => {
    const before = then.counts[i]!;
    const count = counts.get(index);
    return count === undefined ? before !== 0 : count < before;
  });
}
