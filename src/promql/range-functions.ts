import { ignoredHistogramsInRange, invalidQuantile } from "./annotations.ts";
import { KahanSum } from "./kahan.ts";
import { quantile } from "./quantile.ts";
import type { Window } from "./window.ts";

/** A function of a range: the value at one step. `window.none()` where there is none. */
export interface RangeFunction {
  /** Of a range without native histograms; there is at least one sample. */
  ofFloats(window: Window): number;
  /** What is counted before each sample of a series, so that a step does not look at each of its samples again. */
  counts?(values: Float64Array): Uint32Array;
  /** The metric's name stays: the value is still one of that metric. */
  keepsName?: boolean;
}

/** Of floats alone: histograms of the range are left out, with a remark where there are both. */
export function floatsOnly(window: Window, floatsMin: number, compute: (window: Window) => number): number {
  if (window.floatCount < floatsMin) {
    if (floatsMin > 1 && window.floatCount > 0 && window.histogramCount > 0) remarkIgnored(window);
    return window.none();
  }
  if (window.histogramCount > 0) remarkIgnored(window);
  return compute(window);
}

function remarkIgnored(window: Window): void {
  window.annotations.inform(ignoredHistogramsInRange(window.metric), window.firstArgument);
}

/** The counter's falls before each sample: of i the number of j <= i with values[j] < values[j - 1]. */
export function countFalls(values: Float64Array): Uint32Array {
  const counts = new Uint32Array(values.length);
  for (let i = 1; i < values.length; i++) counts[i] = counts[i - 1]! + (values[i]! < values[i - 1]! ? 1 : 0);
  return counts;
}

function countChanges(values: Float64Array): Uint32Array {
  const counts = new Uint32Array(values.length);
  for (let i = 1; i < values.length; i++) {
    const [a, b] = [values[i - 1]!, values[i]!];
    const isChange = a !== b && !(Number.isNaN(a) && Number.isNaN(b));
    counts[i] = counts[i - 1]! + (isChange ? 1 : 0);
  }
  return counts;
}

/** What was counted between the range's first sample and its last. */
function countedWithin({ counts, first, last }: Window): number {
  return counts![last - 1]! - counts![first]!;
}

/** rate, increase and delta of floats: Prometheus' extrapolatedRate. */
export function extrapolated(window: Window, isCounter: boolean, isRate: boolean): number {
  const { times, values, first, last, counts } = window;
  const intervals = last - 1 - first;
  if (intervals < 1) return window.none();
  const firstValue = values[first]!;
  let result = values[last - 1]! - firstValue;
  if (isCounter && counts![last - 1] !== counts![first])
    for (let i = first + 1; i < last; i++) if (values[i]! < values[i - 1]!) result += values[i - 1]!;
  const sampled = (times[last - 1]! - times[first]!) / 1000;
  const zeroIn = isCounter && result > 0 && firstValue >= 0 ? sampled * (firstValue / result) : Infinity;
  return result * extrapolation(window, times[first]!, times[last - 1]!, intervals, zeroIn, isRate);
}

/**
 * The factor from what was sampled to the whole range. `zeroInSeconds`: how long before the first sample a counter was 0, if it rose as in
 * the range; it can't have been less.
 */
export function extrapolation(
  window: Pick<Window, "endMs" | "rangeMs">,
  firstMs: number,
  lastMs: number,
  intervals: number,
  zeroInSeconds: number,
  isRate: boolean,
): number {
  const startMs = window.endMs - window.rangeMs;
  let toStart = (firstMs - startMs) / 1000;
  let toEnd = (window.endMs - lastMs) / 1000;
  const sampled = (lastMs - firstMs) / 1000;
  const average = sampled / intervals;
  const threshold = average * 1.1;
  if (toStart >= threshold) toStart = average / 2;
  if (zeroInSeconds < toStart) toStart = zeroInSeconds;
  if (toEnd >= threshold) toEnd = average / 2;
  const factor = (sampled + toStart + toEnd) / sampled;
  return isRate ? factor / (window.rangeMs / 1000) : factor;
}

/** irate and idelta of floats. */
export function instantChange(window: Window, isRate: boolean): number {
  const { times, values, last } = window;
  if (window.floatCount < 2) return window.none();
  const interval = times[last - 1]! - times[last - 2]!;
  if (interval === 0) return window.none();
  const [before, newest] = [values[last - 2]!, values[last - 1]!];
  // After a counter's reset, all of its value is new.
  const change = isRate && newest < before ? newest : newest - before;
  return isRate ? change / (interval / 1000) : change;
}

const kahan = new KahanSum();
const other = new KahanSum();

export function sumFloats(window: Window): number {
  const { values, first, last } = window;
  kahan.reset(0, 0);
  for (let i = first; i < last; i++) kahan.add(values[i]!);
  return Number.isFinite(kahan.sum) || Number.isNaN(kahan.sum) ? kahan.sum + kahan.compensation : kahan.sum;
}

/** The mean of the sum, or the incremental mean as soon as the sum would overflow. */
export function averageFloats(window: Window): number {
  const { values, first, last } = window;
  kahan.reset(values[first]!, 0);
  for (let i = first + 1; i < last; i++) {
    const { sum, compensation } = kahan;
    kahan.add(values[i]!);
    if (kahan.sum === Infinity || kahan.sum === -Infinity) {
      const count = i - first;
      kahan.reset(sum / count, compensation / count);
      return incrementalMean(values, first, i, last);
    }
  }
  const count = last - first;
  return kahan.sum / count + kahan.compensation / count;
}

