import type { SyntaxNode } from "@lezer/common";
import { parsePromqlTree } from "#lib/promql-tree.ts";

export type PromqlClass =
  | { kind: "selector"; selector: string }
  | { kind: "expression" }
  | { kind: "invalid"; problem: string };

/**
 * Tells a plain vector selector, whose raw samples can be read as `selector[window]`, from any other PromQL, by Prometheus' own grammar.
 * `offset` and `@` make an expression: they move the samples' times.
 */
export function classifyPromql(promql: string): PromqlClass {
  const tree = parsePromqlTree(promql);
  let errorAt: number | undefined;
  tree.iterate({
    enter: (node) => {
      if (node.type.isError) errorAt ??= node.from;
    },
  });
  if (errorAt !== undefined) return { kind: "invalid", problem: syntaxProblem(promql, errorAt) };
  const top = [];
  for (let node = tree.topNode.firstChild; node; node = node.nextSibling) {
    if (node.type.name !== "LineComment") top.push(node);
  }
  const [expression] = top;
  if (!expression || top.length !== 1) return { kind: "invalid", problem: "it is empty" };
  switch (expression.type.name) {
    case "VectorSelector":
      return { kind: "selector", selector: promql.slice(expression.from, expression.to) };
    case "MatrixSelector":
    case "SubqueryExpr":
      return {
        kind: "invalid",
        problem: "a range can't be collected: give the selector without its [duration]",
      };
    case "StringLiteral":
      return { kind: "invalid", problem: "a text is not a metric" };
    default:
      return { kind: "expression" };
  }
}

/** Functions whose result of a series depends on that series alone, and keeps its labels. */
const PER_SERIES =
  /^(abs|ceil|changes|clamp|clamp_max|clamp_min|delta|deriv|exp|floor|idelta|increase|irate|ln|log10|log2|predict_linear|rate|resets|round|sgn|sqrt|timestamp|(avg|count|last|max|min|present|quantile|stddev|stdvar|sum)_over_time)$/;
/**
 * Can the expression be computed from a part of the series, so that the parts' results together are the whole? Only what treats each series by
 * itself: functions of one series and arithmetic with numbers.
 */
export function isPerSeries(promql: string): boolean {
  let selectors = 0;
  let isEach = true;
  parsePromqlTree(promql).iterate({
    enter: ({ node }) => {
      const { name } = node.type;
      if (name === "VectorSelector") selectors++;
      if (name === "AggregateExpr") isEach = false;
      if (name === "FunctionIdentifier") isEach &&= PER_SERIES.test(promql.slice(node.from, node.to));
      if (name === "BinaryExpr") isEach &&= !hasSelector(node.firstChild) || !hasSelector(node.lastChild);
    },
  });
  return isEach && selectors > 0;
}

function hasSelector(node: SyntaxNode | null): boolean {
  if (!node) return false;
  if (node.type.name === "VectorSelector") return true;
  for (let child = node.firstChild; child; child = child.nextSibling) if (hasSelector(child)) return true;
  return false;
}

function syntaxProblem(promql: string, at: number): string {
  return `syntax error at character ${at + 1}${at < promql.length ? `: ${JSON.stringify(promql.slice(at, at + 20))}` : ""}`;
}
