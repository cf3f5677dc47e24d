/** Writes a chunk's bits, the highest of each byte first: what BitReader reads. The bytes from `at` on may hold what was written before. */
export interface BitWriter {
  bytes: Uint8Array;
  view: DataView;
  /** In bits. */
  at: number;
}

/** Bytes behind the last one that a write may touch. */
const PADDING_BYTES = 4;

/** For chunks of at most that many bytes: the caller knows its longest chunk. */
export function createBitWriter(bytesMax: number): BitWriter {
  const bytes = new Uint8Array(bytesMax + PADDING_BYTES);
  return { bytes, view: new DataView(bytes.buffer), at: 0 };
}

/** The `count` (1 to 32) low bits of `value`. */
export function writeBits(writer: BitWriter, value: number, count: number): void {
  const { bytes, view, at } = writer;
  const i = at >>> 3;
  const s = at & 7;
  const word = value << (32 - count);
  // Behind the last bit that was written all are 0 up to the end of its byte; a byte that begins here may hold anything.
  const before = s === 0 ? 0 : bytes[i]! << 24;
  view.setInt32(i, before | (word >>> s));
  bytes[i + 4] = word << (8 - s);
  writer.at = at + count;
}

/** The `count` (1 to 64) low bits of a number of 64 bits. */
export function writeLongBits(writer: BitWriter, high: number, low: number, count: number): void {
  if (count > 32) writeBits(writer, high, count - 32);
  writeBits(writer, low, Math.min(count, 32));
}

/** Of a safe integer that is not negative: Go's binary.PutUvarint. */
export function writeUvarint(writer: BitWriter, value: number): void {
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) writeBits(writer, (rest % 128) | 0x80, 8);
  writeBits(writer, rest, 8);
}

/** What was written, with zeros up to a whole byte: a copy. */
export function takeBytes(writer: BitWriter): Buffer {
  return Buffer.from(writer.bytes.subarray(0, (writer.at + 7) >>> 3));
}
