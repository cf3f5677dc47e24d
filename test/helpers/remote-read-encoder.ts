import protobuf from "protobufjs";

// Writes answers of remote read bit by bit and without regard for speed, from Prometheus' description of its formats: what the decoders are compared with.

const { Writer } = protobuf;

export type Labels = readonly (readonly [name: string, value: string])[];

export interface FloatSample {
  t: number;
  /** The value's 64 bits. */
  bits: bigint;
  /** Start time, in encodings that have it. */
  st?: number;
}

export interface HistogramSample {
  t: number;
  count: bigint;
  zeroCount: bigint;
  /** The sum's 64 bits. */
  sum: bigint;
  /** Absolute counts: numbers for integer histograms, 64 bits of floating point numbers for the others. */
  positive: readonly bigint[];
  negative: readonly bigint[];
  st?: number;
}

export interface HistogramLayout {
  schema: number;
  zeroThreshold: number;
  positiveSpans: readonly { offset: number; length: number }[];
  negativeSpans: readonly { offset: number; length: number }[];
  customValues: readonly number[];
  /** Two bits: 0 unknown, 1 none, 2 reset, 3 gauge. */
  resetBits: number;
}

export const STALE = 0x7ff0000000000002n;
const MASK = (1n << 64n) - 1n;

export function bitsOf(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

class BitWriter {
  #text: string[] = [];

  put(value: bigint, count: number): void {
    this.#text.push(BigInt.asUintN(count, value).toString(2).padStart(count, "0"));
  }

  literal(bits: string): void {
    this.#text.push(bits);
  }

  /** Seven bits a byte, the lowest first. */
  uvarint(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    for (; rest > 0x7fn; rest >>= 7n) this.put((rest & 0x7fn) | 0x80n, 8);
    this.put(rest, 8);
  }

  varint(value: bigint): void {
    this.uvarint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  }

  varbit(value: bigint): void {
    const signed = BigInt.asIntN(64, value);
    const size = [3, 6, 9, 12, 18, 25, 56].find(
      (bits) => signed >= -(1n << BigInt(bits - 1)) + 1n && signed <= 1n << BigInt(bits - 1),
    );
    this.#sized(signed, signed === 0n ? 0 : (size ?? 64));
  }

  varbitUnsigned(value: bigint): void {
    this.#sized(
      value,
      value === 0n ? 0 : ([3, 6, 9, 12, 18, 25, 56].find((bits) => value < 1n << BigInt(bits)) ?? 64),
    );
  }

  #sized(value: bigint, size: number): void {
    const index = [0, 3, 6, 9, 12, 18, 25, 56, 64].indexOf(size);
    this.literal(index === 8 ? "11111111" : `${"1".repeat(index)}0`);
    if (size > 0) this.put(value, size);
  }

  bytes(): Buffer {
    const text = this.#text.join("");
    const padded = text.padEnd(Math.ceil(text.length / 8) * 8, "0");
    return Buffer.from(
      Array.from({ length: padded.length / 8 }, (_, i) => parseInt(padded.slice(i * 8, i * 8 + 8), 2)),
    );
  }
}

/** The window of a value's last difference. */
interface XorState {
  value: bigint;
  leading: number;
  trailing: number;
}

const newState = (value: bigint): XorState => ({ value, leading: -1, trailing: 0 });

/** Writes how the value differs; `same`, `reuse` and `fresh` are the prefixes. */
function putXor(
  out: BitWriter,
  state: XorState,
  value: bigint,
  same: string,
  reuse: string,
  fresh: string,
): void {
  const difference = state.value ^ value;
  state.value = value;
  if (difference === 0n) return out.literal(same);
  const text = difference.toString(2).padStart(64, "0");
  const leading = Math.min(31, text.indexOf("1"));
  const trailing = 63 - text.lastIndexOf("1");
  if (state.leading >= 0 && leading >= state.leading && trailing >= state.trailing) out.literal(reuse);
  else {
    Object.assign(state, { leading, trailing });
    out.literal(fresh);
    out.put(BigInt(leading), 5);
    out.put(BigInt(64 - leading - trailing), 6);
  }
  out.put(difference >> BigInt(state.trailing), 64 - state.leading - state.trailing);
}

export function encodeXor(samples: readonly FloatSample[]): Buffer {
  const out = new BitWriter();
  out.put(BigInt(samples.length), 16);
  const state = newState(0n);
  let before = 0n;
  let step = 0n;
  for (const [i, sample] of samples.entries()) {
    const t = BigInt(sample.t);
    if (i === 0) {
      out.varint(t);
      out.put(sample.bits, 64);
      state.value = sample.bits;
    } else {
      const delta = t - before;
      if (i === 1) out.uvarint(delta);
      else putTimeChange(out, delta - step);
      step = delta;
      putXor(out, state, sample.bits, "0", "10", "11");
    }
    before = t;
  }
  return out.bytes();
}

