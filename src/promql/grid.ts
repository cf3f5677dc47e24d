import type { QueryBudget } from "./budget.ts";
import { PromqlError } from "./error.ts";
import type { FloatHistogram } from "./histogram.ts";
import type { Labels } from "./labels.ts";
import type { Grid } from "./source.ts";

/** A series of an instant vector over the times of a grid. Whoever holds it owns its arrays, and may write into them. */
export interface VectorSeries {
  labels: Labels;
  values: Float64Array;
  /** 1 where there is a value: NaN is one, too. */
  present: Uint8Array;
  /** Native histograms: the value at that time, instead of the number. */
  histograms: (FloatHistogram | undefined)[] | undefined;
  /** With delayed name removal: the name goes at the query's end. */
  dropName: boolean;
}

export const SAME_LABELSET = "vector cannot contain metrics with the same labelset";

export function sameLabelset(): PromqlError {
  return new PromqlError("execution", SAME_LABELSET);
}

export function timeAt(grid: Grid, step: number): number {
  return grid.startMs + step * grid.stepMs;
}

export function endOf(grid: Grid): number {
  return timeAt(grid, grid.count - 1);
}

export function oneTime(timeMs: number): Grid {
  return { startMs: timeMs, stepMs: 1, count: 1 };
}

export function emptySeries(labels: Labels, count: number, dropName = false): VectorSeries {
  return {
    labels,
    values: new Float64Array(count),
    present: new Uint8Array(count),
    histograms: undefined,
    dropName,
  };
}

export function isEmpty(series: VectorSeries): boolean {
  return !series.present.includes(1);
}

/** Releases what a grid of these series held. */
export function releaseSeries(budget: QueryBudget, series: readonly VectorSeries[]): void {
  for (const { values } of series) budget.release(values.length);
}

export function addSeries(budget: QueryBudget, series: readonly VectorSeries[]): void {
  for (const { values } of series) budget.add(values.length);
}

/** A series of one time, the same at each time of a grid. */
export function broadcast(series: VectorSeries, count: number): VectorSeries {
  const histogram = series.histograms?.[0];
  return {
    labels: series.labels,
    values: new Float64Array(count).fill(series.values[0]!),
    present: new Uint8Array(count).fill(series.present[0]!),
    histograms: histogram && Array.from({ length: count }, () => histogram),
    dropName: series.dropName,
  };
}

export function mergeInto(target: VectorSeries, other: VectorSeries): void {
  for (let i = 0; i < other.present.length; i++) {
    if (other.present[i] === 0) continue;
    if (target.present[i] === 1) throw sameLabelset();
    copyPoint(other, i, target, i);
  }
  target.dropName ||= other.dropName;
}

export function copyPoint(from: VectorSeries, i: number, to: VectorSeries, j: number): void {
  to.values[j] = from.values[i]!;
  to.present[j] = 1;
  const histogram = from.histograms?.[i];
  if (histogram) (to.histograms ??= Array.from({ length: to.values.length }))[j] = histogram;
  else if (to.histograms) to.histograms[j] = undefined;
}
