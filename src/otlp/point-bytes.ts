import type { ScannedSeries } from "#prometheus/series-sink.ts";
import { putVarint, varintBytes } from "./wire.ts";

// The inner loops of the writer, on bytes and positions alone. They are the module's own functions, not closures over a writer: their machine
// code then outlives the writers.

const ATTRIBUTES = 0x3a;
const KEY = 0x0a;
const VALUE = 0x12;
const STRING_VALUE = 0x0a;
/** Above this the engine's own copy beats a loop. */
const LONG_COPY_BYTES = 128;

/** Writes `attributes{key, value{string_value}}` with the field tag `tag` at `at`; returns the position after it. */
function putAttribute(
  out: Uint8Array,
  at: number,
  tag: number,
  key: Uint8Array,
  k0: number,
  k1: number,
  value: Uint8Array,
  v0: number,
  v1: number,
): number {
  let p = at;
  const keyBytes = k1 - k0;
  const valueBytes = v1 - v0;
  const anyValueBytes = 1 + varintBytes(valueBytes) + valueBytes;
  const keyValueBytes = 1 + varintBytes(keyBytes) + keyBytes + 1 + varintBytes(anyValueBytes) + anyValueBytes;
  out[p++] = tag;
  p = putVarint(out, p, keyValueBytes);
  out[p++] = KEY;
  p = putVarint(out, p, keyBytes);
  for (let i = k0; i < k1; i++) out[p++] = key[i]!;
  out[p++] = VALUE;
  p = putVarint(out, p, anyValueBytes);
  out[p++] = STRING_VALUE;
  p = putVarint(out, p, valueBytes);
  if (valueBytes > LONG_COPY_BYTES) {
    out.set(value.subarray(v0, v1), p);
    return p + valueBytes;
  }
  for (let i = v0; i < v1; i++) out[p++] = value[i]!;
  return p;
}

/** Writes every label of the series as an attribute at `at`; returns the position after them. `tag`: of a point's attributes. */
export function putLabels(
  out: Uint8Array,
  at: number,
  { bytes, labels, labelCount }: ScannedSeries,
  tag = ATTRIBUTES,
): number {
  let p = at;
  for (let i = 0; i < labelCount * 4; i += 4) {
    p = putAttribute(out, p, tag, bytes, labels[i]!, labels[i + 1]!, bytes, labels[i + 2]!, labels[i + 3]!);
  }
  return p;
}

/** Upper bound of a point's size: an attribute has at most 16 bytes of tags and lengths. */
export function recordBytesMax({ labels, labelCount }: ScannedSeries): number {
  let bytes = 64 + labelCount * 20;
  for (let i = 0; i < labelCount * 4; i += 4) {
    bytes += labels[i + 3]! - labels[i + 2]! + labels[i + 1]! - labels[i]!;
  }
  return bytes;
}

/** Makes `count` records of the one of `size` bytes at `at`, each behind the other. */
export function repeatRecord(out: Buffer, at: number, size: number, count: number): void {
  for (let have = 1; have < count; have *= 2) {
    const more = Math.min(have, count - have);
    out.copyWithin(at + have * size, at, at + more * size);
  }
}

/**
 * Sets time and value of the samples [from, to) in records that are `size` bytes apart; `at` is the first one's time. `bits`: the halves of the
 * values' bits, the lower one first. A double on its way through a register may lose a NaN's payload, and a stale marker is one.
 */
export function patchPoints(
  view: DataView,
  at: number,
  size: number,
  timestamps: Float64Array,
  bits: Uint32Array,
  from: number,
  to: number,
): void {
  for (let i = from, p = at; i < to; i++, p += size) {
    // ns = ms * 1e6 by halves, exact without BigInt: ms < 2^53 / 2^10.
    const ms = timestamps[i]!;
    const high = Math.floor(ms / 65536);
    const highNs = high * 1e6;
    const carried = Math.floor(highNs / 65536);
    const low = (highNs - carried * 65536) * 65536 + (ms - high * 65536) * 1e6;
    const overflow = Math.floor(low / 4294967296);
    view.setUint32(p, low - overflow * 4294967296, true);
    view.setUint32(p + 4, carried + overflow, true);
    view.setUint32(p + 9, bits[2 * i]!, true);
    view.setUint32(p + 13, bits[2 * i + 1]!, true);
  }
}
