import { functionSignature } from "./functions-table.ts";
import { METRIC_NAME, quote } from "./labels.ts";
import { compileMatcher } from "./matcher.ts";
import { isComparison, isSetOperator } from "./operators.ts";
import { parseError } from "./token.ts";
import type { Aggregation, BinaryExpr, Call, Expr, ValueType, VectorSelector } from "./ast.ts";

/**
 * The checks of Prometheus' parser that need the whole tree (promql/parser/parse.go, checkAST), in its order. Sets how set operators match, and
 * removes the matching of operators that don't have two vectors. Throws PromqlError `bad_data`.
 */
export function checkTypes(expr: Expr, text: string): ValueType {
  switch (expr.kind) {
    case "number":
      return "scalar";
    case "string":
      return "string";
    case "vector_selector":
      checkSelector(expr, text);
      return "vector";
    case "matrix_selector":
      checkSelector(expr.selector, text);
      return "matrix";
    case "subquery": {
      const type = checkTypes(expr.expr, text);
      if (type !== "vector") {
        throw parseError(text, expr.start, `subquery is only allowed on instant vector, got ${type} instead`);
      }
      return "matrix";
    }
    case "call":
      return checkCall(expr, text);
    case "aggregation":
      return checkAggregation(expr, text);
    case "binary":
      return checkBinary(expr, text);
    case "unary": {
      const type = checkTypes(expr.expr, text);
      if (type === "scalar" || type === "vector") return type;
      throw parseError(
        text,
        expr.start,
        `unary expression only allowed on expressions of type scalar or instant vector, got ${quote(documented(type))}`,
      );
    }
    case "paren":
  }
  return checkTypes(expr.expr, text);
}

function checkSelector({ name, matchers, start }: VectorSelector, text: string): void {
  if (name !== undefined) {
    const second = matchers.slice(1).find((matcher) => matcher.name === METRIC_NAME);
    if (!second) return;
    throw parseError(
      text,
      start,
      `metric name must not be set twice: ${quote(name)} or ${quote(second.value)}`,
    );
  }
  if (matchers.every((matcher) => compileMatcher(matcher)(""))) {
    throw parseError(text, start, "vector selector must contain at least one non-empty matcher");
  }
}

function checkCall(call: Call, text: string): ValueType {
  const { name, argTypes, variadic, returnType } = functionSignature(call.func)!;
  const { args, start } = call;
  const refuse = (wanted: string): never => {
    throw parseError(
      text,
      start,
      `expected ${wanted} argument(s) in call to ${quote(name)}, got ${args.length}`,
    );
  };
  if (variadic === 0 && args.length !== argTypes.length) refuse(`${argTypes.length}`);
  const min = argTypes.length - 1;
  if (variadic !== 0 && args.length < min) refuse(`at least ${min}`);
  if (variadic > 0 && args.length > min + variadic) refuse(`at most ${min + variadic}`);
  for (const [i, arg] of args.entries()) {
    const wanted = argTypes[Math.min(i, min)]!;
    expectType(arg, wanted, `call to function ${quote(name)}`, text);
  }
  return returnType;
}

function checkAggregation({ op, expr, param }: Aggregation, text: string): ValueType {
  expectType(expr, "vector", "aggregation expression", text);
  if (param) {
    expectType(param, op === "count_values" ? "string" : "scalar", "aggregation parameter", text);
  }
  return "vector";
}

function expectType(expr: Expr, wanted: ValueType, context: string, text: string): void {
  const type = checkTypes(expr, text);
  if (type === wanted) return;
  throw parseError(
    text,
    expr.start,
    `expected type ${documented(wanted)} in ${context}, got ${documented(type)}`,
  );
}

function checkBinary(expr: BinaryExpr, text: string): ValueType {
  const { op, lhs, rhs, isBool, matching } = expr;
  const left = checkTypes(lhs, text);
  const right = checkTypes(rhs, text);
  const refuse = (at: number, problem: string): never => {
    throw parseError(text, at, problem);
  };
  const operatorAt = lhs.end + /^[ \t\r\n]*/.exec(text.slice(lhs.end))![0].length;
  if (isBool && !isComparison(op)) {
    refuse(operatorAt, "bool modifier can only be used on comparison operators");
  }
  if (isComparison(op) && !isBool && left === "scalar" && right === "scalar") {
    refuse(operatorAt, "comparisons between scalars must use BOOL modifier");
  }
  if (isSetOperator(op) && matching?.card === "one-to-one") matching.card = "many-to-many";
  const twice = matching?.isOn
    ? matching.labels.find((label) => matching.include.includes(label))
    : undefined;
  if (twice !== undefined) {
    refuse(operatorAt, `label ${quote(twice)} must not occur in ON and GROUP clause at once`);
  }
  for (const [type, side] of [
    [left, lhs],
    [right, rhs],
  ] as const) {
    if (type === "scalar" || type === "vector") continue;
    refuse(side.start, "binary expression must contain only scalar and instant vector types");
  }
  if (left !== "vector" || right !== "vector") {
    if (matching && matching.labels.length > 0) {
      refuse(expr.start, "vector matching only allowed between instant vectors");
    }
    delete expr.matching;
    if (isSetOperator(op)) {
      refuse(expr.start, `set operator ${quote(op)} not allowed in binary scalar expression`);
    }
  } else if (isSetOperator(op) && matching?.card !== "many-to-many") {
    refuse(expr.start, `no grouping allowed for ${quote(op)} operation`);
  }
  return left === "scalar" && right === "scalar" ? "scalar" : "vector";
}

function documented(type: ValueType): string {
  if (type === "vector") return "instant vector";
  return type === "matrix" ? "range vector" : type;
}
