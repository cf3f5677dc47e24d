import { counterResetCollision, mixedSchemas, reconciledCustomBuckets } from "./annotations.ts";
import type { Position } from "./ast.ts";
import type { Evaluation } from "./evaluation.ts";
import type { VectorSeries } from "./grid.ts";
import { HistogramMean } from "./histogram-mean.ts";
import { HistogramSum } from "./histogram-sum.ts";
import type { FloatHistogram, ResetHint } from "./histogram.ts";
import { METRIC_NAME } from "./labels.ts";

/** The native histograms of a group at one time. */
interface Sum {
  of: HistogramMean | HistogramSum;
  hints: Set<ResetHint>;
  /** Exponential and custom buckets: no value. */
  isMixed: boolean;
}

/** Sums or means of a group's native histograms, beside the floats that a fold has. */
export class HistogramFold {
  readonly #run: Evaluation;
  readonly #at: Position;
  readonly #isMean: boolean;
  readonly #sums = new Map<number, Sum>();

  constructor(run: Evaluation, at: Position, isMean: boolean) {
    this.#run = run;
    this.#at = at;
    this.#isMean = isMean;
  }

  add({ labels, present, histograms }: VectorSeries): void {
    histograms?.forEach((histogram, step) => {
      if (histogram && present[step] === 1) this.#addOne(step, histogram, labels.get(METRIC_NAME));
    });
  }

  #addOne(step: number, histogram: FloatHistogram, metric: string): void {
    const sum = this.#sums.get(step);
    if (!sum) {
      const of = this.#isMean ? new HistogramMean(histogram) : new HistogramSum(histogram);
      this.#sums.set(step, { of, hints: new Set([histogram.hint]), isMixed: false });
      return;
    }
    if (sum.isMixed) return;
    sum.hints.add(histogram.hint);
    if (sum.of.add(histogram)) return;
    sum.isMixed = true;
    this.#run.annotations.warn(mixedSchemas(metric), this.#at);
  }

  /** Writes the results into the group's series, which has the floats' results. */
  finish(series: VectorSeries): void {
    const { annotations } = this.#run;
    for (const [step, { of, hints, isMixed }] of this.#sums) {
      if (series.present[step] === 1) {
        series.present[step] = 0;
        annotations.warn("encountered a mix of histograms and floats for aggregation", this.#at);
        continue;
      }
      const sum = of instanceof HistogramMean ? of.finish() : of;
      if (sum.remarks.reconciled) annotations.inform(reconciledCustomBuckets("aggregation"), this.#at);
      if (isMixed) continue;
      if (hints.has("reset") && hints.has("no_reset"))
        annotations.warn(counterResetCollision("aggregation"), this.#at);
      series.present[step] = 1;
      (series.histograms ??= Array.from({ length: series.values.length }))[step] = sum.result();
    }
  }
}
