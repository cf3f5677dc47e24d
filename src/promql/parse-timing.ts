import { secondsToMs } from "./durations.ts";
import { offsetDuration, positiveDuration, readNumber } from "./parse-durations.ts";
import type { Context, Reader } from "./reader.ts";
import type { Token } from "./token.ts";
import type { DurationOperand, Expr, MatrixSelector, Subquery, VectorSelector } from "./ast.ts";

const OFFSET: Context = { within: "offset", expected: "number, duration, step(), or range()" };
const AT: Context = { within: "@", expected: "timestamp" };
const RANGE: Context = {
  within: "subquery or range selector",
  expected: "number, duration, step(), or range()",
};
const RANGE_END: Context = { within: "subquery or range", expected: '":" or "]"' };
const STEP: Context = {
  within: "subquery selector",
  expected: 'number, duration, step(), range(), or "]"',
};
const STEP_END: Context = { within: "subquery selector", expected: '"]"' };

export function readRange(reader: Reader, expr: Expr): MatrixSelector | Subquery {
  const open = reader.take();
  const range = positiveDuration(reader, RANGE);
  const { type } = reader.peek();
  if (type === "]") return matrix(reader, expr, range, open);
  if (type !== ":") reader.unexpected(RANGE_END);
  reader.take();
  let step: DurationOperand | undefined;
  if (reader.peek().type !== "]") {
    step = positiveDuration(reader, STEP);
    if (reader.peek().type !== "]") reader.unexpected(STEP_END);
  }
  const { end } = reader.take();
  return reader.nested(
    {
      kind: "subquery",
      expr,
      rangeMs: fixedMs(range),
      ...(range.kind === "duration" && { rangeExpr: range }),
      ...(step && { stepMs: fixedMs(step) }),
      ...(step?.kind === "duration" && { stepExpr: step }),
      offsetMs: 0,
      start: expr.start,
      end,
    },
    expr,
  );
}

function matrix(reader: Reader, expr: Expr, range: DurationOperand, open: Token): MatrixSelector {
  const { end } = reader.take();
  if (expr.kind !== "vector_selector") {
    return reader.fail(open.start, "ranges only allowed for vector selectors");
  }
  if (expr.offsetMs !== 0 || expr.offsetExpr) {
    reader.fail(open.start, "no offset modifiers allowed before range");
  }
  if (expr.at !== undefined) reader.fail(open.start, "no @ modifiers allowed before range");
  return {
    kind: "matrix_selector",
    selector: expr,
    rangeMs: fixedMs(range),
    ...(range.kind === "duration" && { rangeExpr: range }),
    start: expr.start,
    end,
  };
}

export function readOffset(reader: Reader, expr: Expr): void {
  reader.take();
  const offset = reader.within(OFFSET, () => offsetDuration(reader));
  const timing = timingOf(expr);
  if (!timing) {
    reader.fail(
      expr.start,
      "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }
  if (timing.offsetMs !== 0 || timing.offsetExpr) {
    reader.fail(expr.start, "offset may not be set multiple times");
  }
  timing.offsetMs = fixedMs(offset);
  if (offset.kind === "duration") timing.offsetExpr = offset;
  expr.end = offset.end;
}

export function readAt(reader: Reader, expr: Expr): void {
  reader.take();
  const token = reader.peek();
  let at: number | "start" | "end";
  let end: number;
  if (token.type === "start" || token.type === "end") {
    reader.take();
    if (reader.peek().type !== "(") reader.unexpected(AT);
    reader.take();
    if (reader.peek().type !== ")") reader.unexpected(AT);
    end = reader.take().end;
    at = token.type;
  } else {
    if (token.type === "-" || token.type === "+") reader.take();
    const { kind } = reader.peek();
    if (kind !== "number" && kind !== "duration") reader.unexpected(AT);
    const number = readNumber(reader);
    const seconds = token.type === "-" ? -number.value : number.value;
    if (!(Math.abs(seconds) < 2 ** 63)) {
      reader.fail(expr.start, `timestamp out of bounds for @ modifier: ${fixedText(seconds)}`);
    }
    at = Math.sign(seconds) * Math.round(Math.abs(seconds) * 1000);
    end = number.end;
  }
  const timing = timingOf(expr);
  if (!timing) {
    reader.fail(
      expr.start,
      "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    );
  }
  if (timing.at !== undefined) reader.fail(expr.start, "@ <timestamp> may not be set multiple times");
  timing.at = at;
  expr.end = end;
}

/** What `offset` and `@` behind the expression change. */
function timingOf(expr: Expr): VectorSelector | Subquery | undefined {
  if (expr.kind === "matrix_selector") return expr.selector;
  return expr.kind === "vector_selector" || expr.kind === "subquery" ? expr : undefined;
}

/** 0 where resolveDurations gives it. */
function fixedMs(duration: DurationOperand): number {
  return duration.kind === "number" ? secondsToMs(duration.value) : 0;
}

/** As `%f` writes a number. */
function fixedText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return `${BigInt(Math.trunc(value))}.000000`;
}
