import { BridgeError } from "#errors.ts";
import { parseSampleValue } from "./sample-value.ts";
import type { ScannedSeries } from "./series-sink.ts";

/** Bounds of one series. */
export interface SeriesLimits {
  labelsMax: number;
  /** Bytes of the names and values of one series' labels together. */
  labelBytesMax: number;
}

export const INCOMPLETE = -1;
export const OTHER_LAYOUT = -2;

const METRIC = Buffer.from('{"metric":{');
const VALUES = Buffer.from(',"values":[');
const NAME = Buffer.from("__name__");
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

export interface SeriesScanner {
  /**
   * Reads the series that begins at `start`: `{"metric":{"a":"b",...},"values":[[seconds,"value"],...]}` without white space. Returns the
   * position after it, INCOMPLETE when more bytes are needed, or OTHER_LAYOUT. Afterwards `series` holds what was read, samples
   * outside (fromMs, toMs] left out; it is valid until the next call.
   */
  scan(bytes: Buffer, start: number): number;
  readonly series: ScannedSeries;
}

function matches(bytes: Buffer, at: number, literal: Buffer): boolean {
  for (let i = 0; i < literal.length; i++) if (bytes[at + i] !== literal[i]) return false;
  return true;
}

/** What one scanner holds. The functions below are the module's own, not closures over it: their machine code then outlives a scanner. */
interface ScanState {
  readonly fromMs: number;
  readonly toMs: number;
  readonly limits: SeriesLimits;
  timestamps: Float64Array;
  values: Float64Array;
  readonly ranges: Int32Array;
  /** 1 for labels whose value has escapes. */
  readonly escaped: Uint8Array;
  hasEscapes: boolean;
  isNameEscaped: boolean;
  readonly series: ScannedSeries;
}

/** The hot path of reading: no allocation per series or sample as long as no label text is escaped. */
export function createSeriesScanner(
  window: { fromMs: number; toMs: number },
  limits: SeriesLimits,
): SeriesScanner {
  const timestamps = new Float64Array(1024);
  const values = new Float64Array(1024);
  const ranges = new Int32Array(limits.labelsMax * 4);
  const state: ScanState = {
    fromMs: window.fromMs,
    toMs: window.toMs,
    limits,
    timestamps,
    values,
    ranges,
    escaped: new Uint8Array(limits.labelsMax),
    hasEscapes: false,
    isNameEscaped: false,
    series: {
      bytes: Buffer.alloc(0),
      nameStart: 0,
      nameEnd: 0,
      labelCount: 0,
      labels: ranges,
      sampleCount: 0,
      timestamps,
      values,
    },
  };
  return { series: state.series, scan: (bytes, start) => scanSeries(state, bytes, start) };
}

function scanSeries(state: ScanState, b: Buffer, start: number): number {
  if (b.length - start < METRIC.length) return INCOMPLETE;
  if (!matches(b, start, METRIC)) return OTHER_LAYOUT;
  let p = scanLabels(state, b, start + METRIC.length);
  if (p < 0) return p;
  if (b.length - p < VALUES.length) return INCOMPLETE;
  if (!matches(b, p, VALUES)) return OTHER_LAYOUT;
  p = scanSamples(state, b, p + VALUES.length);
  if (p < 0) return p;
  if (p >= b.length) return INCOMPLETE;
  if (b[p] !== BRACE_CLOSE) return OTHER_LAYOUT;
  if (state.hasEscapes && state.series.sampleCount > 0) unescapeLabels(state, b);
  return p + 1;
}

function addLabel(state: ScanState, k0: number, k1: number, v0: number, v1: number, isEscaped: number): void {
  const { ranges, limits } = state;
  const i = state.series.labelCount++;
  if (i >= limits.labelsMax) {
    throw new BridgeError("prometheus_label_too_large", `a series has more than ${limits.labelsMax} labels`);
  }
  ranges[i * 4] = k0;
  ranges[i * 4 + 1] = k1;
  ranges[i * 4 + 2] = v0;
  ranges[i * 4 + 3] = v1;
  state.escaped[i] = isEscaped;
  if (isEscaped === 1) state.hasEscapes = true;
}

/** `"name":"value",...}` from `start`; returns the position after the brace. */
function scanLabels(state: ScanState, b: Buffer, start: number): number {
  const { series, limits } = state;
  const end = b.length;
  let p = start;
  state.hasEscapes = false;
  state.isNameEscaped = false;
  series.bytes = b;
  series.nameStart = 0;
  series.nameEnd = 0;
  series.labelCount = 0;
  if (b[p] === BRACE_CLOSE) return p + 1;
  for (;;) {
    if (b[p] !== QUOTE) return p >= end ? INCOMPLETE : OTHER_LAYOUT;
    const k0 = ++p;
    let c = b[p]!;
    while (c !== QUOTE && c !== BACKSLASH && p < end) c = b[++p]!;
    if (p + 3 >= end) return INCOMPLETE;
    if (c === BACKSLASH || b[p + 1] !== COLON || b[p + 2] !== QUOTE) return OTHER_LAYOUT;
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
    if (p + 1 >= end) return INCOMPLETE;
    if (k1 - k0 === NAME.length && matches(b, k0, NAME)) {
      series.nameStart = v0;
      series.nameEnd = p;
      state.isNameEscaped = isEscaped === 1;
      if (isEscaped === 1) state.hasEscapes = true;
    } else {
      addLabel(state, k0, k1, v0, p, isEscaped);
    }
    c = b[p + 1]!;
    p += 2;
    if (c === BRACE_CLOSE) break;
    if (c !== COMMA) return OTHER_LAYOUT;
  }
  if (p - start > limits.labelBytesMax) {
    throw new BridgeError(
      "prometheus_label_too_large",
      `a series' labels have more than ${limits.labelBytesMax} bytes`,
    );
  }
  return p;
}

