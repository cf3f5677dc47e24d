import type { Expr } from "#promql/ast.ts";
import { parseExpr } from "#promql/parse.ts";

/** Functions of the time of evaluation, also where all that they read has an `@`. */
const OF_TIME: ReadonlySet<string> = new Set(
  "days_in_month day_of_month day_of_week day_of_year hour minute month year predict_linear time timestamp".split(
    " ",
  ),
);

/**
 * The query with `@ timeMs` at each selector that has none: its answer is the same at every time of evaluation. Undefined when a function in it
 * depends on that time.
 */
export function fixedAt(query: string, timeMs: number): Expr | undefined {
  const expr = parseExpr(query);
  return fix(expr, timeMs) ? expr : undefined;
}

function fix(expr: Expr, timeMs: number): boolean {
  switch (expr.kind) {
    case "vector_selector":
      if (typeof expr.at !== "number") expr.at = timeMs;
      return true;
    case "matrix_selector":
      return fix(expr.selector, timeMs);
    case "subquery": {
      // What is inside is evaluated at times of the subquery, which is fixed as a whole.
      const isFixed = typeof expr.at === "number";
      if (!isFixed) expr.at = timeMs;
      return isIndependent(expr.expr);
    }
    case "call":
      return !OF_TIME.has(expr.func) && expr.args.every((arg) => fix(arg, timeMs));
    case "aggregation":
      return fix(expr.expr, timeMs) && (!expr.param || fix(expr.param, timeMs));
    case "binary":
      return fix(expr.lhs, timeMs) && fix(expr.rhs, timeMs);
    case "unary":
    case "paren":
      return fix(expr.expr, timeMs);
    case "number":
    case "string":
  }
  return true;
}

function isIndependent(expr: Expr): boolean {
  const calls = JSON.stringify(expr).matchAll(/"func":"(\w+)"/g);
  return [...calls].every(([, func]) => !OF_TIME.has(func!));
}
