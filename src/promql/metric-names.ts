import type { Expr } from "./ast.ts";
import { METRIC_NAME } from "./labels.ts";
import { changesMetric } from "./operators.ts";

/** Functions that leave the metric's name where it is. */
const KEEPING = new Set(["sort", "sort_desc", "last_over_time", "first_over_time"]);

/** Can the series have several metric names? If not, series remain different without it. */
export function mayHaveSeveralNames(expr: Expr): boolean {
  switch (expr.kind) {
    case "vector_selector":
      return !expr.matchers.some(
        ({ name, type, value }) => name === METRIC_NAME && type === "=" && value !== "",
      );
    case "matrix_selector":
      return mayHaveSeveralNames(expr.selector);
    case "paren":
    case "unary":
    case "subquery":
      return mayHaveSeveralNames(expr.expr);
    case "aggregation": {
      const isGrouped = !expr.isWithout && expr.grouping.includes(METRIC_NAME);
      const isChosen = expr.op === "topk" || expr.op === "bottomk";
      return (isGrouped || isChosen) && mayHaveSeveralNames(expr.expr);
    }
    case "binary": {
      const isGiven = expr.matching?.include.includes(METRIC_NAME) ?? false;
      if (isGiven || expr.op === "or") return true;
      if (changesMetric(expr.op) || expr.isBool) return false;
      return mayHaveSeveralNames(expr.lhs) || mayHaveSeveralNames(expr.rhs);
    }
    case "call":
      if (expr.func === "label_replace" || expr.func === "label_join") return true;
      return KEEPING.has(expr.func) && expr.args.some(mayHaveSeveralNames);
    case "number":
    case "string":
  }
  return false;
}
