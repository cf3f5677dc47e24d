import protobuf from "protobufjs";

const { Reader, Writer } = protobuf;

/** A client of Prometheus' remote read for tests: plain and slow, after the format's description. It shares no code with the bridge or the simulator. */
export interface RemoteReadQuery {
  fromMs: number;
  toMs: number;
  matchers: readonly (readonly [type: "=" | "!=" | "=~" | "!~", name: string, value: string])[];
  hints?: { fromMs: number; toMs: number; run?: string };
}

export interface ReadSeries {
  queryIndex: number;
  labels: Record<string, string>;
  /** With the stale markers among them; of a chunked answer, those of all frames in a row are joined. */
  samples: ReadSample[];
  histograms: ReadHistogram[];
  chunks: ReadChunk[];
}

export interface ReadSample {
  ms: number;
  /** The value's 64 bits in hexadecimal digits. */
  bits: string;
}

interface ReadHistogram {
  ms: number;
  /** Numbers as doubles, whatever the field's type. */
  fields: Record<string, number | number[] | [offset: number, length: number][]>;
}

interface ReadChunk {
  minMs: number;
  maxMs: number;
  type: number;
  data: Buffer;
}

/** 0 and 1 are samples and streamed XOR chunks. */
export function toReadRequest(queries: readonly RemoteReadQuery[], accepted: readonly number[]): Buffer {
  const writer = Writer.create();
  for (const { fromMs, toMs, matchers, hints } of queries) {
    writer.uint32((1 << 3) | 2).fork();
    writer.uint32(1 << 3).int64(fromMs);
    writer.uint32(2 << 3).int64(toMs);
    for (const [type, name, value] of matchers) {
      writer.uint32((3 << 3) | 2).fork();
      writer.uint32(1 << 3).int32(["=", "!=", "=~", "!~"].indexOf(type));
      writer.uint32((2 << 3) | 2).string(name);
      writer.uint32((3 << 3) | 2).string(value);
      writer.ldelim();
    }
    if (hints) {
      writer.uint32((4 << 3) | 2).fork();
      if (hints.run !== undefined) writer.uint32((2 << 3) | 2).string(hints.run);
      writer.uint32(3 << 3).int64(hints.fromMs);
      writer.uint32(4 << 3).int64(hints.toMs);
      writer.ldelim();
    }
    writer.ldelim();
  }
  writer.uint32((2 << 3) | 2).fork();
  for (const type of accepted) writer.int32(type);
  writer.ldelim();
  return toSnappyLiterals(Buffer.from(writer.finish()));
}

/** A snappy block of one literal after the other. */
export function toSnappyLiterals(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from(Writer.create().uint32(bytes.length).finish())];
  for (let at = 0; at < bytes.length; at += 60) {
    const literal = bytes.subarray(at, at + 60);
    parts.push(Buffer.from([(literal.length - 1) << 2]), literal);
  }
  return Buffer.concat(parts);
}

/** The content of a snappy block, and how many copies it had. */
export function fromSnappy(block: Buffer): { bytes: Buffer; copies: number } {
  const reader = Reader.create(block);
  const out = Buffer.alloc(reader.uint32());
  let at = reader.pos;
  let length = 0;
  let copies = 0;
  while (at < block.length) {
    const tag = block.readUInt8(at++);
    const high = tag >> 2;
    if ((tag & 3) === 0) {
      const extra = Math.max(0, high - 59);
      const count = (extra > 0 ? block.readUIntLE(at, extra) : high) + 1;
      at += extra;
      length += block.copy(out, length, at, at + count);
      at += count;
      continue;
    }
    copies++;
    const count = (tag & 3) === 1 ? (high & 7) + 4 : high + 1;
    const offset = (tag & 3) === 1 ? ((tag >> 5) << 8) | block.readUInt8(at) : block.readUInt16LE(at);
    at += tag & 3;
    for (let i = 0; i < count; i++, length++) out[length] = out[length - offset]!;
  }
  if (length !== out.length) throw new Error("the snappy block does not hold what it says");
  return { bytes: out, copies };
}

/** The series of an answer of samples. */
export function readSampleAnswer(body: Buffer): ReadSeries[] {
  const results = members(fromSnappy(body).bytes).filter(({ field }) => field === 1);
  return results.flatMap((result, queryIndex) =>
    members(result.bytes).map((series): ReadSeries => {
      const all = members(series.bytes);
      return {
        queryIndex,
        labels: labelsOf(all.filter(({ field }) => field === 1)),
        samples: all.filter(({ field }) => field === 2).map(({ bytes }) => sampleOf(bytes)),
        histograms: all.filter(({ field }) => field === 4).map(({ bytes }) => histogramOf(bytes)),
        chunks: [],
      };
    }),
  );
}

/** The frames of a streamed answer, each with its right checksum. */
export function readFrames(body: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  const reader = Reader.create(body);
  while (reader.pos < reader.len) {
    const size = reader.uint32();
    const checksum = body.readUInt32BE(reader.pos);
    const frame = body.subarray(reader.pos + 4, reader.pos + 4 + size);
    if (frame.length < size) throw new Error("the last frame is cut");
    if (checksum !== crc32c(frame)) throw new Error("the checksum of a frame is wrong");
    reader.skip(4 + size);
    frames.push(frame);
  }
  return frames;
}

