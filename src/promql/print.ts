import { functionSignature } from "./functions-table.ts";
import { durationText } from "./durations.ts";
import { formatFloat } from "./go-numbers.ts";
import { METRIC_NAME, quote } from "./labels.ts";
import type {
  Aggregation,
  BinaryExpr,
  DurationExpr,
  DurationOperand,
  Expr,
  Matcher,
  Subquery,
  VectorSelector,
} from "./ast.ts";

const LINE_BYTES_MAX = 100;
const INDENT = "  ";
const PLAIN_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** The expression as Prometheus' format_query writes it: one line, or more where it is longer than 100 bytes. */
export function printExpr(expr: Expr): string {
  return pretty(expr, 0);
}

function pretty(expr: Expr, level: number): string {
  const indent = INDENT.repeat(level);
  switch (expr.kind) {
    case "number":
    case "string":
    case "vector_selector":
    case "matrix_selector":
      return indent + exprText(expr);
    case "subquery":
      // As Prometheus does: without the indent of its level when it is short.
      return isLong(expr) ? pretty(expr.expr, level) + rangeText(expr) : exprText(expr);
    case "unary":
      return indent + expr.op + pretty(expr.expr, level).trim();
    case "call": {
      if (!isLong(expr)) return indent + exprText(expr);
      const args = expr.args.map((arg) => pretty(arg, level + 1)).join(",\n");
      return `${indent}${expr.func}(\n${args}\n${indent})`;
    }
    case "aggregation": {
      if (!isLong(expr)) return indent + exprText(expr);
      const param = expr.param ? `${pretty(expr.param, level + 1)},\n` : "";
      return `${indent}${aggregationText(expr)}(\n${param}${pretty(expr.expr, level + 1)}\n${indent})`;
    }
    case "binary": {
      if (!isLong(expr)) return indent + exprText(expr);
      return `${pretty(expr.lhs, level + 1)}\n${indent}${operatorText(expr)}\n${pretty(expr.rhs, level + 1)}`;
    }
    case "paren":
  }
  if (!isLong(expr)) return indent + exprText(expr);
  return `${indent}(\n${pretty(expr.expr, level + 1)}\n${indent})`;
}

function isLong(expr: Expr): boolean {
  return Buffer.byteLength(exprText(expr)) > LINE_BYTES_MAX;
}

/** The expression on one line, as Prometheus' messages write it. */
export function exprText(expr: Expr): string {
  switch (expr.kind) {
    case "number":
      return numberText(expr);
    case "string":
      return quote(expr.value);
    case "vector_selector":
      return selectorText(expr) + timingText(expr);
    case "matrix_selector":
      return `${selectorText(expr.selector)}[${spanText(expr.rangeMs, expr.rangeExpr)}]${timingText(expr.selector)}`;
    case "subquery":
      return exprText(expr.expr) + rangeText(expr);
    case "call":
      return `${expr.func}(${expr.args.map(exprText).join(", ")})`;
    case "aggregation": {
      const param = expr.param ? `${exprText(expr.param)}, ` : "";
      return `${aggregationText(expr)}(${param}${exprText(expr.expr)})`;
    }
    case "binary":
      return `${exprText(expr.lhs)} ${operatorText(expr)} ${exprText(expr.rhs)}`;
    case "unary":
      return expr.op + exprText(expr.expr);
    case "paren":
  }
  return `(${exprText(expr.expr)})`;
}

function selectorText({ name, matchers }: VectorSelector): string {
  const inBraces = matchers.filter(
    (matcher) =>
      matcher.name !== METRIC_NAME ||
      matcher.type !== "=" ||
      matcher.value !== (name ?? "") ||
      matcher.value === "",
  );
  const texts = inBraces.map(matcherText).sort(compareBytes);
  return (name ?? "") + (texts.length > 0 ? `{${texts.join(",")}}` : "");
}

export function matcherText({ name, type, value }: Matcher): string {
  return `${labelText(name)}${type}${quote(value)}`;
}

