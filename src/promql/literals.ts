import { isUtf8 } from "node:buffer";

const SHORT: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 };
const ESCAPE =
  /\\(?:x(?<x>[0-9a-fA-F]{2})|u(?<u>[0-9a-fA-F]{4})|U(?<U>[0-9a-fA-F]{8})|(?<octal>[0-7]{3})|(?<char>[\s\S]))/g;

/**
 * The text of a PromQL string with its quotes, which the lexer has checked. Go's texts are bytes: one of an escape that is not UTF-8, such as
 * `\xff`, becomes a lone surrogate, U+DC00 and the byte, so that such a text stays another than every well-formed one.
 */
export function unquote(literal: string): string {
  const inner = literal.slice(1, -1);
  if (literal.startsWith("`") || !inner.includes("\\")) return inner;
  const parts: Buffer[] = [];
  let at = 0;
  for (const match of inner.matchAll(ESCAPE)) {
    parts.push(Buffer.from(inner.slice(at, match.index)), unescape(match.groups!));
    at = match.index + match[0].length;
  }
  parts.push(Buffer.from(inner.slice(at)));
  return decode(Buffer.concat(parts));
}

const BYTE_MIN = 0xdc00;

function decode(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString();
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = [1, 2, 3, 4].find((size) => isUtf8(bytes.subarray(at, at + size)));
    text +=
      length === undefined
        ? String.fromCharCode(BYTE_MIN + bytes[at]!)
        : bytes.toString("utf8", at, at + length);
    at += length ?? 1;
  }
  return text;
}

function unescape({ x, u, U, octal, char }: { [group: string]: string | undefined }): Buffer {
  if (x !== undefined) return Buffer.from([Number.parseInt(x, 16)]);
  if (octal !== undefined) return Buffer.from([Number.parseInt(octal, 8)]);
  const code = u ?? U;
  if (code !== undefined) return Buffer.from(String.fromCodePoint(Number.parseInt(code, 16)));
  return Buffer.from(SHORT[char!] === undefined ? char! : String.fromCharCode(SHORT[char!]!));
}

const MAX_INT64 = 2n ** 63n - 1n;

/**
 * A number of PromQL as Go reads it: first as a whole number (`0x1f`, `1_000`, and `010` is 8), then as a decimal one. Otherwise why it is none.
 */
export function parseNumber(text: string): { value: number } | { problem: string } {
  const whole = parseWhole(text);
  if (whole !== undefined) return { value: whole };
  const lower = text.toLowerCase();
  if (lower === "inf") return { value: Number.POSITIVE_INFINITY };
  if (lower === "nan") return { value: Number.NaN };
  const plain = withoutUnderscores(text);
  if (plain === undefined || !/^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(plain)) {
    return { problem: `strconv.ParseFloat: parsing ${JSON.stringify(text)}: invalid syntax` };
  }
  const value = Number(plain);
  return Number.isFinite(value)
    ? { value }
    : { problem: `strconv.ParseFloat: parsing ${JSON.stringify(text)}: value out of range` };
}

function parseWhole(text: string): number | undefined {
  const plain = withoutUnderscores(text);
  if (plain === undefined) return undefined;
  let digits = plain;
  if (/^0[0-7]+$/.test(plain)) digits = `0o${plain.slice(1)}`;
  else if (!/^(?:0[xX][0-9a-fA-F]+|0|[1-9]\d*)$/.test(plain)) return undefined;
  const whole = BigInt(digits);
  return whole > MAX_INT64 ? undefined : Number(whole);
}

/** Undefined: an underscore is not between two digits (or behind `0x`). */
function withoutUnderscores(text: string): string | undefined {
  if (!text.includes("_")) return text;
  return /^_|_$|__|[^0-9a-fA-FxX]_|_[^0-9a-fA-F]/.test(text) ? undefined : text.replaceAll("_", "");
}
