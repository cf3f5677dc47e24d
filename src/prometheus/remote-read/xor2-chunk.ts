import {
  readBits,
  readSignedVarint64,
  readUvarint64,
  readWord64,
  skipStartTime,
  type BitReader,
} from "./bit-reader.ts";
import { signed64 } from "./int64.ts";
import { makeRoomFor, type SampleColumns } from "./sample-columns.ts";
import { isStaleMarker, STALE_HIGH, STALE_LOW } from "./stale-marker.ts";
import { createXorValue, readDifference, readWindow, type XorValue } from "./xor-chunk.ts";

/** Is the value the last one, or the stale marker, which is not compared with? */
type Taken = "value" | "stale";

/**
 * Decodes an XOR2 chunk (tsdb/chunkenc/xor2.go; Prometheus 3.11 and later with storage.tsdb.chunk_encoding.floats: xor2) as decodeXorChunk does an XOR chunk. Start
 * times of samples are passed over.
 */
export function decodeXor2Chunk(
  reader: BitReader,
  fromMs: number,
  toMs: number,
  columns: SampleColumns,
): void {
  const total = readBits(reader, 16);
  const header = readBits(reader, 8);
  if (total === 0) return;
  // A sample has at least one bit.
  makeRoomFor(columns, Math.min(total, reader.end));
  const value = createXorValue();
  let delta = 0;
  let t = 0;
  for (let i = 0; i < total; i++) {
    let taken: Taken = "value";
    if (i === 0) {
      readSignedVarint64(reader);
      t = signed64(reader);
      readWord64(reader);
      const { high, low } = reader;
      if (isStaleMarker(high, low)) taken = "stale";
      else Object.assign(value, { high, low });
    } else {
      if (i === 1) {
        readUvarint64(reader);
        delta = signed64(reader);
        taken = readValue(reader, value);
      } else {
        const control = countOnes(reader);
        if (control >= 2 && control <= 4) {
          delta += readChange(reader, control);
          taken = readValue(reader, value);
        } else if (control === 1) {
          if (readBits(reader, 1) === 1) readWindow(reader, value);
          readDifference(reader, value);
        } else if (control === 5) taken = "stale";
      }
      t += delta;
    }
    skipStartTime(reader, header, i);
    if (t > toMs) return;
    if (t > fromMs) add(columns, t, value, taken);
  }
}

/** The ones before the first zero, at most five. */
function countOnes(reader: BitReader): number {
  let ones = 0;
  while (ones < 5 && readBits(reader, 1) === 1) ones++;
  return ones;
}

/** How much the time's step changes: 13, 20 or 64 bits of two's complement. */
function readChange(reader: BitReader, control: number): number {
  if (control === 4) {
    readWord64(reader);
    return signed64(reader);
  }
  const size = control === 2 ? 13 : 20;
  const change = readBits(reader, size);
  return change >= 2 ** (size - 1) ? change - 2 ** size : change;
}

/** `0` the same, `10` in the last window, `110` in a new one, `111` stale. */
function readValue(reader: BitReader, value: XorValue): Taken {
  if (readBits(reader, 1) === 0) return "value";
  if (readBits(reader, 1) === 1) {
    if (readBits(reader, 1) === 1) return "stale";
    readWindow(reader, value);
  }
  readDifference(reader, value);
  return "value";
}

function add(columns: SampleColumns, t: number, value: XorValue, taken: Taken): void {
  const n = columns.count++;
  columns.timestamps[n] = t;
  columns.bits[n * 2] = taken === "stale" ? STALE_LOW : value.low;
  columns.bits[n * 2 + 1] = taken === "stale" ? STALE_HIGH : value.high;
}
