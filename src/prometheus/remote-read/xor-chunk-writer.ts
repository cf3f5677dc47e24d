import { assert } from "#lib/assert.ts";
import {
  type BitWriter,
  createBitWriter,
  takeBytes,
  writeBits,
  writeLongBits,
  writeUvarint,
} from "./bit-writer.ts";

/** Samples of a chunk that Prometheus itself cuts at. */
export const CHUNK_SAMPLES_MAX = 120;
/** The longest change of a time (68 bits) and of a value (77), and the head with the first sample. */
const CHUNK_BYTES_MAX = 32 + Math.ceil((CHUNK_SAMPLES_MAX * (68 + 77)) / 8);

/** Reused: a chunk is written without a pause. */
const writer = createBitWriter(CHUNK_BYTES_MAX);

/**
 * An XOR chunk (tsdb/chunkenc/xor.go) of the samples [start, end), of which there are 1 to CHUNK_SAMPLES_MAX. `times`: whole ms, not negative, ascending; `bits`: of value k the low
 * half at 2k and the high half behind it.
 */
export function encodeXorChunk(times: Float64Array, bits: Uint32Array, start: number, end: number): Buffer {
  const count = end - start;
  assert(count > 0 && count <= CHUNK_SAMPLES_MAX, "a chunk has samples, and not too many");
  writer.at = 0;
  writeBits(writer, count, 16);
  let time = times[start]!;
  assert(Number.isSafeInteger(time) && time >= 0, "a stored time is after 1970");
  // A signed number, with its sign in the lowest bit.
  writeUvarint(writer, time * 2);
  writeLongBits(writer, bits[start * 2 + 1]!, bits[start * 2]!, 64);
  let delta = 0;
  const window: Window = { leading: -1, trailing: 0 };
  for (let k = start + 1; k < end; k++) {
    const now = times[k]! - time;
    assert(now >= 0, "samples are in the order of their times");
    if (k === start + 1) writeUvarint(writer, now);
    else writeTimeChange(writer, now - delta);
    delta = now;
    time += now;
    const low = bits[k * 2]! ^ bits[k * 2 - 2]!;
    const high = bits[k * 2 + 1]! ^ bits[k * 2 - 1]!;
    writeValueChange(writer, high, low, window);
  }
  return takeBytes(writer);
}

/** By how much the step between two samples differs from the one before. */
function writeTimeChange(out: BitWriter, change: number): void {
  if (change === 0) writeBits(out, 0, 1);
  else if (fits(change, 14)) {
    writeBits(out, 0b10, 2);
    writeBits(out, change, 14);
  } else if (fits(change, 17)) {
    writeBits(out, 0b110, 3);
    writeBits(out, change, 17);
  } else if (fits(change, 20)) {
    writeBits(out, 0b1110, 4);
    writeBits(out, change, 20);
  } else {
    writeBits(out, 0b1111, 4);
    writeLongBits(out, Math.floor(change / 4_294_967_296), change, 64);
  }
}

/** The highest value of a class stands for itself, not for the lowest negative one. */
function fits(change: number, bits: number): boolean {
  const half = 2 ** (bits - 1);
  return change > -half && change <= half;
}

/** Zeros around the bits of the last difference that was written with them. `leading` -1: none yet. */
interface Window {
  leading: number;
  trailing: number;
}

/** How the value's bits differ from those before: `0` not at all, `10` within the last window, `11` in a new one. */
function writeValueChange(out: BitWriter, high: number, low: number, window: Window): void {
  if (high === 0 && low === 0) return writeBits(out, 0, 1);
  // Five bits tell the leading zeros.
  const leading = Math.min(31, high === 0 ? 32 + Math.clz32(low) : Math.clz32(high));
  const trailing = low === 0 ? 32 + trailingZeros(high) : trailingZeros(low);
  if (window.leading >= 0 && leading >= window.leading && trailing >= window.trailing)
    writeBits(out, 0b10, 2);
  else {
    window.leading = leading;
    window.trailing = trailing;
    writeBits(out, 0b11, 2);
    writeBits(out, leading, 5);
    // All 64 are written as 0.
    writeBits(out, 64 - leading - trailing, 6);
  }
  const length = 64 - window.leading - window.trailing;
  const shift = window.trailing;
  if (shift >= 32) writeBits(out, high >>> (shift - 32), length);
  else
    writeLongBits(out, high >>> shift, shift === 0 ? low : (low >>> shift) | (high << (32 - shift)), length);
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