function incrementalMean(values: Float64Array, first: number, from: number, last: number): number {
  for (let i = from; i < last; i++) {
    const count = i - first + 1;
    const q = (count - 1) / count;
    kahan.reset(q * kahan.sum, q * kahan.compensation);
    kahan.add(values[i]! / count);
  }
  return kahan.sum + kahan.compensation;
}

function variance(window: Window): number {
  const { values, first, last } = window;
  let count = 0;
  const mean = kahan;
  const squares = other;
  mean.reset(0, 0);
  squares.reset(0, 0);
  for (let i = first; i < last; i++) {
    const value = values[i]!;
    count++;
    const delta = value - (mean.sum + mean.compensation);
    mean.add(delta / count);
    squares.add(delta * (value - (mean.sum + mean.compensation)));
  }
  return (squares.sum + squares.compensation) / count;
}

function extreme(window: Window, isMax: boolean): number {
  const { values, first, last } = window;
  let best = values[first]!;
  for (let i = first + 1; i < last; i++) {
    const value = values[i]!;
    if ((isMax ? value > best : value < best) || Number.isNaN(best)) best = value;
  }
  return best;
}

function quantileOverTime(window: Window): number {
  const { values, first, last, scalars } = window;
  const q = scalars[0]!;
  // Prometheus names the place of the first argument.
  if (!(q >= 0 && q <= 1)) window.annotations.warn(invalidQuantile(q), window.firstArgument);
  return quantile(q, values.slice(first, last));
}

const sumX = new KahanSum();
const sumY = new KahanSum();
const sumXY = new KahanSum();
const sumX2 = new KahanSum();

/** Least squares over the range's samples. `line`: the slope per second, and the value at `interceptMs`. */
function linearRegression(window: Window, interceptMs: number, line: Float64Array): void {
  const { times, values, first, last } = window;
  const initial = values[first]!;
  let isConstant = true;
  for (const sum of [sumX, sumY, sumXY, sumX2]) sum.reset(0, 0);
  for (let i = first; i < last; i++) {
    const y = values[i]!;
    if (isConstant && i > first && y !== initial) isConstant = false;
    const x = (times[i]! - interceptMs) / 1e3;
    sumX.add(x);
    sumY.add(y);
    sumXY.add(x * y);
    sumX2.add(x * x);
  }
  if (isConstant) {
    const isInfinite = initial === Infinity || initial === -Infinity;
    line[0] = isInfinite ? NaN : 0;
    line[1] = isInfinite ? NaN : initial;
    return;
  }
  const n = last - first;
  const x = sumX.sum + sumX.compensation;
  const y = sumY.sum + sumY.compensation;
  const covariance = sumXY.sum + sumXY.compensation - (x * y) / n;
  const varianceX = sumX2.sum + sumX2.compensation - (x * x) / n;
  line[0] = covariance / varianceX;
  line[1] = y / n - (line[0] * x) / n;
}

const line = new Float64Array(2);

function derivative(window: Window): number {
  linearRegression(window, window.times[window.first]!, line);
  return line[0]!;
}

function predictLinear(window: Window): number {
  linearRegression(window, window.timeMs, line);
  return line[0]! * window.scalars[0]! + line[1]!;
}

const ofFloats = (compute: (window: Window) => number, floatsMin = 1): RangeFunction => ({
  ofFloats: (window) => floatsOnly(window, floatsMin, compute),
});

/** Of floats. Where a function knows native histograms, range-histograms.ts has that part. */
export const RANGE_FUNCTIONS: ReadonlyMap<string, RangeFunction> = new Map<string, RangeFunction>([
  ["rate", { ofFloats: (window) => extrapolated(window, true, true), counts: countFalls }],
  ["increase", { ofFloats: (window) => extrapolated(window, true, false), counts: countFalls }],
  ["delta", { ofFloats: (window) => extrapolated(window, false, false) }],
  ["irate", { ofFloats: (window) => instantChange(window, true) }],
  ["idelta", { ofFloats: (window) => instantChange(window, false) }],
  ["resets", { ofFloats: countedWithin, counts: countFalls }],
  ["changes", { ofFloats: countedWithin, counts: countChanges }],
  ["sum_over_time", { ofFloats: sumFloats }],
  ["avg_over_time", { ofFloats: averageFloats }],
  ["count_over_time", { ofFloats: ({ first, last }) => last - first }],
  ["present_over_time", { ofFloats: () => 1 }],
  ["absent_over_time", { ofFloats: () => 1 }],
  ["last_over_time", { ofFloats: ({ values, last }) => values[last - 1]!, keepsName: true }],
  ["first_over_time", { ofFloats: ({ values, first }) => values[first]!, keepsName: true }],
  ["max_over_time", ofFloats((window) => extreme(window, true))],
  ["min_over_time", ofFloats((window) => extreme(window, false))],
  ["stdvar_over_time", ofFloats(variance)],
  ["stddev_over_time", ofFloats((window) => Math.sqrt(variance(window)))],
  ["quantile_over_time", ofFloats(quantileOverTime)],
  ["deriv", ofFloats(derivative, 2)],
  ["predict_linear", ofFloats(predictLinear, 2)],
]);