function putTimeChange(out: BitWriter, change: bigint): void {
  if (change === 0n) return out.literal("0");
  for (const [prefix, bits] of [
    ["10", 14],
    ["110", 17],
    ["1110", 20],
  ] as const) {
    const half = 1n << BigInt(bits - 1);
    if (change > -half && change <= half) {
      out.literal(prefix);
      out.put(change, bits);
      return;
    }
  }
  out.literal("1111");
  out.put(change, 64);
}

/** The start times of samples behind them: nothing until the first change. */
function createStartTimes(samples: readonly { t: number; st?: number }[]) {
  const stOf = (i: number): bigint => BigInt(samples[i]?.st ?? 0);
  const isKnown = samples.length > 0 && stOf(0) !== 0n;
  let from = samples.findIndex((_, i) => i > 0 && stOf(i) !== stOf(i - 1));
  if (from > 0x7f || (from < 0 && samples.length > 0x7f)) from = 0x7f;
  if (from < 0) from = 0;
  let last = 0n;
  return {
    header: (isKnown ? 0x80 : 0) | from,
    put: (out: BitWriter, i: number): void => {
      const time = (at: number): bigint => BigInt(samples[at]!.t);
      if (i === 0) {
        if (isKnown) out.varint(time(0) - stOf(0));
      } else if (from > 0 && i >= from) {
        const difference = time(i - 1) - stOf(i);
        out.varbit(i === from ? difference : difference - last);
        last = difference;
      }
    },
  };
}

export function encodeXor2(samples: readonly FloatSample[]): Buffer {
  const out = new BitWriter();
  const startTimes = createStartTimes(samples);
  out.put(BigInt(samples.length), 16);
  out.put(BigInt(startTimes.header), 8);
  const state = newState(0n);
  let before = 0n;
  let step = 0n;
  for (const [i, { t: time, bits }] of samples.entries()) {
    const t = BigInt(time);
    const delta = t - before;
    if (i === 0) {
      out.varint(t);
      out.put(bits, 64);
      if (bits !== STALE) state.value = bits;
    } else {
      const change = delta - step;
      const isJoint = i > 1 && change === 0n;
      if (i === 1) out.uvarint(delta);
      else if (change >= -4096n && change < 4096n) {
        if (!isJoint) {
          out.literal("110");
          out.put(change, 13);
        }
      } else if (change >= -524_288n && change < 524_288n) {
        out.literal("1110");
        out.put(change, 20);
      } else {
        out.literal("11110");
        out.put(change, 64);
      }
      if (bits === STALE) out.literal(isJoint ? "11111" : "111");
      else if (isJoint) putXor(out, state, bits, "0", "100", "101");
      else putXor(out, state, bits, "0", "10", "110");
      step = delta;
    }
    startTimes.put(out, i);
    before = t;
  }
  return out.bytes();
}

export function encodeHistograms(
  layout: HistogramLayout,
  samples: readonly HistogramSample[],
  isFloat: boolean,
  hasStartTimes = false,
): Buffer {
  const out = new BitWriter();
  const startTimes = createStartTimes(hasStartTimes ? samples : []);
  if (hasStartTimes) {
    out.put(BigInt((layout.resetBits << 14) | samples.length), 16);
    out.put(BigInt(startTimes.header), 8);
  } else {
    out.put(BigInt(samples.length), 16);
    out.put(BigInt(layout.resetBits << 6), 8);
  }
  putLayout(out, layout);
  const sum = newState(0n);
  const floats: XorState[] = [];
  /** Before: the stored numbers and how they changed. */
  let stored: bigint[] = [];
  let changes: bigint[] = [];
  let before = 0n;
  let step = 0n;
  for (const [i, sample] of samples.entries()) {
    const t = BigInt(sample.t);
    const isStale = sample.sum === STALE;
    const buckets = isFloat
      ? [...sample.positive, ...sample.negative]
      : [...lessTheOneBefore(sample.positive), ...lessTheOneBefore(sample.negative)];
    const numbers = [sample.count, sample.zeroCount, ...buckets];
    const put = (from: number, to: number): void => {
      for (let k = from; k < to; k++) {
        if (isFloat && i === 0) {
          out.put(numbers[k]!, 64);
          floats[k] = newState(numbers[k]!);
        } else if (isFloat) putXor(out, floats[k]!, numbers[k]!, "0", "10", "11");
        else if (i === 0) {
          if (k < 2) out.varbitUnsigned(numbers[k]!);
          else out.varbit(numbers[k]!);
        } else {
          const change = BigInt.asIntN(64, numbers[k]! - stored[k]!);
          out.varbit(BigInt.asIntN(64, change - changes[k]!));
          changes[k] = change;
        }
      }
    };
    const delta = t - before;
    if (i === 0) {
      stored = numbers;
      changes = numbers.map(() => 0n);
      out.varbit(t);
      put(0, 2);
      out.put(sample.sum, 64);
      sum.value = sample.sum;
    } else {
      out.varbit(delta - step);
      step = delta;
      put(0, 2);
      putXor(out, sum, sample.sum, "0", "10", "11");
    }
    if (!isStale) {
      put(2, numbers.length);
      stored = numbers;
    } else stored = [numbers[0]!, numbers[1]!, ...stored.slice(2)];
    startTimes.put(out, i);
    before = t;
  }
  return out.bytes();
}

