/** The few pieces of the protobuf wire format that reading and building requests needs (protobuf.dev/programming-guides/encoding). */

export const VARINT = 0;
const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** Bytes of `n` as a varint, 0 <= n < 2^28. */
export function varintBytes(n: number): number {
  return n < 0x80 ? 1 : n < 0x4000 ? 2 : n < 0x200000 ? 3 : 4;
}

/** Writes `n` as a varint at `at`; returns the position after it. */
export function putVarint(bytes: Uint8Array, at: number, n: number): number {
  let p = at;
  let rest = n;
  while (rest > 0x7f) {
    bytes[p++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[p++] = rest;
  return p;
}

/** A length-delimited field: tag byte, length, body. */
export function encodeField(tag: number, body: Buffer): Buffer {
  const length: number[] = [];
  let n = body.length;
  for (; n > 0x7f; n >>>= 7) length.push((n & 0x7f) | 0x80);
  length.push(n);
  return Buffer.concat([Buffer.of(tag, ...length), body]);
}

/** A field of a message. For VARINT `value` is its number; for LENGTH_DELIMITED [start, end) is its content; `at` is where its tag begins. */
export interface Field {
  number: number;
  type: number;
  at: number;
  start: number;
  end: number;
  value: number;
}

/** The fields of the message in bytes [start, end). Throws RangeError on malformed bytes. */
export function* readFields(bytes: Uint8Array, start = 0, end = bytes.length): Generator<Field> {
  let p = start;
  const varint = (): number => {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = p < end ? bytes[p++]! : malformed();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    return malformed();
  };
  while (p < end) {
    const at = p;
    const tag = varint();
    const field: Field = { number: Math.floor(tag / 8), type: tag % 8, at, start: p, end: p, value: 0 };
    if (field.type === VARINT) field.value = varint();
    else if (field.type === FIXED64) p += 8;
    else if (field.type === FIXED32) p += 4;
    else if (field.type === LENGTH_DELIMITED) {
      const length = varint();
      field.start = p;
      p += length;
    } else malformed();
    if (p > end) malformed();
    field.end = p;
    yield field;
  }
}

function malformed(): never {
  throw new RangeError("malformed protobuf");
}
