import { ignoredHistogramIn, invalidQuantile } from "./annotations.ts";
import { groupingOf } from "./aggregate.ts";
import type { Aggregation } from "./ast.ts";
import { type Evaluation, failed, giveWay, stringArgument, unwrap } from "./evaluation.ts";
import { formatFloat } from "./go-numbers.ts";
import { emptySeries, isEmpty, releaseSeries, type VectorSeries } from "./grid.ts";
import { histogramText } from "./histogram-buckets.ts";
import { isLabelName } from "./label-functions.ts";
import { quote } from "./labels.ts";
import { quantile } from "./quantile.ts";
import { groupSeries } from "./ranking.ts";
import type { Grid } from "./source.ts";

/** The aggregation quantile: needs all values of a group at once. */
export async function quantileOf(run: Evaluation, expr: Aggregation, grid: Grid): Promise<VectorSeries[]> {
  const qs = await run.scalar(expr.param!, grid);
  const series = await run.vector(expr.expr, grid);
  remarkInvalid(run, expr, qs);
  const by = groupingOf(expr);
  const results: VectorSeries[] = [];
  for (const members of await groupSeries(run, series, expr)) {
    const of = members.map((index) => series[index]!);
    const result = emptySeries(
      by.labelsOf(of[0]!.labels),
      grid.count,
      of.some(({ dropName }) => dropName),
    );
    const values = new Float64Array(of.length);
    let sawHistogram = false;
    for (let step = 0; step < grid.count; step++) {
      let length = 0;
      for (const one of of) {
        if (one.present[step] === 0) continue;
        if (one.histograms?.[step]) sawHistogram = true;
        else values[length++] = one.values[step]!;
      }
      if (length === 0) continue;
      result.present[step] = 1;
      result.values[step] = quantile(qs[step]!, values.subarray(0, length));
      if (step % 64 === 63) await giveWay(run);
    }
    if (sawHistogram) run.annotations.inform(ignoredHistogramIn("quantile"), unwrap(expr.expr));
    if (!isEmpty(result)) results.push(result);
    await giveWay(run);
  }
  run.budget.add(results.length * grid.count);
  releaseSeries(run.budget, series);
  return results;
}

function remarkInvalid(run: Evaluation, expr: Aggregation, qs: Float64Array): void {
  const param = unwrap(expr.param!);
  if (qs.some(Number.isNaN)) {
    run.annotations.warn(invalidQuantile(NaN), param);
    return;
  }
  const max = qs.reduce((a, b) => Math.max(a, b), -Infinity);
  const min = qs.reduce((a, b) => Math.min(a, b), Infinity);
  if (max > 1) run.annotations.warn(invalidQuantile(max), param);
  if (min < 0) run.annotations.warn(invalidQuantile(min), param);
}

/** count_values: for each value of a group a series with the value as a label. */
export async function countValues(run: Evaluation, expr: Aggregation, grid: Grid): Promise<VectorSeries[]> {
  const label = stringArgument(expr.param);
  if (!isLabelName(label)) throw failed(`invalid label name ${quote(label)}`);
  const grouping = expr.isWithout ? expr.grouping : [...expr.grouping, label];
  const by = groupingOf({ grouping, isWithout: expr.isWithout });
  const results = new Map<string, VectorSeries>();
  for await (const batch of run.stream(expr.expr, grid)) {
    for (const series of batch) {
      const ofValue = new Map<string, VectorSeries>();
      for (let step = 0; step < grid.count; step++) {
        if (series.present[step] === 0) continue;
        const value = valueText(series, step);
        let result = ofValue.get(value);
        if (!result) {
          const labels = series.labels.with(label, value);
          const key = by.keyOf(labels);
          result = results.get(key);
          if (!result) {
            run.budget.add(grid.count);
            result = emptySeries(by.labelsOf(labels), grid.count);
            results.set(key, result);
          }
          ofValue.set(value, result);
        }
        result.present[step] = 1;
        result.values[step]!++;
      }
      await giveWay(run);
    }
    releaseSeries(run.budget, batch);
  }
  return [...results.values()];
}

function valueText(series: VectorSeries, step: number): string {
  const histogram = series.histograms?.[step];
  return histogram ? histogramText(histogram) : formatFloat(series.values[step]!);
}
