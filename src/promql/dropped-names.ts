import type { Expr } from "./ast.ts";
import type { Evaluation } from "./evaluation.ts";
import type { VectorSeries } from "./grid.ts";
import { mayHaveSeveralNames } from "./metric-names.ts";
import { mergeSameLabels } from "./same-labels.ts";

/**
 * Series that lost their metric names in an operation on `operand`: where these had several, the results of the same labels are one series. Throws
 * Prometheus' error where two have a value at the same time.
 */
export async function* withoutNames(
  run: Evaluation,
  operand: Expr,
  batches: AsyncGenerator<VectorSeries[]>,
): AsyncGenerator<VectorSeries[]> {
  if (run.delayedNameRemoval || !mayHaveSeveralNames(operand)) {
    yield* batches;
    return;
  }
  const all: VectorSeries[] = [];
  for await (const batch of batches) all.push(...batch);
  const merged = await mergeSameLabels(run, all);
  if (merged.length > 0) yield merged;
}
