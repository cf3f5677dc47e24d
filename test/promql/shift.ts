import type { Expr } from "#promql/ast.ts";
import { PromqlError } from "#promql/error.ts";
import { parseExpr } from "#promql/parse.ts";
import { exprText } from "#promql/print.ts";
import type { Series } from "#promql/source.ts";

/** The query with the times behind `@` moved; as it is where it is refused. */
export function shiftQuery(query: string, byMs: number): string {
  try {
    const expr = parseExpr(query);
    return shift(expr, byMs) ? exprText(expr) : query;
  } catch (error) {
    if (error instanceof PromqlError) return query;
    throw error;
  }
}

/** Whether there was one to move. */
function shift(expr: Expr, byMs: number): boolean {
  const all = (...parts: Expr[]): boolean => parts.map((part) => shift(part, byMs)).includes(true);
  switch (expr.kind) {
    case "vector_selector":
      return shiftAt(expr, byMs);
    case "matrix_selector":
      return shiftAt(expr.selector, byMs);
    case "subquery":
      return [shiftAt(expr, byMs), all(expr.expr)].includes(true);
    case "call":
      return all(...expr.args);
    case "aggregation":
      return all(expr.expr, ...(expr.param ? [expr.param] : []));
    case "binary":
      return all(expr.lhs, expr.rhs);
    case "unary":
    case "paren":
      return all(expr.expr);
    case "number":
    case "string":
  }
  return false;
}

function shiftAt(timing: { at?: number | "start" | "end" }, byMs: number): boolean {
  if (typeof timing.at !== "number") return false;
  timing.at += byMs;
  return true;
}

export function shiftSeries(series: Series, byMs: number): Series {
  return { ...series, times: series.times.map((time) => time + byMs) };
}
