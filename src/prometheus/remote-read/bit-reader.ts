import { unzigzag, type Int64 } from "./int64.ts";
import { invalid, truncated } from "./remote-read-error.ts";

/** Bytes behind a chunk's own that may be read, before it is noticed that it has ended. */
const PADDING_BYTES = 32;
const FIRST_BYTES = 4096;

/**
 * Reads a chunk's bits, the highest of each byte first (tsdb/chunkenc/bstream.go). The chunk's bytes are copied, so that reading a few bytes too far needs no check of
 * its own: each read ends with one that throws. Numbers of 64 bits are left in it as well.
 */
export interface BitReader extends Int64 {
  bytes: Uint8Array;
  view: DataView;
  /** In bits. */
  at: number;
  end: number;
}

export function createBitReader(): BitReader {
  const bytes = new Uint8Array(FIRST_BYTES);
  return { bytes, view: new DataView(bytes.buffer), at: 0, end: 0, high: 0, low: 0 };
}

/** Begins with the bits of `source` [start, end). */
export function setBits(reader: BitReader, source: Uint8Array, start: number, end: number): void {
  const length = end - start;
  if (length + PADDING_BYTES > reader.bytes.length) {
    reader.bytes = new Uint8Array(Math.max(length + PADDING_BYTES, reader.bytes.length * 2));
    reader.view = new DataView(reader.bytes.buffer);
  }
  const { bytes } = reader;
  for (let i = 0, p = start; p < end; i++, p++) bytes[i] = source[p]!;
  reader.at = 0;
  reader.end = length * 8;
}

/** The 32 bits from bit `at` on, as int32. */
export function wordAt(view: DataView, bytes: Uint8Array, at: number): number {
  const i = at >>> 3;
  const s = at & 7;
  return (view.getInt32(i) << s) | (bytes[i + 4]! >>> (8 - s));
}

/** Up to 32 bits, unsigned. */
export function readBits(reader: BitReader, count: number): number {
  const word = wordAt(reader.view, reader.bytes, reader.at);
  advance(reader, count);
  return word >>> (32 - count);
}

export function readWord64(reader: BitReader): void {
  reader.high = wordAt(reader.view, reader.bytes, reader.at);
  reader.low = wordAt(reader.view, reader.bytes, reader.at + 32);
  advance(reader, 64);
}

function advance(reader: BitReader, count: number): void {
  reader.at += count;
  if (reader.at > reader.end) throw chunkEnds();
}

export const chunkEnds = () => truncated("a chunk ends before its last sample");

/** A number of at most 64 bits in groups of seven, the lowest first, each in eight bits: Go's binary.ReadUvarint. */
export function readUvarint64(reader: BitReader): void {
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    const byte = readBits(reader, 8);
    const part = byte & 0x7f;
    if (shift < 28) low |= part << shift;
    else if (shift === 28) {
      low |= part << 28;
      high = part >>> 4;
    } else high |= part << (shift - 32);
    if (byte < 0x80) {
      reader.low = low;
      reader.high = high;
      return;
    }
  }
  throw invalid("a number in a chunk has more than 64 bits");
}

/** The same, with the sign in the lowest bit: binary.ReadVarint. */
export function readSignedVarint64(reader: BitReader): void {
  readUvarint64(reader);
  unzigzag(reader);
}

/** Bits of a varbit number by the ones before its first zero (tsdb/chunkenc/varbit.go). */
const VARBIT_BITS = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/** A varbit int64. */
export function readVarbit(reader: BitReader): void {
  const size = readVarbitSize(reader);
  if (size === 64) return readWord64(reader);
  if (size === 56) {
    readVarbit56(reader);
    // Above the half it is negative; the half itself is not.
    if (reader.high > 0x800000 || (reader.high === 0x800000 && reader.low !== 0)) reader.high |= 0xff000000;
    return;
  }
  let value = size === 0 ? 0 : readBits(reader, size);
  if (value > 2 ** (size - 1)) value -= 2 ** size;
  reader.low = value | 0;
  reader.high = value < 0 ? -1 : 0;
}

/** A varbit uint64. */
export function readVarbitUnsigned(reader: BitReader): void {
  const size = readVarbitSize(reader);
  if (size === 64) return readWord64(reader);
  if (size === 56) return readVarbit56(reader);
  reader.low = size === 0 ? 0 : readBits(reader, size);
  reader.high = 0;
}

function readVarbitSize(reader: BitReader): number {
  const ones = Math.min(8, Math.clz32(~wordAt(reader.view, reader.bytes, reader.at)));
  advance(reader, ones === 8 ? 8 : ones + 1);
  return VARBIT_BITS[ones]!;
}

function readVarbit56(reader: BitReader): void {
  reader.high = readBits(reader, 24);
  reader.low = readBits(reader, 32) | 0;
}

/**
 * Passes over the start time of sample `index` in a chunk that can have them (tsdb/chunkenc/st.go): its bits follow the sample's. `header`: bit 7, does the first sample have one;
 * bits 0 to 6, from which sample on each has one, 0: none. Nothing needs them so far.
 */
export function skipStartTime(reader: BitReader, header: number, index: number): void {
  if (index === 0) {
    if (header & 0x80) readUvarint64(reader);
    return;
  }
  const from = header & 0x7f;
  if (from > 0 && index >= from) readVarbit(reader);
}
