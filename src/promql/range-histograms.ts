import {
  mixedFloatsAndHistograms,
  mixedSchemas,
  reconciledCustomBuckets,
  counterResetCollision,
} from "./annotations.ts";
import { isCustom } from "./histogram-buckets.ts";
import { HistogramMean } from "./histogram-mean.ts";
import { compact, divide, equalHistograms, isReset, multiply } from "./histogram-math.ts";
import { HistogramSum } from "./histogram-sum.ts";
import type { FloatHistogram } from "./histogram.ts";
import { quote } from "./labels.ts";
import { extrapolation } from "./range-functions.ts";
import type { Window } from "./window.ts";

/** A function of a range that holds native histograms, maybe beside floats. */
export type OfHistograms = (window: Window) => number;

function none(window: Window, warning?: string): number {
  if (warning !== undefined) window.annotations.warn(warning, window.firstArgument);
  return window.none();
}

function histogramsOf({ histograms, firstHistogram, lastHistogram }: Window): readonly FloatHistogram[] {
  return histograms.slice(firstHistogram, lastHistogram);
}

function give(window: Window, histogram: FloatHistogram): number {
  window.histogram = histogram;
  return 0;
}

/** rate, increase and delta. */
function extrapolatedHistogram(window: Window, isCounter: boolean, isRate: boolean): number {
  if (window.floatCount > 0) return none(window, mixedFloatsAndHistograms(window.metric));
  const points = histogramsOf(window);
  if (points.length < 2) return none(window);
  const change = histogramChange(window, points, isCounter);
  if (!change) return window.none();
  const { histogramTimes, firstHistogram, lastHistogram } = window;
  const firstMs = histogramTimes[firstHistogram]!;
  const lastMs = histogramTimes[lastHistogram - 1]!;
  const first = points[0]!;
  const zeroIn =
    isCounter && change.count > 0 && first.count >= 0
      ? ((lastMs - firstMs) / 1000) * (first.count / change.count)
      : Infinity;
  const factor = extrapolation(window, firstMs, lastMs, points.length - 1, zeroIn, isRate);
  return give(window, multiply(change, factor));
}

/** What was added between the first histogram and the last; undefined, with a warning: they do not belong together. */
function histogramChange(
  window: Window,
  points: readonly FloatHistogram[],
  isCounter: boolean,
): FloatHistogram | undefined {
  const [first, second] = [points[0]!, points[1]!];
  const last = points.at(-1)!;
  const warn = (message: string): undefined => {
    window.annotations.warn(message, window.firstArgument);
  };
  const notCounter = `this native histogram metric is not a counter: ${quote(window.metric)}`;
  if (isCounter && (first.hint === "gauge" || last.hint === "gauge")) warn(notCounter);
  // After a reset, the layout of the first one does not matter.
  let previous = isCounter && isReset(second, first) ? emptyLike(second) : first;
  const custom = isCustom(previous);
  if (isCustom(last) !== custom) return warn(mixedSchemas(window.metric));
  for (const point of points.slice(1, -1)) {
    if (!isCounter) continue;
    if (point.hint === "gauge") warn(notCounter);
    if (isCustom(point) !== custom) return warn(mixedSchemas(window.metric));
  }
  const sum = new HistogramSum(last);
  if (!sum.add(previous, -1)) return warn(mixedSchemas(window.metric));
  if (sum.remarks.reconciled)
    window.annotations.inform(reconciledCustomBuckets("subtraction"), window.firstArgument);
  if (isCounter) {
    for (const point of points.slice(1)) {
      if (isReset(point, previous)) {
        sum.remarks.reconciled = false;
        if (!sum.add(previous)) return warn(mixedSchemas(window.metric));
        if (sum.remarks.reconciled)
          window.annotations.inform(reconciledCustomBuckets("addition"), window.firstArgument);
      }
      previous = point;
    }
  } else if (first.hint !== "gauge" || last.hint !== "gauge") {
    warn(`this native histogram metric is not a gauge: ${quote(window.metric)}`);
  }
  return { ...sum.result(), hint: "gauge" };
}

function emptyLike({ schema, customValues }: FloatHistogram): FloatHistogram {
  return {
    schema,
    count: 0,
    sum: 0,
    zeroThreshold: 0,
    zeroCount: 0,
    positiveSpans: [],
    positiveBuckets: [],
    negativeSpans: [],
    negativeBuckets: [],
    ...(customValues && { customValues }),
    hint: "unknown",
  };
}

/** A sample of a range with both kinds. */
interface MixedSample {
  timeMs: number;
  value: number;
  histogram: FloatHistogram | undefined;
}

/** All samples of the range, oldest first. */
function mixedSamples(window: Window): MixedSample[] {
  const samples: MixedSample[] = [];
  for (let i = window.first; i < window.last; i++)
    samples.push({ timeMs: window.times[i]!, value: window.values[i]!, histogram: undefined });
  for (let i = window.firstHistogram; i < window.lastHistogram; i++)
    samples.push({ timeMs: window.histogramTimes[i]!, value: NaN, histogram: window.histograms[i]! });
  return samples.sort((a, b) => a.timeMs - b.timeMs);
}