/** Moves name and labels to one buffer of unescaped texts. */
function unescapeLabels({ series, ranges, escaped, isNameEscaped }: ScanState, b: Buffer): void {
  const parts: Buffer[] = [];
  let length = 0;
  const put = (part: Buffer): number => {
    parts.push(part);
    length += part.length;
    return length;
  };
  const name = b.subarray(series.nameStart, series.nameEnd);
  series.nameEnd = put(isNameEscaped ? unescapeText(name) : name);
  series.nameStart = 0;
  for (let at = 0; at < series.labelCount * 4; at += 4) {
    const raw = b.subarray(ranges[at + 2], ranges[at + 3]);
    const keyStart = length;
    const keyEnd = put(b.subarray(ranges[at], ranges[at + 1]));
    ranges[at] = keyStart;
    ranges[at + 1] = keyEnd;
    ranges[at + 2] = keyEnd;
    ranges[at + 3] = put(escaped[at / 4] === 1 ? unescapeText(raw) : raw);
  }
  series.bytes = Buffer.concat(parts, length);
}

function growSamples(state: ScanState): void {
  state.timestamps = doubled(state.timestamps);
  state.values = doubled(state.values);
}

function doubled(array: Float64Array): Float64Array {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}

/** `[seconds,"value"],...]` from `start`; returns the position after the bracket. */
function scanSamples(state: ScanState, b: Buffer, start: number): number {
  const { fromMs, toMs, series } = state;
  const end = b.length;
  let ts = state.timestamps;
  let vs = state.values;
  let p = start;
  let n = 0;
  for (;;) {
    if (b[p] !== BRACKET_OPEN) return p >= end ? INCOMPLETE : OTHER_LAYOUT;
    const t0 = ++p;
    let t = 0;
    let c = b[p]!;
    while (c >= ZERO && c <= NINE) {
      t = t * 10 + (c - ZERO);
      c = b[++p]!;
    }
    let decimals = 0;
    if (c === DOT) {
      const d0 = ++p;
      c = b[p]!;
      while (c >= ZERO && c <= NINE) {
        t = t * 10 + (c - ZERO);
        c = b[++p]!;
      }
      decimals = p - d0;
    }
    if (c === COMMA && decimals <= 3) {
      t *= decimals === 3 ? 1 : decimals === 0 ? 1000 : decimals === 1 ? 100 : 10;
    } else {
      // A sign, an exponent or more than milliseconds: rare enough for the engine's own parser.
      while (c !== COMMA && p < end) c = b[++p]!;
      t = Math.round(Number(b.toString("latin1", t0, p)) * 1000);
    }
    if (p + 2 >= end) return INCOMPLETE;
    if (b[p + 1] !== QUOTE || Number.isNaN(t)) return OTHER_LAYOUT;
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
    if (c === DOT) {
      const d0 = ++p;
      c = b[p]!;
      while (c >= ZERO && c <= NINE) {
        mantissa = mantissa * 10 + (c - ZERO);
        c = b[++p]!;
      }
      decimals = p - d0;
      digits += decimals;
    }
    let v: number;
    if (c === QUOTE && digits > 0 && digits <= 15) {
      // Up to 15 digits and a power of ten below 1e23 are both exact, so the quotient is the correctly rounded value.
      v = decimals === 0 ? mantissa : mantissa / POWERS_OF_TEN[decimals]!;
      if (negative) v = -v;
    } else {
      while (c !== QUOTE && p < end) c = b[++p]!;
      if (p >= end) return INCOMPLETE;
      v = parseSampleValue(b.toString("latin1", v0, p));
    }
    if (p + 2 >= end) return INCOMPLETE;
    if (b[p + 1] !== BRACKET_CLOSE) return OTHER_LAYOUT;
    if (t > fromMs && t <= toMs) {
      if (n === ts.length) {
        growSamples(state);
        ts = state.timestamps;
        vs = state.values;
      }
      ts[n] = t;
      vs[n] = v;
      n++;
    }
    c = b[p + 2]!;
    p += 3;
    if (c === BRACKET_CLOSE) break;
    if (c !== COMMA) return OTHER_LAYOUT;
  }
  series.sampleCount = n;
  series.timestamps = ts;
  series.values = vs;
  return p;
}

function unescapeText(raw: Buffer): Buffer {
  try {
    return Buffer.from(JSON.parse(`"${raw.toString("utf8")}"`) as string);
  } catch {
    throw new BridgeError("prometheus_answer_invalid", "a label's text is not a JSON string");
  }
}