/** The series of a streamed answer; frames of one series are joined. */
export function readChunkAnswer(body: Buffer): ReadSeries[] {
  const found: ReadSeries[] = [];
  for (const frame of readFrames(body)) {
    const all = members(frame);
    const queryIndex = all.find(({ field }) => field === 2)?.number ?? 0;
    for (const { bytes } of all.filter(({ field }) => field === 1)) {
      const parts = members(bytes);
      const labels = labelsOf(parts.filter(({ field }) => field === 1));
      const chunks = parts.filter(({ field }) => field === 2).map((chunk) => chunkOf(chunk.bytes));
      const samples = chunks.filter(({ type }) => type === 1).flatMap(({ data }) => readXorChunk(data));
      const histograms = chunks
        .filter(({ type }) => type === 2)
        .flatMap(({ data }) => readHistogramChunk(data));
      const last = found.at(-1);
      if (last?.queryIndex === queryIndex && JSON.stringify(last.labels) === JSON.stringify(labels)) {
        last.samples.push(...samples);
        last.histograms.push(...histograms);
        last.chunks.push(...chunks);
      } else found.push({ queryIndex, labels, samples, histograms, chunks });
    }
  }
  return found;
}

/** Bits from the highest of the first byte on. */
function bitReader(bytes: Buffer): (count: number) => bigint {
  const digits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  let at = 0;
  return (count) => {
    const text = digits.slice(at, (at += count));
    if (text.length < count) throw new Error("the chunk is cut");
    return count === 0 ? 0n : BigInt(`0b${text}`);
  };
}

function toSigned(value: bigint, width: number): bigint {
  return width > 0 && value > 1n << BigInt(width - 1) ? value - (1n << BigInt(width)) : value;
}

/** Reads a double as what differs from the one before. */
function xorReader(take: (count: number) => bigint): (before: bigint) => bigint {
  let [leading, significant] = [0n, 0n];
  return (before) => {
    if (take(1) === 0n) return before;
    if (take(1) === 1n) {
      leading = take(5);
      significant = take(6) || 64n;
    }
    return before ^ (take(Number(significant)) << (64n - leading - significant));
  };
}

/** The samples of a chunk with encoding XOR (tsdb/docs/format/chunks.md). */
export function readXorChunk(data: Buffer): ReadSample[] {
  const take = bitReader(data.subarray(2));
  const next = xorReader(take);
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = take(8);
      value |= (byte & 127n) << shift;
      if (byte < 128n) return value;
    }
  };
  let [ms, delta, bits] = [0n, 0n, 0n];
  return Array.from({ length: data.readUInt16BE(0) }, (_, i) => {
    if (i === 0) {
      const zigzag = varint();
      ms = (zigzag >> 1n) ^ -(zigzag & 1n);
      bits = take(64);
    } else {
      if (i === 1) delta = varint();
      else {
        let ones = 0;
        while (ones < 4 && take(1) === 1n) ones++;
        const width = [0, 14, 17, 20, 64][ones]!;
        delta += toSigned(take(width), width);
      }
      ms += delta;
      bits = next(bits);
    }
    return { ms: Number(ms), bits: bits.toString(16).padStart(16, "0") };
  });
}

const VARBIT_WIDTHS = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/** The samples of a chunk with encoding HISTOGRAM (tsdb/chunkenc/histogram.go), with the names of the protobuf fields; a marker has only its sum, which is NaN. */
function readHistogramChunk(data: Buffer): ReadHistogram[] {
  const take = bitReader(data.subarray(3));
  const next = xorReader(take);
  const unsigned = (): [bigint, number] => {
    let ones = 0;
    while (ones < 8 && take(1) === 1n) ones++;
    const width = VARBIT_WIDTHS[ones]!;
    return [take(width), width];
  };
  const signed = (): bigint => toSigned(...unsigned());
  const double = (bits: bigint): number => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(bits);
    return bytes.readDoubleBE();
  };
  const spans = (): [number, number][] =>
    Array.from({ length: Number(unsigned()[0]) }, () => {
      const length = Number(unsigned()[0]);
      return [Number(signed()), length];
    });
  const threshold = Number(take(8));
  const zeroThreshold = threshold === 0 ? 0 : threshold === 255 ? double(take(64)) : 2 ** (threshold - 244);
  const schema = Number(signed());
  const [positiveSpans, negativeSpans] = [spans(), spans()];
  const customValues =
    schema === -53
      ? Array.from({ length: Number(unsigned()[0]) }, () => {
          const [thousandths] = unsigned();
          return thousandths > 0n ? Number(thousandths - 1n) / 1000 : double(take(64));
        })
      : [];
  const lengthOf = (all: [number, number][]): number => all.reduce((sum, [, length]) => sum + length, 0);
  const [positives, negatives] = [lengthOf(positiveSpans), lengthOf(negativeSpans)];
  // Time, count, zero count; then the buckets less the one before.
  let values: bigint[] = [];
  let changes: bigint[] = [];
  let sum = 0n;
  const change = (from: number, to: number): void => {
    for (let i = from; i < to; i++) values[i] = values[i]! + (changes[i] = changes[i]! + signed());
  };
  return Array.from({ length: data.readUInt16BE(0) }, (_, n): ReadHistogram => {
    const length = 3 + positives + negatives;
    if (n === 0) {
      values = [signed(), unsigned()[0], unsigned()[0]];
      sum = take(64);
      for (let i = 3; i < length; i++) values.push(signed());
      changes = values.map(() => 0n);
    } else {
      change(0, 3);
      sum = next(sum);
      if (sum !== BigInt(`0x${STALE_BITS}`)) change(3, length);
    }
    const ms = Number(values[0]);
    if (sum === BigInt(`0x${STALE_BITS}`)) return { ms, fields: { sum: double(sum) } };
    const buckets = values.slice(3).map(Number);
    const fields: ReadHistogram["fields"] = {
      countInt: Number(values[1]),
      zeroCountInt: Number(values[2]),
      sum: double(sum),
      schema,
      zeroThreshold,
      positiveSpans,
      negativeSpans,
      positiveDeltas: buckets.slice(0, positives),
      negativeDeltas: buckets.slice(positives),
      customValues,
    };
    return { ms, fields };
  });
}

