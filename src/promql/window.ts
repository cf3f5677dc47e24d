import type { Annotations } from "./annotations.ts";
import type { Position } from "./ast.ts";
import type { FloatHistogram } from "./histogram.ts";
import { METRIC_NAME, type Labels } from "./labels.ts";
import type { Series } from "./source.ts";

/**
 * What a range function sees of one series at one step: samples `first` to `last` - 1 of `times` and `values`, and the histograms of the
 * range. One for a query's node, set again for each series and step.
 */
export class Window {
  times: Float64Array = new Float64Array();
  values: Float64Array = new Float64Array();
  first = 0;
  last = 0;
  histogramTimes: Float64Array = new Float64Array();
  histograms: readonly FloatHistogram[] = [];
  firstHistogram = 0;
  lastHistogram = 0;
  /** Of a counter's falls and of changes: how many there are before sample i. Set when the function asks for them. */
  counts: Uint32Array | undefined;
  /** The time of evaluation, and the end of the range (its start is `rangeMs` before). */
  timeMs = 0;
  endMs = 0;
  readonly rangeMs: number;
  /** The function's other arguments at this step. */
  readonly scalars: Float64Array;
  /** A function sets it when the range gives no value. */
  isNone = false;
  /** A function sets it when the value is a histogram. */
  histogram: FloatHistogram | undefined;
  labels: Labels | undefined;
  readonly annotations: Annotations;
  /** The first argument's place in the query: most remarks are about it. */
  readonly firstArgument: Position;

  constructor(rangeMs: number, scalars: number, annotations: Annotations, firstArgument: Position) {
    this.rangeMs = rangeMs;
    this.scalars = new Float64Array(scalars);
    this.annotations = annotations;
    this.firstArgument = firstArgument;
  }

  /** Takes the samples of a series; stale markers are no samples of a range. */
  begin(series: Series): void {
    const { times, values, stale, histograms } = series;
    this.labels = series.labels;
    this.first = this.last = this.firstHistogram = this.lastHistogram = 0;
    this.counts = undefined;
    if (!histograms && !stale?.includes(1)) {
      this.times = times;
      this.values = values;
      this.histogramTimes = EMPTY;
      this.histograms = [];
      return;
    }
    const floats: number[] = [];
    const others: number[] = [];
    for (let i = 0; i < times.length; i++) {
      if (stale?.[i] === 1) continue;
      (histograms?.[i] ? others : floats).push(i);
    }
    this.times = Float64Array.from(floats, (i) => times[i]!);
    this.values = Float64Array.from(floats, (i) => values[i]!);
    this.histogramTimes = Float64Array.from(others, (i) => times[i]!);
    this.histograms = others.map((i) => histograms![i]!);
  }

  /** Moves to the range that ends at `endMs`: fromMs < time <= endMs. Ranges only move forward within a series. */
  moveTo(timeMs: number, endMs: number): void {
    this.timeMs = timeMs;
    this.endMs = endMs;
    const startMs = endMs - this.rangeMs;
    const { times } = this;
    let { first, last } = this;
    while (last < times.length && times[last]! <= endMs) last++;
    while (first < last && times[first]! <= startMs) first++;
    this.first = first;
    this.last = last;
    if (this.histograms.length > 0) this.#moveHistograms(startMs, endMs);
  }

  #moveHistograms(startMs: number, endMs: number): void {
    const { histogramTimes: times } = this;
    while (this.lastHistogram < times.length && times[this.lastHistogram]! <= endMs) this.lastHistogram++;
    while (this.firstHistogram < this.lastHistogram && times[this.firstHistogram]! <= startMs)
      this.firstHistogram++;
  }

  get floatCount(): number {
    return this.last - this.first;
  }

  get histogramCount(): number {
    return this.lastHistogram - this.firstHistogram;
  }

  get metric(): string {
    return this.labels?.get(METRIC_NAME) ?? "";
  }

  /** No value at this step. */
  none(): number {
    this.isNone = true;
    return 0;
  }
}

const EMPTY = new Float64Array();
