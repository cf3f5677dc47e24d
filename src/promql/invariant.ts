import type { Expr } from "./ast.ts";
import { DATE_FUNCTIONS } from "./value-functions.ts";

/** Functions of the time of evaluation, also of constant arguments. */
const TIME_FUNCTIONS: ReadonlySet<string> = new Set([
  ...DATE_FUNCTIONS,
  "predict_linear",
  "time",
  "timestamp",
]);

/** Is the expression the same at each step? Such a one is evaluated once; by Prometheus' rules. */
export function isStepInvariant(expr: Expr): boolean {
  switch (expr.kind) {
    case "number":
    case "string":
      return true;
    case "vector_selector":
    case "subquery":
      return expr.at !== undefined;
    case "matrix_selector":
      return expr.selector.at !== undefined;
    case "paren":
    case "unary":
    case "aggregation":
      return isStepInvariant(expr.expr);
    case "binary":
      return isStepInvariant(expr.lhs) && isStepInvariant(expr.rhs);
    case "call":
  }
  return !TIME_FUNCTIONS.has(expr.func) && expr.args.every(isStepInvariant);
}
