import { BridgeError } from "#errors/error.ts";

/** ClickHouse's RowBinary: the columns of each row one after the other, little-endian, without a header. */
export interface RowBinaryWriter {
  uint8(value: number): void;
  int32(value: number): void;
  uint32(value: number): void;
  /** 64 bits from two halves; also DateTime64, whose ticks are a 64-bit integer. */
  int64(low: number, high: number): void;
  /** The bits of the double as they are, NaN's payload and -0 included. */
  float64(value: number): void;
  /** LEB128: the length before strings, arrays and maps. */
  varint(value: number): void;
  string(text: string): void;
  /** Bytes that another writer wrote, for values that many rows share. */
  copy(bytes: Uint8Array): void;
  readonly length: number;
  /** The bytes written so far; valid until the next write. */
  bytes(): Uint8Array;
}

/** A writer that grows up to `bytesMax`; then it throws BridgeError `body_too_large`. */
export function createRowBinaryWriter(initialBytes: number, bytesMax: number): RowBinaryWriter {
  let buffer = Buffer.allocUnsafe(Math.min(initialBytes, bytesMax));
  let view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  let length = 0;

  const reserve = (count: number): void => {
    if (length + count <= buffer.length) return;
    if (length + count > bytesMax) {
      throw new BridgeError("body_too_large", `the rows of one request are larger than ${bytesMax} bytes`);
    }
    const grown = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(length + count, buffer.length * 2)));
    buffer.copy(grown, 0, 0, length);
    buffer = grown;
    view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  };
  const varint = (value: number): void => {
    reserve(5);
    let rest = value;
    while (rest > 0x7f) {
      buffer[length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[length++] = rest;
  };

  return {
    uint8: (value) => {
      reserve(1);
      buffer[length++] = value;
    },
    int32: (value) => {
      reserve(4);
      view.setInt32(length, value, true);
      length += 4;
    },
    uint32: (value) => {
      reserve(4);
      view.setUint32(length, value, true);
      length += 4;
    },
    int64: (low, high) => {
      reserve(8);
      view.setInt32(length, low, true);
      view.setInt32(length + 4, high, true);
      length += 8;
    },
    float64: (value) => {
      reserve(8);
      view.setFloat64(length, value, true);
      length += 8;
    },
    varint,
    string: (text) => {
      const characters = text.length;
      // Label texts are short and ASCII nearly always: a loop is several times faster than a call into C++.
      if (characters < 48) {
        reserve(characters + 1);
        let at = length + 1;
        let index = 0;
        for (; index < characters; index++) {
          const unit = text.charCodeAt(index);
          if (unit > 0x7f) break;
          buffer[at++] = unit;
        }
        if (index === characters) {
          buffer[length] = characters;
          length = at;
          return;
        }
      }
      const count = Buffer.byteLength(text);
      varint(count);
      reserve(count);
      length += buffer.write(text, length, "utf8");
    },
    copy: (bytes) => {
      reserve(bytes.length);
      buffer.set(bytes, length);
      length += bytes.length;
    },
    get length() {
      return length;
    },
    bytes: () => buffer.subarray(0, length),
  };
}
