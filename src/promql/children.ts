import type { Expr } from "./ast.ts";

/** The expressions of which an expression is made; of a selector none. */
export function childrenOf(expr: Expr): readonly Expr[] {
  switch (expr.kind) {
    case "paren":
    case "unary":
    case "subquery":
      return [expr.expr];
    case "aggregation":
      return expr.param ? [expr.param, expr.expr] : [expr.expr];
    case "binary":
      return [expr.lhs, expr.rhs];
    case "call":
      return expr.args;
    case "matrix_selector":
    case "vector_selector":
    case "number":
    case "string":
  }
  return [];
}
