import type { BinaryOperator, DurationExpr, DurationOperand, NumberLiteral } from "./ast.ts";
import { isOutOfRange, parseDuration } from "./durations.ts";
import { parseNumber } from "./literals.ts";
import { LOWEST, POWER, PRECEDENCE } from "./precedence.ts";
import type { Context, Reader } from "./reader.ts";
import type { Token } from "./token.ts";

export function readNumber(reader: Reader): NumberLiteral {
  const token = reader.take();
  const { start, end } = token;
  if (token.kind === "duration") {
    const duration = parseDuration(token.text);
    if ("problem" in duration) return reader.fail(start, duration.problem);
    return { kind: "number", value: duration.ms / 1000, isDuration: true, start, end };
  }
  const number = parseNumber(token.text);
  if ("problem" in number) return reader.fail(start, `error parsing number: ${number.problem}`);
  return { kind: "number", value: number.value, start, end };
}

export function positiveDuration(reader: Reader, context: Context): DurationOperand {
  const duration = reader.within(context, () => readDuration(reader, LOWEST));
  if (duration.kind === "number" && !(duration.value > 0)) {
    reader.fail(duration.start, "duration must be greater than 0");
  }
  return duration;
}

/** Only what is needed belongs to an offset: `a offset 5m + b` is a sum, `a offset (5m + 1m)` is none. */
export function offsetDuration(reader: Reader): DurationOperand {
  const token = reader.peek();
  if (token.kind === "number" || token.kind === "duration" || token.kind === "preprocessor") {
    return durationPrimary(reader);
  }
  if (token.type === "(") return readDuration(reader, LOWEST);
  if (token.type !== "+" && token.type !== "-") return reader.unexpected();
  reader.take();
  const { type, kind } = reader.peek();
  if (kind === "preprocessor") return signedExpr(token, durationPrimary(reader));
  const isOne = kind === "number" || kind === "duration" || type === "(";
  return signed(token, isOne ? durationPrimary(reader) : readDuration(reader, POWER));
}

function readDuration(reader: Reader, lowest: number): DurationOperand {
  reader.enter();
  let lhs = durationUnary(reader);
  let depth = 0;
  for (;;) {
    const { type, start } = reader.peek();
    const precedence = /^[-+*/%^]$/.test(type) ? PRECEDENCE[type as BinaryOperator] : 0;
    if (precedence < lowest) break;
    reader.checkDepth(++depth);
    reader.take();
    const rhs = readDuration(reader, type === "^" ? precedence : precedence + 1);
    const isZero = rhs.kind === "number" && rhs.value === 0;
    if (type === "/" && isZero) reader.fail(start, "division by zero");
    if (type === "%" && isZero) reader.fail(start, "modulo by zero");
    const op = type as DurationExpr["op"];
    lhs = { kind: "duration", op, lhs, rhs, hasParens: false, start: lhs.start, end: rhs.end };
  }
  reader.leave();
  return lhs;
}

function durationUnary(reader: Reader): DurationOperand {
  const token = reader.peek();
  if (token.type !== "+" && token.type !== "-") return durationPrimary(reader);
  reader.take();
  return signed(token, readDuration(reader, POWER));
}

function signed(sign: Token, duration: DurationOperand): DurationOperand {
  if (duration.kind === "number") {
    if (sign.type === "-") duration.value *= -1;
    duration.start = sign.start;
    return duration;
  }
  return sign.type === "+" ? duration : signedExpr(sign, duration);
}

function durationPrimary(reader: Reader): DurationOperand {
  const token = reader.peek();
  if (token.kind === "number" || token.kind === "duration") {
    const number = readNumber(reader);
    if (isOutOfRange(number.value)) reader.fail(number.start, "duration out of range");
    return number;
  }
  if (token.type === "(") {
    reader.take();
    const inner = readDuration(reader, LOWEST);
    const { end } = reader.expect(")");
    if (inner.kind === "duration") return { ...inner, hasParens: true };
    return { kind: "duration", op: "+", rhs: inner, hasParens: true, start: token.start, end };
  }
  const { type } = token;
  if (type === "step" || type === "range") {
    reader.take();
    reader.expect("(");
    const { end } = reader.expect(")");
    return { kind: "duration", op: type, hasParens: false, start: token.start, end };
  }
  if (type !== "min_of" && type !== "max_of") return reader.unexpected();
  reader.take();
  reader.expect("(");
  const lhs = readDuration(reader, LOWEST);
  reader.expect(",");
  const rhs = readDuration(reader, LOWEST);
  const { end } = reader.expect(")");
  return { kind: "duration", op: type, lhs, rhs, hasParens: false, start: token.start, end };
}

function signedExpr(sign: Token, rhs: DurationOperand): DurationExpr {
  const op = sign.type === "-" ? "-" : "+";
  return { kind: "duration", op, rhs, hasParens: false, start: sign.start, end: rhs.end };
}
