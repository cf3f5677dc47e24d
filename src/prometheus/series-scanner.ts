import { isUtf8 } from "node:buffer";
import type { OpenSeries } from "./open-series.ts";
import { sampleValueOf } from "./sample-value.ts";

const METRIC = Buffer.from('{"metric":{');
const VALUES = Buffer.from(',"values":[');
const NAME = Buffer.from("__name__");
/** JSON's characters around and between a label's texts. */
const LABEL_MARKS = '"":"",'.length;
const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const BRACKET_OPEN = 0x5b;
const BACKSLASH = 0x5c;
const BRACKET_CLOSE = 0x5d;
const BRACE_CLOSE = 0x7d;
const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));

/** Why `scanSamples` stopped. */
export const Stop = {
  /** Before a sample that is not whole or in another layout. */
  sample: 0,
  /** Behind a sample, before something else than a comma or bracket. */
  between: 1,
  /** Before a sample for which there is no room. */
  full: 2,
  /** Behind the bracket that ends the samples. */
  closed: 3,
} as const;
export type Stop = (typeof Stop)[keyof typeof Stop];

/**
 * The hot path of reading: the labels and samples of series in Prometheus' own layout, `{"metric":{"a":"b",...},"values":[[seconds,"value"],...]}`
 * without white space, as far as they are whole. It never decides that something is wrong: whatever it does not take is left to the reader of all
 * layouts, which has to agree with it. No allocation for a series or sample as long as no label text is escaped.
 * The functions below are the module's own, not closures: their machine code then outlives a scanner.
 */
export interface FastScan {
  readonly open: OpenSeries;
  /** 1 for labels whose value has escapes. */
  readonly escaped: Uint8Array;
  hasEscapes: boolean;
  isNameEscaped: boolean;
  /** Are the present bytes ASCII, so that their text is valid? */
  isAscii: boolean;
  stop: Stop;
}

export function createFastScan(open: OpenSeries): FastScan {
  return {
    open,
    escaped: new Uint8Array(open.limits.labelsMax),
    hasEscapes: false,
    isNameEscaped: false,
    isAscii: false,
    stop: Stop.sample,
  };
}

function matches(bytes: Buffer, at: number, literal: Buffer): boolean {
  for (let i = 0; i < literal.length; i++) if (bytes[at + i] !== literal[i]) return false;
  return true;
}

/** Reads the labels of the series that begins at `start`. Returns the position of its first sample, or -1: then nothing was read. */
export function scanHead(fast: FastScan, b: Buffer, start: number): number {
  if (b.length - start < METRIC.length || !matches(b, start, METRIC)) return -1;
  const { open } = fast;
  const { series } = open;
  const labelsStart = start + METRIC.length;
  const p = scanLabels(fast, b, labelsStart);
  if (p < 0 || b.length - p < VALUES.length || !matches(b, p, VALUES)) return -1;
  const named = series.nameEnd > 0 ? 1 : 0;
  const labelBytes = p - labelsStart - LABEL_MARKS * (series.labelCount + named);
  if (labelBytes > open.limits.labelBytesMax) return -1;
  if (!fast.isAscii && !isUtf8(b.subarray(labelsStart, p))) return -1;
  series.bytes = b;
  series.sampleCount = 0;
  open.labelsStart = labelsStart;
  open.labelsEnd = p;
  open.labelBytes = Math.max(0, labelBytes);
  open.isBorrowed = true;
  open.taken = 0;
  open.histograms = 0;
  open.refusal = undefined;
  if (fast.hasEscapes && !unescapeLabels(fast, b)) return -1;
  return p + VALUES.length;
}

/** `"name":"value",...}` from `start`; returns the position after the brace, or -1. */
function scanLabels(fast: FastScan, b: Buffer, start: number): number {
  const { series, ranges, limits } = fast.open;
  const { escaped } = fast;
  const end = b.length;
  let p = start;
  let count = 0;
  fast.hasEscapes = false;
  fast.isNameEscaped = false;
  series.nameStart = 0;
  series.nameEnd = 0;
  series.labelCount = 0;
  if (b[p] === BRACE_CLOSE) return p + 1;
  for (;;) {
    if (b[p] !== QUOTE) return -1;
    const k0 = ++p;
    let c = b[p]!;
    while (c !== QUOTE && c !== BACKSLASH && p < end) c = b[++p]!;
    if (p + 3 >= end || c === BACKSLASH || b[p + 1] !== COLON || b[p + 2] !== QUOTE) return -1;
    const k1 = p;
    p += 3;
    const v0 = p;
    let isEscaped = 0;
    c = b[p]!;
    while (c !== QUOTE && p < end) {
      if (c === BACKSLASH) {
        isEscaped = 1;
        p++;
      }
      c = b[++p]!;
    }
    if (p + 1 >= end) return -1;
    if (isEscaped === 1) fast.hasEscapes = true;
    if (k1 - k0 === NAME.length && matches(b, k0, NAME)) {
      if (series.nameEnd > 0) return -1;
      series.nameStart = v0;
      series.nameEnd = p;
      fast.isNameEscaped = isEscaped === 1;
    } else {
      if (count >= limits.labelsMax) return -1;
      ranges[count * 4] = k0;
      ranges[count * 4 + 1] = k1;
      ranges[count * 4 + 2] = v0;
      ranges[count * 4 + 3] = p;
      escaped[count++] = isEscaped;
    }
    c = b[p + 1]!;
    p += 2;
    if (c === BRACE_CLOSE) break;
    if (c !== COMMA) return -1;
  }
  series.labelCount = count;
  return p;
}

