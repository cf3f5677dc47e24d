import type { DurationExpr, DurationOperand, Expr } from "./ast.ts";
import { PromqlError } from "./error.ts";

/** Durations as Prometheus writes and reads them; a year has 365 days. */
const UNITS: readonly (readonly [unit: string, ms: number, isExact: boolean])[] = [
  ["y", 31_536_000_000, true],
  ["w", 604_800_000, true],
  ["d", 86_400_000, false],
  ["h", 3_600_000, false],
  ["m", 60_000, false],
  ["s", 1000, false],
  ["ms", 1, false],
];
const MAX_NS = 2n ** 63n;
const NS_PER_MS = 1_000_000n;

/** `1h30m` in ms, or why it is none. */
export function parseDuration(text: string): { ms: number } | { problem: string } {
  const invalid = { problem: `not a valid duration string: ${JSON.stringify(text)}` };
  if (text === "0") return { ms: 0 };
  let total = 0n;
  let last = -1;
  for (const [, digits, unit] of text.matchAll(/(\d*)(\D*)/g)) {
    if (digits === "" && unit === "") continue;
    if (digits === "" || unit === "") return invalid;
    const position = UNITS.findIndex(([name]) => name === unit);
    if (position < 0) {
      return { problem: `unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}` };
    }
    if (position <= last) return invalid;
    last = position;
    const count = BigInt(digits!);
    if (count >= 2n ** 64n) return invalid;
    total += count * BigInt(UNITS[position]![1]);
    if (total * NS_PER_MS >= MAX_NS) return { problem: "duration out of range" };
  }
  return last < 0 ? invalid : { ms: Number(total) };
}

/** `1h30m`; years and weeks only when nothing remains. */
export function durationText(ms: number): string {
  let rest = Math.trunc(Math.abs(ms));
  if (rest === 0) return "0s";
  let text = ms < 0 ? "-" : "";
  for (const [unit, size, isExact] of UNITS) {
    if (rest < size || (isExact && rest % size !== 0)) continue;
    text += `${Math.floor(rest / size)}${unit}`;
    rest %= size;
  }
  return text;
}

/** Seconds as milliseconds, cut as Prometheus does, which has nanoseconds in between. */
export function secondsToMs(seconds: number): number {
  return Number(BigInt(Math.sign(seconds) * Math.round(Math.abs(seconds) * 1e9)) / NS_PER_MS);
}

/** Seconds that Prometheus' 64-bit nanoseconds can't hold. */
export function isOutOfRange(seconds: number): boolean {
  const max = 2 ** 63 / 1e9;
  return seconds > max || seconds < -max;
}

/** What `step()` and `range()` are: 0 for an instant query. */
export interface QueryTimes {
  stepMs: number;
  rangeMs: number;
}

/** Computes the durations of the expression, and sets them in it. Throws PromqlError `execution`. */
export function resolveDurations(expr: Expr, times: QueryTimes): void {
  switch (expr.kind) {
    case "vector_selector":
      if (expr.offsetExpr) expr.offsetMs = toMs(expr.offsetExpr, times, true);
      break;
    case "matrix_selector":
      if (expr.rangeExpr) expr.rangeMs = toMs(expr.rangeExpr, times, false);
      resolveDurations(expr.selector, times);
      break;
    case "subquery":
      if (expr.offsetExpr) expr.offsetMs = toMs(expr.offsetExpr, times, true);
      if (expr.stepExpr) expr.stepMs = toMs(expr.stepExpr, times, false);
      if (expr.rangeExpr) expr.rangeMs = toMs(expr.rangeExpr, times, false);
      resolveDurations(expr.expr, times);
      break;
    case "call":
      for (const arg of expr.args) resolveDurations(arg, times);
      break;
    case "aggregation":
      resolveDurations(expr.expr, times);
      if (expr.param) resolveDurations(expr.param, times);
      break;
    case "binary":
      resolveDurations(expr.lhs, times);
      resolveDurations(expr.rhs, times);
      break;
    case "unary":
    case "paren":
      resolveDurations(expr.expr, times);
      break;
    case "number":
    case "string":
      break;
  }
}

function toMs(expr: DurationExpr, times: QueryTimes, mayBeNegative: boolean): number {
  const seconds = evaluate(expr, times);
  if (!Number.isFinite(seconds)) throw failure(expr, "duration is NaN or infinite");
  if (seconds <= 0 && !mayBeNegative) throw failure(expr, "duration must be greater than 0");
  if (isOutOfRange(seconds)) throw failure(expr, "duration is out of range");
  return Math.trunc(seconds * 1000);
}

function evaluate(expr: DurationOperand, times: QueryTimes): number {
  if (expr.kind === "number") return expr.value;
  const lhs = expr.lhs ? evaluate(expr.lhs, times) : 0;
  const rhs = expr.rhs ? evaluate(expr.rhs, times) : 0;
  switch (expr.op) {
    case "step":
      return times.stepMs / 1000;
    case "range":
      return times.rangeMs / 1000;
    case "min_of":
      return Math.min(lhs, rhs);
    case "max_of":
      return Math.max(lhs, rhs);
    case "+":
      return lhs + rhs;
    case "-":
      return lhs - rhs;
    case "*":
      return lhs * rhs;
    case "/":
      if (rhs === 0) throw failure(expr, "division by zero");
      return lhs / rhs;
    case "%":
      if (rhs === 0) throw failure(expr, "modulo by zero");
      return lhs % rhs;
    case "^":
  }
  return lhs ** rhs;
}

/** Prometheus names the first and the last byte here, not line and column. */
function failure(expr: DurationExpr, problem: string): PromqlError {
  return new PromqlError("execution", `${expr.start}:${expr.end}: ${problem}`);
}
