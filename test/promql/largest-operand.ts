import type { Expr } from "#promql/ast.ts";
import type { Engine } from "#promql/engine.ts";
import { parseExpr } from "#promql/parse.ts";
import { exprText } from "#promql/print.ts";
import { askEngine } from "./outcome.ts";
import type { QueryCase } from "./query-case.ts";

/** These add up products of two values or times. */
const SQUARES = /stdvar|stddev|deriv|predict_linear/;

/** The largest finite number that the query computes with: what its result is a difference of may be that large. */
export async function largestOperand(engine: Engine, { query, times }: QueryCase): Promise<number> {
  let largest = 0;
  for (const part of partsOf(parseExpr(query))) {
    const outcome = await askEngine(engine, { query: exprText(part), times });
    const values = "series" in outcome ? outcome.series.flatMap((each) => each.values) : [];
    if ("value" in outcome) values.push(Number(outcome.value));
    for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  }
  return SQUARES.test(query) ? largest ** 2 : largest;
}

/** The expressions within, without strings and ranges. */
function partsOf(expr: Expr): Expr[] {
  switch (expr.kind) {
    case "number":
    case "vector_selector":
      return [expr];
    case "matrix_selector":
      return [expr.selector];
    case "subquery":
    case "unary":
    case "paren":
      return [expr.expr, ...partsOf(expr.expr)];
    case "binary":
      return [expr.lhs, expr.rhs, ...partsOf(expr.lhs), ...partsOf(expr.rhs)];
    case "aggregation":
      return [expr.expr, ...partsOf(expr.expr)];
    case "call":
      return expr.args.flatMap((arg) => [
        ...(arg.kind === "matrix_selector" || arg.kind === "subquery" ? [] : [arg]),
        ...partsOf(arg),
      ]);
    case "string":
  }
  return [];
}