/** irate and idelta. */
function instantChange(window: Window, isRate: boolean): number {
  const [before, newest] = mixedSamples(window).slice(-2);
  if (!before || !newest || before.timeMs === newest.timeMs) return window.none();
  const seconds = (newest.timeMs - before.timeMs) / 1000;
  if (!before.histogram && !newest.histogram) {
    const change = isRate && newest.value < before.value ? newest.value : newest.value - before.value;
    return isRate ? change / seconds : change;
  }
  if (!before.histogram || !newest.histogram) return none(window, mixedFloatsAndHistograms(window.metric));
  remarkHints(window, [before.histogram, newest.histogram], isRate);
  const sum = new HistogramSum(newest.histogram);
  if (!isRate || !isReset(newest.histogram, before.histogram)) {
    if (!sum.add(before.histogram, -1)) return none(window, mixedSchemas(window.metric));
    if (sum.remarks.reconciled)
      window.annotations.inform(reconciledCustomBuckets("subtraction"), window.firstArgument);
  }
  const change: FloatHistogram = { ...sum.result(), hint: "gauge" };
  return give(window, isRate ? divide(change, seconds) : change);
}

function remarkHints(window: Window, pair: readonly FloatHistogram[], isRate: boolean): void {
  const { annotations, firstArgument, metric } = window;
  if (isRate && pair.some(({ hint }) => hint === "gauge"))
    annotations.warn(`this native histogram metric is not a counter: ${quote(metric)}`, firstArgument);
  if (!isRate && pair.some(({ hint }) => hint !== "gauge"))
    annotations.warn(`this native histogram metric is not a gauge: ${quote(metric)}`, firstArgument);
}

/** sum_over_time and avg_over_time. */
function sumOverTime(window: Window, isMean: boolean): number {
  if (window.floatCount > 0) return none(window, mixedFloatsAndHistograms(window.metric));
  const points = histogramsOf(window);
  const sum = isMean ? meanOf(points) : sumOf(points);
  if (!sum) return none(window, mixedSchemas(window.metric));
  const hints = new Set(points.map(({ hint }) => hint));
  if (hints.has("reset") && hints.has("no_reset"))
    window.annotations.warn(counterResetCollision("aggregation"), window.firstArgument);
  if (sum.remarks.reconciled)
    window.annotations.inform(reconciledCustomBuckets("aggregation"), window.firstArgument);
  return give(window, sum.result());
}

function sumOf([first, ...rest]: readonly FloatHistogram[]): HistogramSum | undefined {
  const sum = new HistogramSum(first!);
  return rest.every((point) => sum.add(point)) ? sum : undefined;
}

function meanOf([first, ...rest]: readonly FloatHistogram[]): HistogramSum | undefined {
  const mean = new HistogramMean(first!);
  return rest.every((point) => mean.add(point)) ? mean.finish() : undefined;
}

/** resets and changes. */
function countPairs(window: Window, isCounted: (newer: MixedSample, older: MixedSample) => boolean): number {
  const samples = mixedSamples(window);
  let count = 0;
  for (let i = 1; i < samples.length; i++) if (isCounted(samples[i]!, samples[i - 1]!)) count++;
  return count;
}

function isResetOf(newer: MixedSample, older: MixedSample): boolean {
  if (newer.histogram && older.histogram) return isReset(newer.histogram, older.histogram);
  return newer.histogram || older.histogram ? true : newer.value < older.value;
}

function isChangeOf(newer: MixedSample, older: MixedSample): boolean {
  if (newer.histogram && older.histogram)
    return !equalHistograms(compact(newer.histogram), compact(older.histogram));
  if (newer.histogram || older.histogram) return true;
  return newer.value !== older.value && !(Number.isNaN(newer.value) && Number.isNaN(older.value));
}

function pick(window: Window, sample: MixedSample): number {
  return sample.histogram ? give(window, sample.histogram) : sample.value;
}

/** Functions that know native histograms. All others leave them out. */
export const HISTOGRAM_RANGE_FUNCTIONS: ReadonlyMap<string, OfHistograms> = new Map<string, OfHistograms>([
  ["rate", (window) => extrapolatedHistogram(window, true, true)],
  ["increase", (window) => extrapolatedHistogram(window, true, false)],
  ["delta", (window) => extrapolatedHistogram(window, false, false)],
  ["irate", (window) => instantChange(window, true)],
  ["idelta", (window) => instantChange(window, false)],
  ["sum_over_time", (window) => sumOverTime(window, false)],
  ["avg_over_time", (window) => sumOverTime(window, true)],
  ["resets", (window) => countPairs(window, isResetOf)],
  ["changes", (window) => countPairs(window, isChangeOf)],
  ["count_over_time", (window) => window.floatCount + window.histogramCount],
  ["present_over_time", () => 1],
  ["absent_over_time", () => 1],
  ["last_over_time", (window) => pick(window, mixedSamples(window).at(-1)!)],
  ["first_over_time", (window) => pick(window, mixedSamples(window)[0]!)],
]);
