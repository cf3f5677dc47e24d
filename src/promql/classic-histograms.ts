import { forMetric, invalidQuantile } from "./annotations.ts";
import type { Call, Position } from "./ast.ts";
import { type Evaluation, giveWay, unwrap } from "./evaluation.ts";
import { parseFloatText } from "./go-numbers.ts";
import { emptySeries, isEmpty, releaseSeries, timeAt, type VectorSeries } from "./grid.ts";
import { histogramFraction, histogramQuantile, type ValueRemark } from "./histogram-values.ts";
import type { FloatHistogram } from "./histogram.ts";
import { type Labels, METRIC_NAME, quote } from "./labels.ts";
import { ClassicBuckets } from "./quantile.ts";
import { mergeSameLabels } from "./same-labels.ts";
import type { Grid } from "./source.ts";

const BUCKET = "le";
const BUCKET_LABEL = new Set([BUCKET]);

/** The series of one histogram: classic buckets by ascending bound, and the native one of the same labels. */
interface HistogramSeries {
  labels: Labels;
  buckets: { bound: number; series: VectorSeries }[];
  native: VectorSeries | undefined;
}

/** The value of a histogram at one step. */
interface OfHistogram {
  classic(buckets: ClassicBuckets, step: number): number;
  native(histogram: FloatHistogram, step: number, remark: (what: ValueRemark) => void): number;
}

const REMARKS: Record<ValueRemark, string> = {
  nan_result: "input to histogram_quantile has NaN observations, result is NaN",
  nan_skew: "input to histogram_quantile has NaN observations, result is skewed higher",
  nan_fraction: "input to histogram_fraction has NaN observations, which are excluded from all fractions",
};

/** histogram_quantile and histogram_fraction: of classic and of native histograms. */
export async function histogramCall(run: Evaluation, call: Call, grid: Grid): Promise<VectorSeries[]> {
  const { func } = call;
  const args = call.args.map(unwrap);
  const vector = args.at(-1)!;
  const scalars: Float64Array[] = [];
  for (const arg of args.slice(0, -1)) scalars.push(await run.scalar(arg, grid));
  const series = await run.vector(vector, grid);
  const [first = new Float64Array(), second = new Float64Array()] = scalars;
  const isQuantile = func === "histogram_quantile";
  if (isQuantile) remarkInvalid(run, first, args[0]!);
  const compute: OfHistogram = isQuantile
    ? {
        classic: (buckets, step) => buckets.quantile(first[step]!),
        native: (histogram, step, remark) => histogramQuantile(first[step]!, histogram, remark),
      }
    : {
        classic: (buckets, step) => buckets.fraction(first[step]!, second[step]!),
        native: (histogram, step, remark) =>
          histogramFraction(first[step]!, second[step]!, histogram, remark),
      };
  const results: VectorSeries[] = [];
  for (const histogram of await histogramSeries(run, series, vector)) {
    const result = new HistogramValues(run, histogram, compute, [args[0]!, vector]).all(grid);
    if (!isEmpty(result)) results.push(result);
    await giveWay(run);
  }
  run.budget.add(results.length * grid.count);
  releaseSeries(run.budget, series);
  return mergeSameLabels(run, results);
}

function remarkInvalid(run: Evaluation, qs: Float64Array, at: Position): void {
  for (const q of qs) if (!(q >= 0 && q <= 1)) run.annotations.warn(invalidQuantile(q), at);
}

/** Groups the series that belong to one histogram. */
async function histogramSeries(
  run: Evaluation,
  series: readonly VectorSeries[],
  at: Position,
): Promise<Iterable<HistogramSeries>> {
  const byKey = new Map<string, HistogramSeries>();
  const ofLabels = (labels: Labels): HistogramSeries => {
    let histogram = byKey.get(labels.key);
    if (!histogram) byKey.set(labels.key, (histogram = { labels, buckets: [], native: undefined }));
    return histogram;
  };
  for (const one of series) {
    await giveWay(run);
    // A native histogram may have a label `le`, too: then it is none of the classic one's.
    if (one.histograms?.some((histogram) => histogram !== undefined)) ofLabels(one.labels).native = one;
    if (!hasFloats(one)) continue;
    const text = one.labels.get(BUCKET);
    const bound = parseFloatText(text);
    if (bound === undefined) remarkBadBucket(run, one.labels, text, at);
    else ofLabels(one.labels.without(BUCKET_LABEL)).buckets.push({ bound, series: one });
  }
  for (const { buckets } of byKey.values()) buckets.sort(byBound);
  return byKey.values();
}

