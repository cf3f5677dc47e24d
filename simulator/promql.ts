import type { SyntaxNode } from "@lezer/common";
import { parsePromqlTree } from "#lib/promql-tree.ts";
import { QueryError } from "./query-error.ts";

type MatchOperator = "=" | "!=" | "=~" | "!~";

export interface Matcher {
  name: string;
  operator: MatchOperator;
  value: string;
}

export interface Selector {
  kind: "selector";
  matchers: Matcher[];
  offsetMs: number;
}

export const AGGREGATES = ["sum", "avg", "count", "min", "max", "group", "quantile"] as const;
export const RANGE_FUNCTIONS = [
  "rate",
  "increase",
  "count_over_time",
  "min_over_time",
  "max_over_time",
  "sum_over_time",
  "avg_over_time",
  "last_over_time",
  "quantile_over_time",
] as const;
export const SCALAR_OPERATORS = ["+", "-", "*", "/", "%", "^"] as const;

/** The part of PromQL that the simulator evaluates. */
export type Expression =
  | { kind: "number"; value: number }
  | { kind: "text"; value: string }
  | { kind: "time" }
  | Selector
  | { kind: "matrix"; selector: Selector; rangeMs: number }
  | {
      kind: "over-range";
      run: (typeof RANGE_FUNCTIONS)[number];
      /** Argument of quantile_over_time. */
      quantile?: number;
      selector: Selector;
      rangeMs: number;
    }
  | { kind: "subquery"; of: Expression; rangeMs: number; stepMs: number }
  | {
      kind: "over-steps";
      run: (typeof RANGE_FUNCTIONS)[number];
      of: Expression;
      rangeMs: number;
      stepMs: number;
    }
  /** label_replace(of, label, value, "", ""): each series gets the label. */
  | { kind: "label"; of: Expression; label: string; value: string }
  | { kind: "or" | "and"; left: Expression; right: Expression }
  | { kind: "timestamp"; of: Expression }
  | { kind: "vector"; of: Expression }
  | {
      kind: "aggregate";
      run: (typeof AGGREGATES)[number];
      /** Argument of `quantile`. */
      quantile?: number;
      grouping: "by" | "without";
      labels: string[];
      of: Expression;
    }
  | { kind: "negate"; of: Expression }
  | { kind: "binary"; operator: (typeof SCALAR_OPERATORS)[number]; left: Expression; right: Expression };

/**
 * Parses by Prometheus' own grammar. Throws QueryError: bad_data for what Prometheus refuses, execution for
 * what only the simulator does not know.
 */
export function parsePromql(text: string): Expression {
  if (text.trim() === "") throw badQuery("unknown position: parse error: no expression found in input");
  const tree = parsePromqlTree(text);
  tree.iterate({
    enter: (node) => {
      if (!node.type.isError) return;
      const [name] = /[a-zA-Z_]\w*$/.exec(text.slice(0, node.from)) ?? [];
      if (name !== undefined && text[node.from] === "(") {
        throw badQuery(`1:${node.from + 1 - name.length}: parse error: unknown function with name "${name}"`);
      }
      throw badQuery(`1:${node.from + 1}: parse error: ${problemAt(text, node.from)}`);
    },
  });
  const top = tree.topNode.getChild("Expr");
  if (!top) throw badQuery("unknown position: parse error: no expression found in input");
  return toExpression(top, text);
}

function badQuery(problem: string): QueryError {
  return new QueryError(400, "bad_data", `invalid parameter "query": ${problem}`);
}

function unsupported(node: SyntaxNode, text: string): QueryError {
  return new QueryError(
    422,
    "execution",
    `the simulator does not evaluate ${JSON.stringify(text.slice(node.from, node.to))}`,
  );
}

function problemAt(text: string, at: number): string {
  const before = text.slice(0, at);
  const open = (left: string, right: string): boolean => before.lastIndexOf(left) > before.lastIndexOf(right);
  if (at < text.trimEnd().length) return `unexpected ${JSON.stringify(text.slice(at, at + 20))}`;
  if (open("{", "}")) return "unexpected end of input inside braces";
  if (open("[", "]")) return "unclosed left bracket";
  if (open("(", ")")) return "unclosed left parenthesis";
  return "unexpected end of input";
}

