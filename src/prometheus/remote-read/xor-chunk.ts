import {
  chunkEnds,
  readBits,
  readSignedVarint64,
  readUvarint64,
  readWord64,
  wordAt,
  type BitReader,
} from "./bit-reader.ts";
import { signed64 } from "./int64.ts";
import { invalid } from "./remote-read-error.ts";
import { makeRoomFor, type SampleColumns } from "./sample-columns.ts";

/** How the bits of a value differ from those of the one before: the window of the last difference that was written in full. */
export interface XorValue {
  high: number;
  low: number;
  leading: number;
  trailing: number;
}

export function createXorValue(): XorValue {
  return { high: 0, low: 0, leading: 0, trailing: 0 };
}

/** Takes the next value of a chunk with float histograms or sums: `0` the same, `10` in the last window, `11` in a new one. */
export function readXorValue(reader: BitReader, value: XorValue): void {
  if (readBits(reader, 1) === 0) return;
  if (readBits(reader, 1) === 1) readWindow(reader, value);
  readDifference(reader, value);
}

/** A new window: five bits of leading zeros, six of length, 0 for 64. */
export function readWindow(reader: BitReader, value: XorValue): void {
  value.leading = readBits(reader, 5);
  const length = readBits(reader, 6) || 64;
  value.trailing = 64 - value.leading - length;
  if (value.trailing < 0) throw noWindow();
}

/** The bits of the window, changed in the value. */
export function readDifference(reader: BitReader, value: XorValue): void {
  const { leading, trailing } = value;
  const first = wordAt(reader.view, reader.bytes, reader.at);
  const second = wordAt(reader.view, reader.bytes, reader.at + 32);
  reader.at += 64 - leading - trailing;
  if (reader.at > reader.end) throw chunkEnds();
  value.high ^= (first >>> leading) & (trailing > 32 ? -1 << (trailing - 32) : -1);
  value.low ^=
    trailing >= 32 ? 0 : (((first << 1) << (31 - leading)) | (second >>> leading)) & (-1 << trailing);
}

const noWindow = () => invalid("a chunk has a value with more than 64 bits");

/**
 * Decodes an XOR chunk (tsdb/chunkenc/xor.go) and adds its samples in (fromMs, toMs] to the columns. Stops behind the first sample after toMs. Throws
 * RemoteReadError. The hot path of reading: no allocation, and the reader's fields are kept in variables.
 */
export function decodeXorChunk(
  reader: BitReader,
  fromMs: number,
  toMs: number,
  columns: SampleColumns,
): void {
  const total = readBits(reader, 16);
  if (total === 0) return;
  const { view, bytes, end } = reader;
  // A sample has at least two bits.
  makeRoomFor(columns, Math.min(total, (end >>> 1) + 1));
  const { timestamps, bits } = columns;
  let n = columns.count;
  readSignedVarint64(reader);
  let t = signed64(reader);
  readWord64(reader);
  let { high, low, at } = reader;
  let delta = 0;
  let leading = 0;
  let trailing = 0;
  for (let i = 0; ;) {
    if (t > toMs) break;
    if (t > fromMs) {
      timestamps[n] = t;
      bits[n * 2] = low;
      bits[n * 2 + 1] = high;
      n++;
    }
    if (++i === total) break;
    if (i === 1) {
      reader.at = at;
      readUvarint64(reader);
      at = reader.at;
      delta = signed64(reader);
    } else {
      // 25 bits at least are the chunk's.
      const word = view.getInt32(at >>> 3) << (at & 7);
      if (word >= 0) at += 1;
      else if ((word & 0x40000000) === 0) {
        const change = (word << 2) >>> 18;
        delta += change > 0x2000 ? change - 0x4000 : change;
        at += 16;
      } else if ((word & 0x20000000) === 0) {
        const change = (word << 3) >>> 15;
        delta += change > 0x10000 ? change - 0x20000 : change;
        at += 20;
      } else if ((word & 0x10000000) === 0) {
        const change = (word << 4) >>> 12;
        delta += change > 0x80000 ? change - 0x100000 : change;
        at += 24;
      } else {
        delta += wordAt(view, bytes, at + 4) * 4_294_967_296 + (wordAt(view, bytes, at + 36) >>> 0);
        at += 68;
      }
    }
    t += delta;
    const word = view.getInt32(at >>> 3) << (at & 7);
    if (word >= 0) at += 1;
    else {
      if (word & 0x40000000) {
        leading = (word >>> 25) & 31;
        const length = (word >>> 19) & 63 || 64;
        trailing = 64 - leading - length;
        if (trailing < 0) throw noWindow();
        at += 13;
      } else at += 2;
      const first = wordAt(view, bytes, at);
      const second = wordAt(view, bytes, at + 32);
      at += 64 - leading - trailing;
      high ^= (first >>> leading) & (trailing > 32 ? -1 << (trailing - 32) : -1);
      if (trailing < 32) low ^= (((first << 1) << (31 - leading)) | (second >>> leading)) & (-1 << trailing);
    }
    if (at > end) throw chunkEnds();
  }
  columns.count = n;
}
