import type { Expr, ValueType } from "./ast.ts";

const SCALAR_FUNCTIONS = new Set(["scalar", "time", "pi"]);

/** The type of an expression's value. */
export function typeOf(expr: Expr): ValueType {
  switch (expr.kind) {
    case "number":
      return "scalar";
    case "string":
      return "string";
    case "matrix_selector":
    case "subquery":
      return "matrix";
    case "vector_selector":
    case "aggregation":
      return "vector";
    case "paren":
    case "unary":
      return typeOf(expr.expr);
    case "binary":
      return typeOf(expr.lhs) === "scalar" && typeOf(expr.rhs) === "scalar" ? "scalar" : "vector";
    case "call":
  }
  return SCALAR_FUNCTIONS.has(expr.func) ? "scalar" : "vector";
}
