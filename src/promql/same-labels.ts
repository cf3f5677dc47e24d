import { type Evaluation, giveWay } from "./evaluation.ts";
import { mergeInto, sameLabelset, type VectorSeries } from "./grid.ts";

/**
 * Joins series of the same labels: an operation that drops labels may give several, which are one where no two have a value at the same
 * time. Throws Prometheus' error where two have one. What is joined is released from the budget.
 */
export async function mergeSameLabels(run: Evaluation, series: VectorSeries[]): Promise<VectorSeries[]> {
  if (series.length < 2) return series;
  const byKey = new Map<string, VectorSeries>();
  for (const one of series) {
    const first = byKey.get(one.labels.key);
    if (first) {
      mergeInto(first, one);
      run.budget.release(one.values.length);
    } else byKey.set(one.labels.key, one);
    await giveWay(run);
  }
  return byKey.size === series.length ? series : [...byKey.values()];
}

/** Refuses series of the same labels, whatever their times are. */
export async function refuseSameLabels(run: Evaluation, series: readonly VectorSeries[]): Promise<void> {
  const keys = new Set<string>();
  for (const { labels } of series) {
    if (keys.has(labels.key)) throw sameLabelset();
    keys.add(labels.key);
    await giveWay(run);
  }
}
