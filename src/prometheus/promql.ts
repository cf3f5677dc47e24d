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

/** The metrics that these selectors read, or undefined when one of them has no plain name (`{__name__=~"x.*"}`). */
export function namesOfSelectors(selectors: readonly string[]): ReadonlySet<string> | undefined {
  const names = selectors.map((selector) => /^([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{|$)/.exec(selector)?.[1]);
  return names.includes(undefined) ? undefined : new Set(names as string[]);
}

function syntaxProblem(promql: string, at: number): string {
  return `syntax error at character ${at + 1}${at < promql.length ? `: ${JSON.stringify(promql.slice(at, at + 20))}` : ""}`;
}
