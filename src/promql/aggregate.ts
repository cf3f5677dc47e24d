import { ignoredHistogramIn } from "./annotations.ts";
import type { Aggregation } from "./ast.ts";
import { type Evaluation, giveWay, unwrap } from "./evaluation.ts";
import { addSeries, emptySeries, isEmpty, releaseSeries, type VectorSeries } from "./grid.ts";
import { HistogramFold } from "./histogram-fold.ts";
import { Labels, METRIC_NAME } from "./labels.ts";
import type { Grid } from "./source.ts";

/** How the series of an aggregation are grouped. */
export interface Grouping {
  keyOf(labels: Labels): string;
  labelsOf(labels: Labels): Labels;
}

export function groupingOf({ grouping, isWithout }: Pick<Aggregation, "grouping" | "isWithout">): Grouping {
  if (isWithout) {
    const names = new Set([METRIC_NAME, ...grouping]);
    return {
      keyOf: (labels) => labels.keyWithout(names),
      labelsOf: (labels) => labels.without(names),
    };
  }
  if (grouping.length === 0) return { keyOf: () => "", labelsOf: () => Labels.EMPTY };
  const names = new Set(grouping);
  const sorted = [...names].sort();
  return { keyOf: (labels) => labels.keyOf(sorted), labelsOf: (labels) => labels.only(names) };
}

/** Folds series into one value at each time. */
export interface Fold {
  add(series: VectorSeries): void;
  /** Writes the results into the group's series. */
  finish(): VectorSeries;
  /** Arrays of the grid's length that it holds, for the budget. */
  readonly arrays: number;
}

export type CreateFold = (group: VectorSeries) => Fold;

/** What an aggregation does with native histograms: counts them as floats, leaves them out with a remark, or adds them up. */
export type OfHistograms = "count" | "ignore" | "sum" | "avg";

interface Group {
  fold: Fold;
  histograms: HistogramFold | undefined;
  dropName: boolean;
}

/** An aggregation that needs each series only once: series are dropped as soon as they are folded. */
export async function aggregate(
  run: Evaluation,
  { op, expr, grouping, isWithout }: Aggregation,
  grid: Grid,
  createFold: CreateFold,
  ofHistograms: OfHistograms,
): Promise<VectorSeries[]> {
  const by = groupingOf({ grouping, isWithout });
  const at = unwrap(expr);
  const groups = new Map<string, Group>();
  let held = 0;
  const groupOf = (labels: Labels): Group => {
    const key = by.keyOf(labels);
    let group = groups.get(key);
    if (group) return group;
    const fold = createFold(emptySeries(by.labelsOf(labels), grid.count));
    groups.set(key, (group = { fold, histograms: undefined, dropName: false }));
    held += fold.arrays * grid.count;
    run.budget.add(fold.arrays * grid.count);
    return group;
  };
  for await (const batch of run.stream(expr, grid)) {
    for (const series of batch) {
      const group = groupOf(series.labels);
      group.dropName ||= series.dropName;
      if (series.histograms && ofHistograms !== "count") {
        if (ofHistograms === "ignore") run.annotations.inform(ignoredHistogramIn(op), at);
        else (group.histograms ??= new HistogramFold(run, at, ofHistograms === "avg")).add(series);
        keepFloats(series);
      }
      group.fold.add(series);
      await giveWay(run);
    }
    releaseSeries(run.budget, batch);
  }
  const results: VectorSeries[] = [];
  for (const { fold, histograms, dropName } of groups.values()) {
    const series = fold.finish();
    histograms?.finish(series);
    series.dropName = dropName;
    if (!isEmpty(series)) results.push(series);
    await giveWay(run);
  }
  run.budget.release(held);
  addSeries(run.budget, results);
  return results;
}

function keepFloats({ present, histograms }: VectorSeries): void {
  for (let i = 0; i < present.length; i++) if (histograms?.[i]) present[i] = 0;
}