function lessTheOneBefore(counts: readonly bigint[]): bigint[] {
  return counts.map((count, i) => BigInt.asIntN(64, count - (counts[i - 1] ?? 0n)));
}

function putLayout(out: BitWriter, layout: HistogramLayout): void {
  const { schema, zeroThreshold, positiveSpans, negativeSpans, customValues } = layout;
  const exponent = Math.log2(zeroThreshold);
  if (zeroThreshold === 0) out.put(0n, 8);
  else if (Number.isInteger(exponent) && exponent >= -243 && exponent <= 10)
    out.put(BigInt(exponent + 244), 8);
  else {
    out.put(255n, 8);
    out.put(bitsOf(zeroThreshold), 64);
  }
  out.varbit(BigInt(schema));
  for (const spans of [positiveSpans, negativeSpans]) {
    out.varbitUnsigned(BigInt(spans.length));
    for (const { length, offset } of spans) {
      out.varbitUnsigned(BigInt(length));
      out.varbit(BigInt(offset));
    }
  }
  if (schema !== -53) return;
  out.varbitUnsigned(BigInt(customValues.length));
  for (const value of customValues) {
    const thousandths = value * 1000;
    if (thousandths >= 0 && thousandths <= 33_554_430 && Math.round(thousandths) / 1000 === value) {
      out.varbitUnsigned(BigInt(Math.round(thousandths)) + 1n);
    } else {
      out.literal("0");
      out.put(bitsOf(value), 64);
    }
  }
}

export interface EncodedChunk {
  encoding: number;
  data: Buffer;
  minMs?: number;
  maxMs?: number;
}

function putLabels(writer: protobuf.Writer, labels: Labels): void {
  for (const [name, value] of labels) {
    writer.uint32((1 << 3) | 2).fork();
    writer.uint32((1 << 3) | 2).string(name);
    writer.uint32((2 << 3) | 2).string(value);
    writer.ldelim();
  }
}

/** A prometheus.ChunkedReadResponse with one series. */
export function encodeChunkedSeries(labels: Labels, chunks: readonly EncodedChunk[]): Buffer {
  const writer = Writer.create();
  writer.uint32((1 << 3) | 2).fork();
  putLabels(writer, labels);
  for (const { encoding, data, minMs = 0, maxMs = 0 } of chunks) {
    writer.uint32((2 << 3) | 2).fork();
    writer.uint32(1 << 3).int64(minMs);
    writer.uint32(2 << 3).int64(maxMs);
    writer.uint32(3 << 3).int32(encoding);
    writer.uint32((4 << 3) | 2).bytes(data);
    writer.ldelim();
  }
  writer.ldelim();
  return Buffer.from(writer.finish());
}

/** CRC-32C, bit by bit. */
export function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

export function encodeFrame(message: Uint8Array): Buffer {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(slowCrc32c(message));
  return Buffer.concat([Writer.create().uint32(message.length).finish(), checksum, message]);
}

/** A prometheus.ReadResponse with float samples, not compressed. */
export function encodeReadResponse(
  series: readonly { labels: Labels; samples: readonly FloatSample[] }[],
): Buffer {
  const writer = Writer.create();
  writer.uint32((1 << 3) | 2).fork();
  for (const { labels, samples } of series) {
    writer.uint32((1 << 3) | 2).fork();
    putLabels(writer, labels);
    for (const { t, bits } of samples) {
      writer.uint32((2 << 3) | 2).fork();
      if (bits !== 0n) {
        writer.uint32((1 << 3) | 1).fixed64(toLong(bits));
      }
      if (t !== 0) writer.uint32(2 << 3).int64(t);
      writer.ldelim();
    }
    writer.ldelim();
  }
  writer.ldelim();
  return Buffer.from(writer.finish());
}

function toLong(bits: bigint) {
  const words = BigInt.asUintN(64, bits & MASK);
  return { low: Number(words & 0xffffffffn) | 0, high: Number(words >> 32n) | 0, unsigned: true };
}
