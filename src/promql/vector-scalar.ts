import type { BinaryExpr, BinaryOperator } from "./ast.ts";
import { type Evaluation, giveWay } from "./evaluation.ts";
import { isEmpty, type VectorSeries } from "./grid.ts";
import { elementOperation, leaveOutNumbers } from "./histogram-operators.ts";
import {
  ARITHMETIC,
  changesMetric,
  type ArithmeticOperator,
  COMPARISON,
  type ComparisonOperator,
  isComparison,
  isTrim,
  type SetOperator,
} from "./operators.ts";
import type { Grid } from "./source.ts";

/** An operation of a vector and a scalar, series by series. `isSwapped`: the scalar is on the left. */
export async function* streamVectorScalar(
  run: Evaluation,
  expr: BinaryExpr,
  isSwapped: boolean,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  const scalar = await run.scalar(isSwapped ? expr.lhs : expr.rhs, grid);
  const apply = seriesOperation(run, expr, scalar, isSwapped);
  for await (const batch of run.stream(isSwapped ? expr.rhs : expr.lhs, grid)) {
    const kept: VectorSeries[] = [];
    for (const series of batch) {
      apply(series);
      if (isEmpty(series)) run.budget.release(grid.count);
      else kept.push(series);
      await giveWay(run);
    }
    if (kept.length > 0) yield kept;
  }
}

function seriesOperation(
  run: Evaluation,
  expr: BinaryExpr,
  scalar: Float64Array,
  isSwapped: boolean,
): (series: VectorSeries) => void {
  const op = expr.op as Exclude<BinaryOperator, SetOperator>;
  const compute: Compute = isTrim(op)
    ? (_values, present, histograms) =>
        leaveOutNumbers(run, expr, present, (i) => histograms?.[i] !== undefined)
    : floatOperation(op, expr.isBool, scalar, isSwapped);
  return (series) => {
    if (series.histograms) operateHistograms(run, expr, series, scalar, isSwapped);
    compute(series.values, series.present, series.histograms);
    if (!changesMetric(op) && !expr.isBool) return;
    if (!run.delayedNameRemoval) series.labels = series.labels.withoutMetadata();
    series.dropName = true;
  };
}

type Compute = (
  values: Float64Array,
  present: Uint8Array,
  histograms: readonly unknown[] | undefined,
) => void;

function floatOperation(
  op: ComparisonOperator | ArithmeticOperator,
  isBool: boolean,
  scalar: Float64Array,
  isSwapped: boolean,
): Compute {
  if (isComparison(op)) {
    const compare = COMPARISON[op];
    return (values, present, histograms) => {
      for (let i = 0; i < values.length; i++) {
        if (present[i] === 0 || histograms?.[i]) continue;
        const holds = isSwapped ? compare(scalar[i]!, values[i]!) : compare(values[i]!, scalar[i]!);
        if (isBool) values[i] = holds ? 1 : 0;
        else if (!holds) present[i] = 0;
      }
    };
  }
  const operate = ARITHMETIC[op];
  return (values, present, histograms) => {
    for (let i = 0; i < values.length; i++) {
      if (present[i] === 0 || histograms?.[i]) continue;
      values[i] = isSwapped ? operate(scalar[i]!, values[i]!) : operate(values[i]!, scalar[i]!);
    }
  };
}

/** Native histograms can be multiplied and divided; all else is left out with a remark. */
function operateHistograms(
  run: Evaluation,
  expr: BinaryExpr,
  series: VectorSeries,
  scalar: Float64Array,
  isSwapped: boolean,
): void {
  const histograms = series.histograms!;
  for (let i = 0; i < histograms.length; i++) {
    const histogram = histograms[i];
    if (!histogram || series.present[i] === 0) continue;
    const [left, right] = isSwapped ? [scalar[i]!, histogram] : [histogram, scalar[i]!];
    const result = elementOperation(run, expr, left, right);
    if (result) histograms[i] = result.histogram;
    else series.present[i] = 0;
  }
}