/** The bits of a number as `ReadSample` tells them; Prometheus' NaN differs from JavaScript's. */
export function bitsOfValue(value: number): string {
  if (Number.isNaN(value)) return "7ff8000000000001";
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes.toString("hex");
}

export const STALE_BITS = "7ff0000000000002";

interface Member {
  field: number;
  /** Of a varint or a double. */
  number: number;
  bytes: Buffer;
}

function members(message: Buffer): Member[] {
  const reader = Reader.create(message);
  const found: Member[] = [];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const field = tag >>> 3;
    const none = Buffer.alloc(0);
    if ((tag & 7) === 0) found.push({ field, number: Number(reader.int64()), bytes: none });
    else if ((tag & 7) === 1) {
      const start = reader.pos;
      const number = reader.double();
      found.push({ field, number, bytes: message.subarray(start, start + 8) });
    } else found.push({ field, number: 0, bytes: Buffer.from(reader.bytes()) });
  }
  return found;
}

function labelsOf(all: readonly Member[]): Record<string, string> {
  return Object.fromEntries(
    all.map(({ bytes }) => {
      const parts = members(bytes);
      const text = (field: number): string =>
        parts.find((part) => part.field === field)?.bytes.toString("utf8") ?? "";
      return [text(1), text(2)];
    }),
  );
}

function sampleOf(bytes: Buffer): ReadSample {
  const parts = members(bytes);
  const value = parts.find(({ field }) => field === 1)?.bytes;
  return {
    ms: parts.find(({ field }) => field === 2)?.number ?? 0,
    bits: value ? Buffer.from(value).reverse().toString("hex") : "0".repeat(16),
  };
}

function chunkOf(bytes: Buffer): ReadChunk {
  const parts = members(bytes);
  const number = (field: number): number => parts.find((part) => part.field === field)?.number ?? 0;
  const data = parts.find(({ field }) => field === 4)?.bytes ?? Buffer.alloc(0);
  return { minMs: number(1), maxMs: number(2), type: number(3), data };
}

const HISTOGRAM_FIELDS: Record<number, string> = {
  1: "countInt",
  2: "countFloat",
  3: "sum",
  4: "schema",
  5: "zeroThreshold",
  6: "zeroCountInt",
  7: "zeroCountFloat",
  8: "negativeSpans",
  9: "negativeDeltas",
  10: "negativeCounts",
  11: "positiveSpans",
  12: "positiveDeltas",
  13: "positiveCounts",
  14: "resetHint",
  16: "customValues",
};

function histogramOf(bytes: Buffer): ReadHistogram {
  const parts = members(bytes);
  const fields: ReadHistogram["fields"] = {};
  for (const { field, number, bytes: data } of parts) {
    const name = HISTOGRAM_FIELDS[field];
    if (name === undefined) continue;
    if (name.endsWith("Spans")) {
      const span = members(data);
      const offset = unzigzag(span.find((part) => part.field === 1)?.number ?? 0);
      const length = span.find((part) => part.field === 2)?.number ?? 0;
      const known = (fields[name] ?? []) as [number, number][];
      fields[name] = [...known, [offset, length]];
    } else if (name.endsWith("Deltas")) {
      const reader = Reader.create(data);
      const deltas: number[] = [];
      while (reader.pos < reader.len) deltas.push(Number(reader.sint64()));
      fields[name] = deltas;
    } else if (name.endsWith("Counts") || name === "customValues") {
      fields[name] = Array.from({ length: data.length / 8 }, (_, i) => data.readDoubleLE(i * 8));
    } else fields[name] = name === "schema" ? unzigzag(number) : number;
  }
  return { ms: parts.find(({ field }) => field === 15)?.number ?? 0, fields };
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** Bit by bit. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
