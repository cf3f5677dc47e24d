import type { BinaryOperator } from "./ast.ts";
import { pow } from "./go-math.ts";

export type SetOperator = "and" | "or" | "unless";
export type ComparisonOperator = "==" | "!=" | ">" | "<" | ">=" | "<=";
/** Cuts buckets off native histograms; numbers it does not take. */
type TrimOperator = "</" | ">/";
export type ArithmeticOperator = Exclude<BinaryOperator, SetOperator | ComparisonOperator | TrimOperator>;

export function isSetOperator(op: BinaryOperator): op is SetOperator {
  return op === "and" || op === "or" || op === "unless";
}

export function isComparison(op: BinaryOperator): op is ComparisonOperator {
  return op === "==" || op === "!=" || op === ">" || op === "<" || op === ">=" || op === "<=";
}

/** Is the result no longer a value of the operand's metric? */
export function changesMetric(op: BinaryOperator): boolean {
  return !isComparison(op) && !isTrim(op) && !isSetOperator(op);
}

export function isTrim(op: BinaryOperator): op is TrimOperator {
  return op === "</" || op === ">/";
}

export const ARITHMETIC: Record<ArithmeticOperator, (a: number, b: number) => number> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a % b,
  "^": pow,
  atan2: (a, b) => Math.atan2(a, b),
};

export const COMPARISON: Record<ComparisonOperator, (a: number, b: number) => boolean> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
  ">=": (a, b) => a >= b,
  "<=": (a, b) => a <= b,
};

/** An operation of two numbers as a number: comparisons are 0 or 1. */
export function operation(op: ComparisonOperator | ArithmeticOperator): (a: number, b: number) => number {
  if (!isComparison(op)) return ARITHMETIC[op];
  const compare = COMPARISON[op];
  return (a, b) => (compare(a, b) ? 1 : 0);
}