function toExpression(node: SyntaxNode, text: string): Expression {
  switch (node.type.name) {
    case "ParenExpr":
      return toExpression(only(node), text);
    case "NumberDurationLiteral":
      return { kind: "number", value: toNumber(text.slice(node.from, node.to)) };
    case "StringLiteral":
      return { kind: "text", value: unquote(text.slice(node.from, node.to)) };
    case "VectorSelector":
      return toSelector(node, text, 0);
    case "OffsetExpr":
      return toOffset(node, text);
    case "MatrixSelector":
      return toMatrix(node, text);
    case "SubqueryExpr":
      return toSubquery(node, text);
    case "FunctionCall":
      return toCall(node, text);
    case "AggregateExpr":
      return toAggregate(node, text);
    case "UnaryExpr": {
      const of = toExpression(only(node), text);
      return text[node.from] === "-" ? { kind: "negate", of } : of;
    }
    case "BinaryExpr":
      return toBinary(node, text);
    default:
      throw unsupported(node, text);
  }
}

function only(node: SyntaxNode): SyntaxNode {
  const child = node.getChild("Expr");
  if (!child) throw new Error(`${node.type.name} without an expression`);
  return child;
}

function toSelector(node: SyntaxNode, text: string, offsetMs: number): Selector {
  const matchers: Matcher[] = [];
  const identifier = node.getChild("Identifier");
  if (identifier)
    matchers.push({ name: "__name__", operator: "=", value: text.slice(identifier.from, identifier.to) });
  for (let each = node.getChild("LabelMatchers")?.firstChild; each; each = each.nextSibling) {
    const parts = childrenOf(each);
    const slice = (part: SyntaxNode): string => text.slice(part.from, part.to);
    const name = each.firstChild;
    const value = parts.at(-1);
    if (!name || !value) continue;
    const quoted = each.type.name !== "UnquotedLabelMatcher";
    if (each.type.name === "QuotedLabelName") {
      matchers.push({ name: "__name__", operator: "=", value: unquote(slice(each)) });
      continue;
    }
    const operator = each.getChild("MatchOp");
    if (!operator) continue;
    matchers.push({
      name: quoted ? unquote(slice(name)) : slice(name),
      operator: slice(operator) as MatchOperator,
      value: unquote(slice(value)),
    });
  }
  return { kind: "selector", matchers, offsetMs };
}

function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) children.push(child);
  return children;
}

function toOffset(node: SyntaxNode, text: string): Expression {
  const of = toExpression(only(node), text);
  const written = node.getChild("OffsetDurationExpr");
  if (!written) throw unsupported(node, text);
  const offset = text.slice(written.from, written.to);
  const offsetMs = offset.startsWith("-") ? -durationMs(offset.slice(1)) : durationMs(offset);
  if (of.kind === "selector") return { ...of, offsetMs };
  if (of.kind === "matrix") return { ...of, selector: { ...of.selector, offsetMs } };
  throw unsupported(node, text);
}

function toMatrix(node: SyntaxNode, text: string): Expression {
  const selector = toExpression(only(node), text);
  const range = node.getChild("DurationExpr");
  if (selector.kind !== "selector" || !range) throw unsupported(node, text);
  return { kind: "matrix", selector, rangeMs: durationMs(text.slice(range.from, range.to)) };
}

function toSubquery(node: SyntaxNode, text: string): Expression {
  const of = toExpression(only(node), text);
  const [rangeMs, stepMs] = node
    .getChildren("DurationExpr")
    .map((duration) => durationMs(text.slice(duration.from, duration.to)));
  if (rangeMs === undefined || stepMs === undefined) throw unsupported(node, text);
  return { kind: "subquery", of, rangeMs, stepMs };
}

/** Only the form that gives each series of a result one more label. */
function toLabelReplace(node: SyntaxNode, text: string): Expression {
  const args = node.getChild("FunctionCallBody")?.getChildren("Expr") ?? [];
  const [of, ...texts] = args.map((each) => toExpression(each, text));
  const [label, value, source, pattern] = texts.map((each) =>
    each.kind === "text" ? each.value : undefined,
  );
  if (!of || label === undefined || value === undefined || source !== "" || pattern !== "")
    throw unsupported(node, text);
  return { kind: "label", of, label, value };
}

function toCall(node: SyntaxNode, text: string): Expression {
  const identifier = node.getChild("FunctionIdentifier");
  const name = identifier ? text.slice(identifier.from, identifier.to) : "";
  if (name === "time" && !node.getChild("FunctionCallBody")?.getChild("Expr")) return { kind: "time" };
  if (name === "label_replace") return toLabelReplace(node, text);
  const { first, quantile } = toArguments(node, text, name === "quantile_over_time");
  const of = toExpression(first, text);
  if (name === "timestamp" || name === "vector") return { kind: name, of };
  const run = RANGE_FUNCTIONS.find((each) => each === name);
  if (!run) throw unsupported(node, text);
  if (of.kind === "subquery") {
    if (quantile.quantile !== undefined) throw unsupported(node, text);
    return { ...of, kind: "over-steps", run };
  }
  if (of.kind !== "matrix") {
    const where = `1:${first.from + 1}: parse error: expected type range vector in call to function`;
    throw badQuery(`${where} ${JSON.stringify(name)}, got instant vector`);
  }
  return { kind: "over-range", run, ...quantile, selector: of.selector, rangeMs: of.rangeMs };
}

