import type {
  Count,
  DenseBuckets,
  ExplicitPoint,
  ExponentialPoint,
  HistogramPoint,
} from "./histogram-point.ts";
import { putVarint } from "./wire.ts";

// Field tags of opentelemetry/proto/metrics/v1: HistogramDataPoint and ExponentialHistogramDataPoint.
const TIME_UNIX_NANO = 0x19;
const COUNT = 0x21;
const SUM = 0x29;
const FLAGS = 0x50;
const NO_RECORDED_VALUE = 1;
const SCALE = 0x30;
const ZERO_COUNT = 0x39;
const POSITIVE = 0x42;
const NEGATIVE = 0x4a;
const ZERO_THRESHOLD = 0x71;
const OFFSET = 0x08;
const PACKED_COUNTS = 0x12;
const EXPLICIT_COUNTS = 0x32;
const EXPLICIT_BOUNDS = 0x3a;
/** Tags of the attributes of a point. */
export const ATTRIBUTES = { exponential_histogram: 0x0a, histogram: 0x4a } as const;

const TWO_32 = 2 ** 32;
const NS_PER_MS = 1_000_000n;
/** Of a point beside its buckets. */
const FIXED_BYTES = 128;
const VARINT_BYTES_MAX = 10;

/** Bytes that `putHistogram` writes at most. */
export function histogramBytesMax(point: HistogramPoint): number {
  if (point.kind === "histogram") return FIXED_BYTES + 8 * (point.counts.length + point.bounds.length);
  return FIXED_BYTES + VARINT_BYTES_MAX * (point.positive.counts.length + point.negative.counts.length);
}

/** Writes the fields of a point, all but its attributes, at `at`; returns the position after them. */
export function putHistogram(out: Buffer, at: number, point: HistogramPoint): number {
  let p = at;
  out[p++] = TIME_UNIX_NANO;
  p = out.writeBigUInt64LE(BigInt(point.timestampMs) * NS_PER_MS, p);
  out[p++] = COUNT;
  p = putFixed64(out, p, point.count);
  out[p++] = SUM;
  p = out.writeUInt32LE(point.sumBits[0]!, p);
  p = out.writeUInt32LE(point.sumBits[1]!, p);
  if (point.isMarker) {
    out[p++] = FLAGS;
    out[p++] = NO_RECORDED_VALUE;
  }
  return point.kind === "histogram" ? putExplicit(out, p, point) : putExponential(out, p, point);
}

function putExplicit(out: Buffer, at: number, { bounds, counts }: ExplicitPoint): number {
  let p = at;
  if (counts.length > 0) {
    out[p++] = EXPLICIT_COUNTS;
    p = putVarint(out, p, counts.length * 8);
    for (const count of counts) p = putFixed64(out, p, count);
  }
  if (bounds.length > 0) {
    out[p++] = EXPLICIT_BOUNDS;
    p = putVarint(out, p, bounds.length * 8);
    for (const bound of bounds) p = out.writeDoubleLE(bound, p);
  }
  return p;
}

function putExponential(out: Buffer, at: number, point: ExponentialPoint): number {
  let p = at;
  out[p++] = SCALE;
  p = putVarint(out, p, zigzag(point.scale));
  out[p++] = ZERO_COUNT;
  p = putFixed64(out, p, point.zeroCount);
  out[p++] = ZERO_THRESHOLD;
  p = out.writeDoubleLE(point.zeroThreshold, p);
  p = putBuckets(out, p, POSITIVE, point.positive);
  return putBuckets(out, p, NEGATIVE, point.negative);
}

function putBuckets(out: Buffer, at: number, tag: number, { offset, counts }: DenseBuckets): number {
  if (counts.length === 0) return at;
  const countsBytes = counts.reduce<number>((sum, count) => sum + varint64Bytes(count), 0);
  const head = [OFFSET];
  pushVarint(head, zigzag(offset));
  head.push(PACKED_COUNTS);
  pushVarint(head, countsBytes);
  let p = at;
  out[p++] = tag;
  p = putVarint(out, p, head.length + countsBytes);
  for (const byte of head) out[p++] = byte;
  for (const count of counts) p = putVarint64(out, p, count);
  return p;
}

/** A signed number as sint32 has it. */
function zigzag(n: number): number {
  return ((n << 1) ^ (n >> 31)) >>> 0;
}

function pushVarint(bytes: number[], n: number): void {
  let rest = n;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
}

function lowOf(count: Count): number {
  return typeof count === "number" ? count % TWO_32 : Number(count & 0xffffffffn);
}

function highOf(count: Count): number {
  return typeof count === "number" ? Math.floor(count / TWO_32) : Number(count >> 32n);
}

function putFixed64(out: Buffer, at: number, count: Count): number {
  return out.writeUInt32LE(highOf(count), out.writeUInt32LE(lowOf(count), at));
}

function varint64Bytes(count: Count): number {
  let bytes = 1;
  for (let low = lowOf(count), high = highOf(count); high > 0 || low > 0x7f; bytes++) {
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  return bytes;
}

function putVarint64(out: Buffer, at: number, count: Count): number {
  let p = at;
  let low = lowOf(count);
  let high = highOf(count);
  for (; high > 0 || low > 0x7f; high >>>= 7) {
    out[p++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
  }
  out[p++] = low;
  return p;
}
