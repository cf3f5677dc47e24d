import { signed64, unzigzag, type Int64 } from "./int64.ts";
import { invalid, truncated } from "./remote-read-error.ts";

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** The tag of a field: its number and wire type, as a message has it. */
export const tagOf = (field: number, type: number): number => (field << 3) | type;

/**
 * A place in protobuf bytes (protobuf.dev/programming-guides/encoding). Plain fields, so that the functions below stay fast whatever reads with them. Nothing is
 * read behind `end`, which is at most the bytes' length. The number of 64 bits that was read last is left in it as well.
 */
export interface MessageReader extends Int64 {
  bytes: Uint8Array;
  view: DataView;
  at: number;
  end: number;
}

const NO_BYTES = new Uint8Array(0);

export function createMessageReader(): MessageReader {
  return { bytes: NO_BYTES, view: new DataView(NO_BYTES.buffer), at: 0, end: 0, high: 0, low: 0 };
}

/** Reads on in bytes [start, end). */
export function setMessage(reader: MessageReader, bytes: Uint8Array, start: number, end: number): void {
  if (reader.bytes !== bytes) {
    reader.bytes = bytes;
    reader.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  reader.at = start;
  reader.end = end;
}

/** A varint below 2^53, as tags, lengths and enumerations are. Larger ones lose their lowest bits. */
export function readVarint(reader: MessageReader): number {
  const { bytes, end } = reader;
  let p = reader.at;
  let value = 0;
  let scale = 1;
  for (let i = 0; i < 10; i++) {
    if (p >= end) throw cut();
    const byte = bytes[p++]!;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      reader.at = p;
      return value;
    }
    scale *= 128;
  }
  throw invalid("a protobuf number has more than 64 bits");
}

/** A varint of 64 bits, to `high` and `low`. */
export function readVarint64(reader: MessageReader): void {
  const { bytes, end } = reader;
  let p = reader.at;
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (p >= end) throw cut();
    const byte = bytes[p++]!;
    const part = byte & 0x7f;
    if (shift < 28) low |= part << shift;
    else if (shift === 28) {
      low |= part << 28;
      high = part >>> 4;
    } else high |= part << (shift - 32);
    if (byte < 0x80) {
      reader.at = p;
      reader.high = high;
      reader.low = low;
      return;
    }
  }
  throw invalid("a protobuf number has more than 64 bits");
}

/** An int64, exact below 2^53 on both sides of 0. */
export function readInt64(reader: MessageReader): number {
  readVarint64(reader);
  return signed64(reader);
}

/** A sint64 ("zigzag"), to `high` and `low`. */
export function readSint64(reader: MessageReader): void {
  readVarint64(reader);
  unzigzag(reader);
}

/** Begins a length-delimited field: returns where it ends. */
export function readLength(reader: MessageReader): number {
  const length = readVarint(reader);
  if (length > reader.end - reader.at) throw cut();
  return reader.at + length;
}

/** Takes `count` bytes; returns where they begin. */
export function take(reader: MessageReader, count: number): number {
  const start = reader.at;
  if (count > reader.end - start) throw cut();
  reader.at = start + count;
  return start;
}

/** Passes over the field with that tag. */
export function skipField(reader: MessageReader, tag: number): void {
  const type = tag % 8;
  if (tag < 8) throw invalid("a protobuf field has the number 0");
  if (type === VARINT) readVarint(reader);
  else if (type === FIXED64) take(reader, 8);
  else if (type === FIXED32) take(reader, 4);
  else if (type === LENGTH_DELIMITED) reader.at = readLength(reader);
  else throw invalid(`a protobuf field has the wire type ${type}`);
}

const cut = () => truncated("a protobuf message ends in the middle of a field");
