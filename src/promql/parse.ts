import { checkTypes } from "./check.ts";
import { PromqlError } from "./error.ts";
import { functionSignature } from "./functions-table.ts";
import { quote } from "./labels.ts";
import { unquote } from "./literals.ts";
import { readNumber } from "./parse-durations.ts";
import { isName, readGrouping, readMatchers, readMetric } from "./parse-selectors.ts";
import { readAt, readOffset, readRange } from "./parse-timing.ts";
import { LOWEST, POWER, PRECEDENCE } from "./precedence.ts";
import { type Context, Reader } from "./reader.ts";
import type { Token } from "./token.ts";
import type { Aggregation, AggregationName, BinaryOperator, Expr, Matcher, VectorMatching } from "./ast.ts";

/** Characters of a query: none that people write comes near. */
export const QUERY_LENGTH_MAX = 262_144;

/**
 * A query as a tree, with all checks that Prometheus' own parser makes. Throws PromqlError `bad_data` with its text, or when the query is longer
 * than QUERY_LENGTH_MAX or nested deeper than QUERY_DEPTH_MAX.
 */
export function parseExpr(text: string): Expr {
  const reader = createReader(text);
  if (reader.peek().type === "eof") reader.fail(0, "no expression found in input");
  const expr = binary(reader, LOWEST);
  if (reader.peek().type !== "eof") reader.unexpected();
  checkTypes(expr, text);
  return expr;
}

/** The matchers of a plain selector, as `match[]` has them. Throws PromqlError `bad_data`. */
export function parseSelector(text: string): Matcher[] {
  const reader = createReader(text);
  const token = reader.peek();
  if (token.type !== "{" && !isName(token)) reader.unexpected();
  reader.take();
  const selector = token.type === "{" ? readMatchers(reader, token) : readMetric(reader, token);
  if (reader.peek().type !== "eof") reader.unexpected();
  return selector.matchers;
}

function createReader(text: string): Reader {
  if (text.length > QUERY_LENGTH_MAX) {
    throw new PromqlError("bad_data", `the query is longer than ${QUERY_LENGTH_MAX} characters`);
  }
  return new Reader(text);
}

const AGGREGATION: Context = { within: "aggregation" };
const PARAMETER_AGGREGATIONS: ReadonlySet<string> = new Set([
  "topk",
  "bottomk",
  "count_values",
  "quantile",
  "limitk",
  "limit_ratio",
]);
/** Signs that an expression can begin with. */
const OPENING: ReadonlySet<string> = new Set(["(", "{", "+", "-"]);

function binary(reader: Reader, lowest: number): Expr {
  reader.enter();
  let lhs = unary(reader);
  for (;;) {
    const token = reader.peek();
    const op = token.type as BinaryOperator;
    const precedence = token.kind === "operator" ? PRECEDENCE[op] : undefined;
    if (precedence === undefined || precedence < lowest) break;
    reader.take();
    const { isBool, matching, hasFill } = modifiers(reader);
    const rhs = binary(reader, op === "^" ? precedence : precedence + 1);
    if (hasFill) reader.fail(lhs.start, "binop fill modifiers are experimental and not enabled");
    lhs = reader.nested(
      { kind: "binary", op, lhs, rhs, isBool, matching, start: lhs.start, end: rhs.end },
      lhs,
      rhs,
    );
  }
  reader.leave();
  return lhs;
}

function unary(reader: Reader): Expr {
  const sign = reader.peek();
  if (sign.type !== "-" && sign.type !== "+") return suffixed(reader, primary(reader));
  reader.take();
  const expr = binary(reader, POWER);
  if (expr.kind !== "number") {
    return reader.nested({ kind: "unary", op: sign.type, expr, start: sign.start, end: expr.end }, expr);
  }
  if (sign.type === "-") expr.value *= -1;
  expr.start = sign.start;
  return expr;
}

/** Ranges, `offset` and `@`, which may come in any order. */
function suffixed(reader: Reader, primary: Expr): Expr {
  let expr = primary;
  for (;;) {
    const token = reader.peek();
    switch (token.type) {
      case "[":
        expr = readRange(reader, expr);
        break;
      case "offset":
        readOffset(reader, expr);
        break;
      case "@":
        readAt(reader, expr);
        break;
      case "anchored":
      case "smoothed":
        reader.fail(expr.start, `${token.type} modifier is experimental and not enabled`);
        break;
      default:
        return expr;
    }
  }
}

function primary(reader: Reader): Expr {
  const token = reader.peek();
  switch (token.kind) {
    case "number":
    case "duration":
      return readNumber(reader);
    case "string":
      reader.take();
      return { kind: "string", value: unquote(token.text), start: token.start, end: token.end };
    case "aggregator": {
      reader.take();
      const { type } = reader.peek();
      return type === "(" || type === "by" || type === "without"
        ? aggregation(reader, token)
        : readMetric(reader, token);
    }
    case "identifier":
    case "preprocessor":
      reader.take();
      return reader.peek().type === "(" ? call(reader, token) : readMetric(reader, token);
    case "metric_identifier":
      reader.take();
      return readMetric(reader, token);
    case "keyword":
    case "operator":
      if (!isName(token)) return reader.unexpected();
      reader.take();
      return readMetric(reader, token);
    case "punctuation":
      if (token.type === "{") return readMatchers(reader, reader.take());
      if (token.type === "(") return paren(reader);
      break;
    case "eof":
  }
  return reader.unexpected();
}

