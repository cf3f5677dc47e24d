import type { Expr, VectorSelector } from "./ast.ts";
import { childrenOf } from "./children.ts";
import type { Evaluation } from "./evaluation.ts";
import { endOf } from "./grid.ts";
import { lookTimes, neededOf } from "./selectors.ts";
import type { Grid, SelectRequest } from "./source.ts";

/** A query of more selectors waits for the others one by one. */
const PREPARED_MAX = 8;

/** Tells the source what the query will read, so that it reads several selectors at once. Without the selectors of subqueries. */
export async function prepare(run: Evaluation, query: Expr, grid: Grid): Promise<void> {
  const { source } = run;
  if (!source.prepare || grid.count === 0) return;
  const reads = new Map<string, SelectRequest>();
  const plan = (selector: VectorSelector, rangeMs: number): void => {
    const look = lookTimes(run, selector, grid);
    const { matchers } = selector;
    const windows = neededOf(run, selector, look, rangeMs);
    const read = { matchers, fromMs: look.startMs - rangeMs, toMs: endOf(look), ...windows };
    reads.set(JSON.stringify(read), read);
  };
  const visit = (expr: Expr): void => {
    if (expr.kind === "vector_selector") plan(expr, run.lookbackMs);
    else if (expr.kind === "matrix_selector") plan(expr.selector, expr.rangeMs);
    else if (expr.kind !== "subquery") childrenOf(expr).forEach(visit);
  };
  visit(query);
  // One is asked for right away.
  if (reads.size > 1) await source.prepare([...reads.values()].slice(0, PREPARED_MAX), run.signal);
}
