import { zigzag } from "./remote-read-protobuf.ts";

/** Bits from the highest of the first byte on, behind room for the chunk's head. */
export class BitWriter {
  #bytes: Uint8Array;
  #bits: number;

  /** The head is `headBytes` long. */
  constructor(headBytes: number) {
    this.#bytes = new Uint8Array(1024);
    this.#bits = headBytes * 8;
  }

  /** Valid until more is written. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, (this.#bits + 7) >>> 3);
  }

  /** The `count` (0 to 32) low bits of `value`. */
  write(value: number, count: number): void {
    if (this.#bits + count > this.#bytes.length * 8) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    for (let left = count; left > 0;) {
      const free = 8 - (this.#bits & 7);
      const taken = Math.min(free, left);
      const part = (value >>> (left - taken)) & ((1 << taken) - 1);
      this.#bytes[this.#bits >>> 3]! |= part << (free - taken);
      this.#bits += taken;
      left -= taken;
    }
  }

  /** The `count` (0 to 64) low bits of high * 2^32 + low. */
  writeLong(high: number, low: number, count: number): void {
    if (count > 32) this.write(high, count - 32);
    this.write(low, Math.min(count, 32));
  }

  /** So many ones and a zero; eight ones have no zero behind them. */
  writeClass(ones: number): void {
    this.write(ones >= 8 ? 255 : 2 ** (ones + 1) - 2, Math.min(8, ones + 1));
  }

  /** Two's complement of a safe integer. */
  writeInt64(value: number): void {
    this.writeLong(Math.floor(value / 4294967296), value >>> 0, 64);
  }

  /** Of a safe integer that is not negative. */
  writeVarint(value: number): void {
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) this.write((rest % 128) | 128, 8);
    this.write(rest, 8);
  }

  writeSignedVarint(value: number): void {
    this.writeVarint(zigzag(value));
  }
}

/** Writes doubles as what differs from the one before (Gorilla's XOR), as tsdb/chunkenc's xorWrite does. */
export class XorWriter {
  readonly #out: BitWriter;
  #high = 0;
  #low = 0;
  #leading = -1;
  #trailing = 0;

  constructor(out: BitWriter) {
    this.#out = out;
  }

  first(high: number, low: number): void {
    this.#out.writeLong(high, low, 64);
    [this.#high, this.#low] = [high, low];
  }

  next(high: number, low: number): void {
    const [deltaHigh, deltaLow] = [high ^ this.#high, low ^ this.#low];
    [this.#high, this.#low] = [high, low];
    const out = this.#out;
    if (deltaHigh === 0 && deltaLow === 0) return out.write(0, 1);
    const leading = Math.min(31, deltaHigh === 0 ? 32 + Math.clz32(deltaLow) : Math.clz32(deltaHigh));
    const trailing = deltaLow === 0 ? 32 + trailingZeros(deltaHigh) : trailingZeros(deltaLow);
    if (this.#leading >= 0 && leading >= this.#leading && trailing >= this.#trailing) {
      out.write(0b10, 2);
    } else {
      [this.#leading, this.#trailing] = [leading, trailing];
      out.write(0b11, 2);
      out.write(leading, 5);
      // 64 significant bits are written as 0: six bits end at 63.
      out.write(64 - leading - trailing, 6);
    }
    const shift = this.#trailing;
    const shiftedHigh = shift >= 32 ? 0 : deltaHigh >>> shift;
    const shiftedLow =
      shift >= 32
        ? deltaHigh >>> (shift - 32)
        : shift === 0
          ? deltaLow
          : (deltaLow >>> shift) | (deltaHigh << (32 - shift));
    out.writeLong(shiftedHigh, shiftedLow, 64 - this.#leading - shift);
  }
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

const STALE = [0x7ff00000, 2] as const;
const NORMAL_NAN = [0x7ff80000, 1] as const;
const scratch = new DataView(new ArrayBuffer(8));

/** The two halves of a sample's value: Prometheus has one NaN for numbers and one that marks the end of a series. */
export function bitsOf(value: number, isMarker: boolean): readonly [high: number, low: number] {
  if (isMarker) return STALE;
  if (Number.isNaN(value)) return NORMAL_NAN;
  scratch.setFloat64(0, value);
  return [scratch.getInt32(0), scratch.getInt32(4)];
}

/** Samples of one chunk; each array has one entry a sample. */
export interface ChunkSamples {
  timestamps: ArrayLike<number>;
  values: ArrayLike<number>;
  isMarker: ArrayLike<number>;
}

/** A chunk of Prometheus' encoding XOR with the samples from `first` up to `end`: at most 65,535. */
export function xorChunk(samples: ChunkSamples, first: number, end: number): Uint8Array {
  const out = new BitWriter(2);
  const values = new XorWriter(out);
  let before = 0;
  let delta = 0;
  for (let i = first; i < end; i++) {
    const timeMs = samples.timestamps[i] ?? 0;
    const [high, low] = bitsOf(samples.values[i] ?? 0, samples.isMarker[i] === 1);
    if (i === first) {
      out.writeSignedVarint(timeMs);
      values.first(high, low);
    } else {
      const now = timeMs - before;
      if (i === first + 1) out.writeVarint(now);
      else writeDeltaOfDelta(out, now - delta);
      delta = now;
      values.next(high, low);
    }
    before = timeMs;
  }
  new DataView(out.bytes.buffer).setUint16(0, end - first);
  return out.bytes;
}

function writeDeltaOfDelta(out: BitWriter, value: number): void {
  const fits = (bits: number): boolean => -(2 ** (bits - 1) - 1) <= value && value <= 2 ** (bits - 1);
  if (value === 0) out.write(0, 1);
  else if (fits(14)) {
    out.write(0b10, 2);
    out.write(value, 14);
  } else if (fits(17)) {
    out.write(0b110, 3);
    out.write(value, 17);
  } else if (fits(20)) {
    out.write(0b1110, 4);
    out.write(value, 20);
  } else {
    out.write(0b1111, 4);
    out.writeInt64(value);
  }
}

const CLASSES = [3, 6, 9, 12, 18, 25, 56];

/** putVarbitInt (tsdb/chunkenc/varbit.go): a safe integer in as few bits as its class has. */
export function writeDeltaClass(out: BitWriter, value: number): void {
  if (value === 0) return out.write(0, 1);
  const at = CLASSES.findIndex((bits) => -(2 ** (bits - 1) - 1) <= value && value <= 2 ** (bits - 1));
  const bits = CLASSES[at] ?? 64;
  out.writeClass(at < 0 ? 8 : at + 1);
  out.writeLong(Math.floor(value / 4294967296), value >>> 0, bits);
}
