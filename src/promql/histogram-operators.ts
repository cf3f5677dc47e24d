import { counterResetCollision, reconciledCustomBuckets } from "./annotations.ts";
import type { BinaryExpr, BinaryOperator } from "./ast.ts";
import type { Evaluation } from "./evaluation.ts";
import { add, compact, divide, equalHistograms, multiply } from "./histogram-math.ts";
import { trimHistogram } from "./histogram-trim.ts";
import type { FloatHistogram } from "./histogram.ts";
import { quote } from "./labels.ts";
import { isTrim } from "./operators.ts";

/** An operand at one time. */
export type Element = number | FloatHistogram;

/** What an operation of which at least one side is a native histogram gives; `holds`: does the comparison hold? */
export interface ElementResult {
  histogram: FloatHistogram;
  holds: boolean;
}

/** Of an operator that takes no two numbers: leaves only native histograms, with a remark. */
export function leaveOutNumbers(
  run: Evaluation,
  expr: BinaryExpr,
  present: Uint8Array,
  isHistogram: (i: number) => boolean,
): void {
  let any = false;
  for (let i = 0; i < present.length; i++) {
    if (present[i] === 0 || isHistogram(i)) continue;
    present[i] = 0;
    any = true;
  }
  if (any) run.annotations.inform(incompatibleTypes(expr.op, 0, 0), expr);
}

/** undefined, with a remark: the operator does not take these. */
export function elementOperation(
  run: Evaluation,
  expr: BinaryExpr,
  left: Element,
  right: Element,
): ElementResult | undefined {
  const { op } = expr;
  const result = computed(run, expr, left, right);
  if (result === "mixed") {
    run.annotations.warn(`incompatible bucket layout encountered for binary operator ${op}`, expr);
    return undefined;
  }
  if (!result) run.annotations.inform(incompatibleTypes(op, left, right), expr);
  return result;
}

function computed(
  run: Evaluation,
  expr: BinaryExpr,
  left: Element,
  right: Element,
): ElementResult | "mixed" | undefined {
  const { op } = expr;
  const kept = (histogram: FloatHistogram): ElementResult => ({ histogram, holds: true });
  if (typeof left === "number")
    return op === "*" && typeof right !== "number" ? kept(compact(multiply(right, left))) : undefined;
  if (typeof right === "number") {
    if (op === "*") return kept(compact(multiply(left, right)));
    if (op === "/") return kept(compact(divide(left, right)));
    return isTrim(op) ? kept(trimHistogram(left, right, op === "</" ? "below" : "above")) : undefined;
  }
  if (op === "==" || op === "!=") {
    const isEqual = equalHistograms(compact(left), compact(right));
    return { histogram: left, holds: isEqual === (op === "==") };
  }
  if (op !== "+" && op !== "-") return undefined;
  const result = add(left, right, op === "+" ? 1 : -1);
  if (!result) return "mixed";
  const name = op === "+" ? "addition" : "subtraction";
  if (result.resetCollision) run.annotations.warn(counterResetCollision(name), expr);
  if (result.reconciled) run.annotations.inform(reconciledCustomBuckets(name), expr);
  return kept(op === "+" ? result.histogram : { ...result.histogram, hint: "gauge" });
}

function incompatibleTypes(op: BinaryOperator, left: Element, right: Element): string {
  const name = (element: Element): string => (typeof element === "number" ? "float" : "histogram");
  return `incompatible sample types encountered for binary operator ${quote(op)}: ${name(left)} ${op} ${name(right)}`;
}