function hasFloats({ present, histograms }: VectorSeries): boolean {
  return !histograms || present.some((is, step) => is === 1 && !histograms[step]);
}

function remarkBadBucket(run: Evaluation, labels: Labels, text: string, at: Position): void {
  const metric = run.delayedNameRemoval ? labels.get(METRIC_NAME) : "";
  run.annotations.warn(
    `bucket label "le" is missing or has a malformed value of ${quote(text)}${forMetric(metric)}`,
    at,
  );
}

function byBound({ bound: a }: { bound: number }, { bound: b }: { bound: number }): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

class HistogramValues {
  readonly #run: Evaluation;
  readonly #series: HistogramSeries;
  readonly #compute: OfHistogram;
  /** The call's first argument, and its vector. */
  readonly #places: readonly [first: Position, vector: Position];
  readonly #buckets: ClassicBuckets;

  constructor(
    run: Evaluation,
    series: HistogramSeries,
    compute: OfHistogram,
    places: readonly [first: Position, vector: Position],
  ) {
    this.#run = run;
    this.#series = series;
    this.#compute = compute;
    this.#places = places;
    this.#buckets = new ClassicBuckets(series.buckets.length);
  }

  all(grid: Grid): VectorSeries {
    const { labels, native } = this.#series;
    const result = emptySeries(
      this.#run.delayedNameRemoval ? labels : labels.withoutMetadata(),
      grid.count,
      true,
    );
    for (let step = 0; step < grid.count; step++) {
      const hasBuckets = this.#gather(step);
      const histogram = native?.present[step] === 1 ? native.histograms?.[step] : undefined;
      if (histogram && hasBuckets) this.#remarkMixed();
      else if (histogram) this.#place(result, step, this.#ofNative(histogram, step));
      else if (hasBuckets) this.#place(result, step, this.#ofClassic(step, timeAt(grid, step)));
    }
    return result;
  }

  #place(result: VectorSeries, step: number, value: number): void {
    result.present[step] = 1;
    result.values[step] = value;
  }

  #gather(step: number): boolean {
    this.#buckets.clear();
    let isAny = false;
    for (const { bound, series } of this.#series.buckets) {
      if (series.present[step] === 0 || series.histograms?.[step]) continue;
      isAny = true;
      this.#buckets.push(bound, series.values[step]!);
    }
    return isAny;
  }

  #ofNative(histogram: FloatHistogram, step: number): number {
    return this.#compute.native(histogram, step, (what) => {
      this.#run.annotations.inform(
        REMARKS[what] + forMetric(this.#series.labels.get(METRIC_NAME)),
        this.#places[1],
      );
    });
  }

  #ofClassic(step: number, timeMs: number): number {
    const value = this.#compute.classic(this.#buckets, step);
    const { forced, forcedFrom, forcedTo, forcedMax } = this.#buckets;
    if (forced) {
      const { annotations } = this.#run;
      annotations.forcedMonotonicity(
        this.#metric(),
        this.#places[1],
        timeMs,
        forcedFrom,
        forcedTo,
        forcedMax,
      );
    }
    return value;
  }

  #remarkMixed(): void {
    this.#run.annotations.warn(
      `vector contains a mix of classic and native histograms${forMetric(this.#metric())}`,
      this.#places[1],
    );
  }

  #metric(): string {
    return this.#run.delayedNameRemoval ? this.#series.labels.get(METRIC_NAME) : "";
  }
}