/** The one argument of a call, and before it the number that quantiles have. */
function toArguments(
  node: SyntaxNode,
  text: string,
  hasQuantile: boolean,
): { first: SyntaxNode; quantile: { quantile?: number } } {
  const args = node.getChild("FunctionCallBody")?.getChildren("Expr") ?? [];
  const first = args.at(-1);
  if (!first || args.length !== (hasQuantile ? 2 : 1)) throw unsupported(node, text);
  if (!hasQuantile) return { first, quantile: {} };
  const number = toExpression(args[0]!, text);
  if (number.kind !== "number") throw unsupported(node, text);
  return { first, quantile: { quantile: number.value } };
}

function toAggregate(node: SyntaxNode, text: string): Expression {
  const operator = node.getChild("AggregateOp");
  const name = operator ? text.slice(operator.from, operator.to).toLowerCase() : "";
  const run = AGGREGATES.find((each) => each === name);
  if (!run) throw unsupported(node, text);
  const { first, quantile } = toArguments(node, text, run === "quantile");
  const of = toExpression(first, text);
  if (of.kind === "matrix") {
    throw badQuery(
      `1:${first.from + 1}: parse error: expected type instant vector in aggregation expression, got range vector`,
    );
  }
  const modifier = node.getChild("AggregateModifier");
  const labels = modifier?.getChild("GroupingLabels");
  const plain = labels?.getChildren("LabelName").map((label) => text.slice(label.from, label.to)) ?? [];
  const quoted =
    labels?.getChildren("QuotedLabelName").map((label) => unquote(text.slice(label.from, label.to))) ?? [];
  return {
    kind: "aggregate",
    run,
    ...quantile,
    grouping: modifier?.getChild("Without") ? "without" : "by",
    labels: [...plain, ...quoted],
    of,
  };
}

function toBinary(node: SyntaxNode, text: string): Expression {
  const [left, right] = node.getChildren("Expr");
  if (!left || !right || node.getChild("MatchingModifierClause")) throw unsupported(node, text);
  const written = text
    .slice(left.to, right.from)
    .replaceAll(/#[^\n]*/g, "")
    .trim();
  const set = written.toLowerCase();
  if (set === "or" || set === "and")
    return { kind: set, left: toExpression(left, text), right: toExpression(right, text) };
  const operator = SCALAR_OPERATORS.find((each) => each === written);
  if (!operator) throw unsupported(node, text);
  return { kind: "binary", operator, left: toExpression(left, text), right: toExpression(right, text) };
}

const UNITS_MS: Record<string, number> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

/** A PromQL duration (`1h30m`, `250ms`, or seconds as a number) in ms. Throws QueryError. */
export function durationMs(text: string): number {
  const written = text.trim();
  if (/^\d+(\.\d+)?$/.test(written)) return Math.round(Number(written) * 1000);
  const parts = [...written.matchAll(/(\d+)(ms|[smhdwy])/g)];
  if (parts.length === 0 || parts.map(([whole]) => whole).join("") !== written) {
    throw badQuery(`1:1: parse error: not a valid duration string: ${JSON.stringify(written)}`);
  }
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS_MS[unit ?? ""] ?? 0), 0);
}

function toNumber(text: string): number {
  const plain = text.toLowerCase().replaceAll("_", "");
  if (/^[+-]?inf$/.test(plain))
    return plain.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const value = Number(plain);
  return Number.isNaN(value) && plain !== "nan" ? durationMs(plain) / 1000 : value;
}

const ESCAPES: Record<string, string> = { a: "\u0007", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

/** The text of a PromQL string literal: Go's escapes, none inside of backticks. */
function unquote(literal: string): string {
  const inner = literal.slice(1, -1);
  if (literal.startsWith("`")) return inner;
  return inner.replaceAll(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|([\s\S]))/g,
    (_all, x?: string, u?: string, U?: string, octal?: string, char?: string) => {
      const hex = x ?? u ?? U;
      if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      return ESCAPES[char ?? ""] ?? char ?? "";
    },
  );
}