function paren(reader: Reader): Expr {
  const open = reader.take();
  const expr = binary(reader, LOWEST);
  const close = reader.expect(")");
  return reader.nested({ kind: "paren", expr, start: open.start, end: close.end }, expr);
}

function call(reader: Reader, name: Token): Expr {
  const args = readArgs(reader);
  const func = functionSignature(name.text);
  if (!func) reader.fail(name.start, `unknown function with name ${quote(name.text)}`);
  if (func.isExperimental) reader.fail(name.start, `function ${quote(name.text)} is not enabled`);
  return reader.nested(
    { kind: "call", func: func.name, args: args.list, start: name.start, end: args.end },
    ...args.list,
  );
}

function readArgs(reader: Reader): { list: Expr[]; end: number } {
  reader.expect("(");
  if (reader.peek().type === ")") return { list: [], end: reader.take().end };
  const list = [binary(reader, LOWEST)];
  while (reader.peek().type === ",") {
    const comma = reader.take();
    if (!isBeginning(reader.peek())) {
      reader.fail(comma.start, "trailing commas not allowed in function call args");
    }
    list.push(binary(reader, LOWEST));
  }
  return { list, end: reader.expect(")").end };
}

function aggregation(reader: Reader, op: Token): Aggregation {
  const { before, args, after } = reader.within(AGGREGATION, () => {
    const first = groupingModifier(reader);
    const inside = readArgs(reader);
    return { before: first, args: inside, after: first ? undefined : groupingModifier(reader) };
  });
  const modifier = before ?? after;
  const hasParam = PARAMETER_AGGREGATIONS.has(op.type);
  if (args.list.length === 0) reader.fail(op.start, "no arguments for aggregate expression provided");
  if (op.type.startsWith("limit")) {
    const flag = "--enable-feature=promql-experimental-functions";
    reader.fail(op.start, `${op.type}() is experimental and must be enabled with ${flag}`);
  }
  const wanted = hasParam ? 2 : 1;
  if (args.list.length !== wanted) {
    reader.fail(
      op.start,
      `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${args.list.length}`,
    );
  }
  const expr = args.list.at(-1)!;
  const param = hasParam ? args.list[0]! : undefined;
  return reader.nested(
    {
      kind: "aggregation",
      op: op.type as AggregationName,
      expr,
      ...(param && { param }),
      grouping: modifier?.labels ?? [],
      isWithout: modifier?.isWithout ?? false,
      start: op.start,
      end: after?.end ?? args.end,
    },
    expr,
    param,
  );
}

function groupingModifier(reader: Reader): { labels: string[]; isWithout: boolean; end: number } | undefined {
  const { type } = reader.peek();
  if (type !== "by" && type !== "without") return undefined;
  reader.take();
  return { isWithout: type === "without", ...readGrouping(reader) };
}

function modifiers(reader: Reader): { isBool: boolean; matching: VectorMatching; hasFill: boolean } {
  const isBool = reader.peek().type === "bool";
  if (isBool) reader.take();
  const matching: VectorMatching = { card: "one-to-one", isOn: false, labels: [], include: [] };
  const { type } = reader.peek();
  if (type === "on" || type === "ignoring") {
    reader.take();
    matching.isOn = type === "on";
    matching.labels = readGrouping(reader).labels;
    const group = reader.peek().type;
    if (group === "group_left" || group === "group_right") {
      reader.take();
      matching.card = group === "group_left" ? "many-to-one" : "one-to-many";
      if (reader.peek().type === "(") matching.include = readGrouping(reader).labels;
    }
  }
  return { isBool, matching, hasFill: fill(reader) };
}

/** Whether there is `fill`, `fill_left` or `fill_right`, or both of these. */
function fill(reader: Reader): boolean {
  const first = reader.peek();
  if (first.kind !== "keyword" || !first.type.startsWith("fill")) return false;
  fillValue(reader);
  const second = reader.peek();
  const other = { fill_left: "fill_right", fill_right: "fill_left" }[first.type];
  if (second.kind === "keyword" && second.type === other) fillValue(reader);
  return true;
}

function fillValue(reader: Reader): void {
  reader.take();
  reader.expect("(");
  if (/^[+-]$/.test(reader.peek().type)) reader.take();
  const { kind } = reader.peek();
  if (kind !== "number" && kind !== "duration") reader.unexpected();
  readNumber(reader);
  reader.expect(")");
}

function isBeginning(token: Token): boolean {
  return (
    isName(token) ||
    token.kind === "number" ||
    token.kind === "duration" ||
    token.kind === "string" ||
    OPENING.has(token.type)
  );
}