function labelText(name: string): string {
  return PLAIN_LABEL.test(name) ? name : quote(name);
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function timingText({ at, offsetMs, offsetExpr }: VectorSelector | Subquery): string {
  const atText = at === undefined ? "" : ` @ ${typeof at === "number" ? (at / 1000).toFixed(3) : `${at}()`}`;
  if (offsetExpr) return `${atText} offset ${durationExprText(offsetExpr)}`;
  return atText + (offsetMs === 0 ? "" : ` offset ${durationText(offsetMs)}`);
}

function rangeText(expr: Subquery): string {
  const hasStep = expr.stepMs !== undefined;
  const step = hasStep ? spanText(expr.stepMs!, expr.stepExpr) : "";
  return `[${spanText(expr.rangeMs, expr.rangeExpr)}:${step}]${timingText(expr)}`;
}

function spanText(ms: number, expr: DurationExpr | undefined): string {
  return expr ? durationExprText(expr) : durationText(ms);
}

function durationExprText(expr: DurationOperand): string {
  if (expr.kind === "number") return numberText(expr);
  const text = operationText(expr);
  return expr.hasParens ? `(${text})` : text;
}

function operationText({ op, lhs, rhs }: DurationExpr): string {
  if (op === "step" || op === "range") return `${op}()`;
  const [left, right] = [lhs && durationExprText(lhs), durationExprText(rhs!)];
  if (op === "min_of" || op === "max_of") return `${op}(${left}, ${right})`;
  if (left !== undefined) return `${left} ${op} ${right}`;
  return op === "-" ? `-${right}` : right;
}

function aggregationText({ op, grouping, isWithout }: Aggregation): string {
  if (!isWithout && grouping.length === 0) return op;
  return `${op} ${isWithout ? "without" : "by"} (${grouping.map(labelText).join(", ")}) `;
}

function operatorText({ op, isBool, matching }: BinaryExpr): string {
  let text = op + (isBool ? " bool" : "");
  if (!matching) return text;
  const { card, isOn, labels, include } = matching;
  const group = { "many-to-one": "group_left", "one-to-many": "group_right" }[card as string];
  if (labels.length > 0 || isOn || group) {
    text += ` ${isOn ? "on" : "ignoring"} (${labels.map(labelText).join(", ")})`;
  }
  return group ? `${text} ${group} (${include.map(labelText).join(", ")})` : text;
}

function numberText({ value, isDuration }: { value: number; isDuration?: boolean }): string {
  return isDuration ? durationText(value * 1000) : formatFloat(value);
}

/** The tree as Prometheus' parse_query answers it. */
export function toParseTree(expr: Expr): Record<string, unknown> {
  switch (expr.kind) {
    case "number":
      return { type: "numberLiteral", val: formatFloat(expr.value) };
    case "string":
      return { type: "stringLiteral", val: expr.value.toWellFormed() };
    case "vector_selector":
      return {
        type: "vectorSelector",
        ...selectorTree(expr),
        ...timingTree(expr),
        anchored: false,
        smoothed: false,
      };
    case "matrix_selector":
      return {
        type: "matrixSelector",
        ...selectorTree(expr.selector),
        range: expr.rangeMs,
        rangeExpr: durationTree(expr.rangeExpr),
        ...timingTree(expr.selector),
        anchored: false,
        smoothed: false,
      };
    case "subquery":
      return {
        type: "subquery",
        expr: toParseTree(expr.expr),
        range: expr.rangeMs,
        rangeExpr: durationTree(expr.rangeExpr),
        step: expr.stepMs ?? 0,
        stepExpr: durationTree(expr.stepExpr),
        ...timingTree(expr),
      };
    case "call": {
      const { name, argTypes, variadic, returnType } = functionSignature(expr.func)!;
      return {
        type: "call",
        func: { name, argTypes, variadic, returnType },
        args: expr.args.map(toParseTree),
      };
    }
    case "aggregation":
      return {
        type: "aggregation",
        op: expr.op,
        expr: toParseTree(expr.expr),
        param: expr.param ? toParseTree(expr.param) : null,
        grouping: expr.grouping,
        without: expr.isWithout,
      };
    case "binary":
      return {
        type: "binaryExpr",
        op: expr.op,
        lhs: toParseTree(expr.lhs),
        rhs: toParseTree(expr.rhs),
        matching: matchingTree(expr),
        bool: expr.isBool,
      };
    case "unary":
      return { type: "unaryExpr", op: expr.op, expr: toParseTree(expr.expr) };
    case "paren":
  }
  return { type: "parenExpr", expr: toParseTree(expr.expr) };
}

function matchingTree({ matching }: BinaryExpr): Record<string, unknown> | null {
  if (!matching) return null;
  const { card, isOn, labels, include } = matching;
  return { card, labels, on: isOn, include, fillValues: { lhs: null, rhs: null } };
}

/** The name's matcher is the last one there. */
function selectorTree({ name, matchers }: VectorSelector): Record<string, unknown> {
  const ordered = name === undefined ? matchers : [...matchers.slice(1), matchers[0]!];
  return {
    name: name ?? "",
    matchers: ordered.map((each) => ({ name: each.name, value: each.value.toWellFormed(), type: each.type })),
  };
}

function timingTree({ at, offsetMs, offsetExpr }: VectorSelector | Subquery): Record<string, unknown> {
  return {
    offset: offsetMs,
    offsetExpr: durationTree(offsetExpr),
    timestamp: typeof at === "number" ? at : null,
    startOrEnd: typeof at === "string" ? at : null,
  };
}

function durationTree(expr: DurationOperand | undefined): Record<string, unknown> | null {
  if (!expr) return null;
  if (expr.kind === "number") {
    return { type: "numberLiteral", val: formatFloat(expr.value), duration: expr.isDuration ?? false };
  }
  const { op, lhs, rhs, hasParens } = expr;
  return {
    type: "durationExpr",
    op,
    lhs: durationTree(lhs),
    rhs: durationTree(rhs),
    wrapped: hasParens,
  };
}