/** Moves name and labels to one buffer of unescaped texts. False when one of them is no text. */
function unescapeLabels({ open, escaped, isNameEscaped }: FastScan, b: Buffer): boolean {
  const { series, ranges } = open;
  const parts: Buffer[] = [];
  let length = 0;
  const put = (part: Buffer): number => {
    parts.push(part);
    length += part.length;
    return length;
  };
  const name = b.subarray(series.nameStart, series.nameEnd);
  const nameText = isNameEscaped ? unescapeText(name) : name;
  if (!nameText) return false;
  series.nameEnd = put(nameText);
  series.nameStart = 0;
  for (let at = 0; at < series.labelCount * 4; at += 4) {
    const raw = b.subarray(ranges[at + 2], ranges[at + 3]);
    const text = escaped[at / 4] === 1 ? unescapeText(raw) : raw;
    if (!text) return false;
    const keyStart = length;
    const keyEnd = put(b.subarray(ranges[at], ranges[at + 1]));
    ranges[at] = keyStart;
    ranges[at + 1] = keyEnd;
    ranges[at + 2] = keyEnd;
    ranges[at + 3] = put(text);
  }
  series.bytes = Buffer.concat(parts, length);
  open.isBorrowed = false;
  return true;
}

/** The text of a JSON string as UTF-8; undefined when it is no JSON string, or has halves of surrogate pairs, which UTF-8 can't have. */
function unescapeText(raw: Buffer): Buffer | undefined {
  try {
    const text = JSON.parse(`"${raw.toString("utf8")}"`) as string;
    return text.isWellFormed() ? Buffer.from(text) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Reads the whole samples `[seconds,"value"]` that begin from `start` on and before `sight`, those in the window to the open series. Returns how far it
 * came; `fast.stop` says why no farther.
 */
export function scanSamples(fast: FastScan, b: Buffer, start: number, sight: number): number {
  const { open } = fast;
  const { fromMs, toMs, series, full } = open;
  const end = b.length;
  const ts = series.timestamps;
  const vs = series.values;
  let n = series.sampleCount;
  let at = start;
  let stop: Stop = Stop.sample;
  while (at < sight) {
    let p = at;
    if (b[p] !== BRACKET_OPEN) break;
    const t0 = ++p;
    let t = 0;
    let c = b[p]!;
    while (c >= ZERO && c <= NINE) {
      t = t * 10 + (c - ZERO);
      c = b[++p]!;
    }
    let decimals = 0;
    if (p === t0) break;
    if (c === DOT) {
      const d0 = ++p;
      c = b[p]!;
      while (c >= ZERO && c <= NINE) {
        t = t * 10 + (c - ZERO);
        c = b[++p]!;
      }
      decimals = p - d0;
      if (decimals === 0) break;
    }
    // A sign, an exponent or more than milliseconds are rare.
    if (c !== COMMA || decimals > 3 || p + 2 >= end || b[p + 1] !== QUOTE) break;
    t *= decimals === 3 ? 1 : decimals === 0 ? 1000 : decimals === 1 ? 100 : 10;
    p += 2;
    const v0 = p;
    c = b[p]!;
    const negative = c === MINUS;
    if (negative) c = b[++p]!;
    const m0 = p;
    let mantissa = 0;
    while (c >= ZERO && c <= NINE) {
      mantissa = mantissa * 10 + (c - ZERO);
      c = b[++p]!;
    }
    let digits = p - m0;
    decimals = 0;
    if (c === DOT && digits > 0) {
      const d0 = ++p;
      c = b[p]!;
      while (c >= ZERO && c <= NINE) {
        mantissa = mantissa * 10 + (c - ZERO);
        c = b[++p]!;
      }
      decimals = p - d0;
      digits = decimals === 0 ? 0 : digits + decimals;
    }
    let v: number;
    if (c === QUOTE && digits > 0 && digits <= 15) {
      // Up to 15 digits and a power of ten below 1e23 are both exact, so the quotient is the correctly rounded value.
      v = decimals === 0 ? mantissa : mantissa / POWERS_OF_TEN[decimals]!;
      if (negative) v = -v;
    } else if (c === QUOTE && digits > 15) {
      v = Number(b.toString("latin1", v0, p));
      if (!Number.isFinite(v)) break;
    } else {
      while (c !== QUOTE && p < end) c = b[++p]!;
      if (p >= end) break;
      const value = sampleValueOf(b.toString("latin1", v0, p));
      if (value === undefined) break;
      v = value;
    }
    if (p + 2 >= end || b[p + 1] !== BRACKET_CLOSE) break;
    if (t > fromMs && t <= toMs) {
      ts[n] = t;
      vs[n] = v;
      n++;
    }
    c = b[p + 2]!;
    at = p + 2;
    if (c === COMMA) {
      at++;
      if (n < full) continue;
      stop = Stop.full;
    } else if (c === BRACKET_CLOSE) {
      at++;
      stop = Stop.closed;
    } else stop = Stop.between;
    break;
  }
  series.sampleCount = n;
  fast.stop = stop;
  return at;
}
