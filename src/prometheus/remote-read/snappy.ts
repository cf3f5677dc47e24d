import { invalid, tooLarge, truncated } from "./remote-read-error.ts";

// Snappy's block format (google/snappy, format_description.txt). Own code, as the packages do not fit: snappyjs is slower, checks neither the output's bounds nor its
// length and is no longer maintained; hysnappy is twice as fast, but keeps a WebAssembly memory that only grows; snappy is native code.

const LENGTH_BYTES_MAX = 5;
/** A literal of up to that many bytes has its length in its tag. */
const SHORT_LITERAL = 60;
const LITERAL_BYTES_MAX = 65_536;
/** Tag of a literal whose length less one follows in two bytes. */
const LITERAL_TAG = 61 << 2;
/** From that length on the engine's own copy beats a loop. */
const LONG_COPY = 32;

/** The head of a block: how many bytes it has when it is decompressed, and where its elements begin. Undefined: more bytes are needed. */
export function snappyHead(block: Uint8Array): { size: number; start: number } | undefined {
  let size = 0;
  let scale = 1;
  for (let i = 0; i < LENGTH_BYTES_MAX; i++) {
    if (i >= block.length) return undefined;
    const byte = block[i]!;
    size += (byte & 0x7f) * scale;
    if (byte < 0x80) {
      if (size >= 2 ** 32) break;
      return { size, start: i + 1 };
    }
    scale *= 128;
  }
  throw invalid("the answer is no snappy block: its length has more than 32 bits");
}

/** Bytes that a block of `size` bytes has at most when it is compressed (google/snappy, MaxCompressedLength). */
export function compressedBytesMax(size: number): number {
  return 32 + size + Math.floor(size / 6);
}

/** Decompresses a whole block. Allocates what it says its size is, when that is at most `bytesMax`. Throws RemoteReadError. */
export function decompressSnappy(block: Uint8Array, bytesMax: number): Buffer {
  const head = snappyHead(block);
  if (!head) throw truncated("the answer ends in the head of its snappy block");
  const { size, start } = head;
  if (size > bytesMax) throw tooLarge(`the answer has ${size} bytes, more than ${bytesMax}`);
  const out = Buffer.allocUnsafeSlow(size);
  if (decompress(block, start, out) !== size) throw truncated("the snappy block is shorter than it says");
  return out;
}

/** Returns how many bytes came out. */
function decompress(block: Uint8Array, start: number, out: Buffer): number {
  const end = block.length;
  const full = out.length;
  let p = start;
  let n = 0;
  while (p < end) {
    const tag = block[p++]!;
    const kind = tag & 3;
    let length = (tag >>> 2) + 1;
    if (kind === 0) {
      if (length > SHORT_LITERAL) {
        const bytes = length - SHORT_LITERAL;
        if (p + bytes > end) throw cut();
        length = 1;
        for (let i = 0, scale = 1; i < bytes; i++, scale *= 256) length += block[p++]! * scale;
      }
      if (p + length > end) throw cut();
      if (n + length > full) throw longer();
      if (length < LONG_COPY) for (const stop = p + length; p < stop;) out[n++] = block[p++]!;
      else {
        out.set(block.subarray(p, p + length), n);
        p += length;
        n += length;
      }
      continue;
    }
    let offset: number;
    if (kind === 1) {
      if (p >= end) throw cut();
      length = ((tag >>> 2) & 7) + 4;
      offset = ((tag >>> 5) << 8) | block[p++]!;
    } else {
      const bytes = kind === 2 ? 2 : 4;
      if (p + bytes > end) throw cut();
      offset = block[p]! | (block[p + 1]! << 8);
      if (kind === 3) offset += block[p + 2]! * 65_536 + block[p + 3]! * 16_777_216;
      p += bytes;
    }
    if (offset === 0 || offset > n) throw invalid("the snappy block copies bytes from before its beginning");
    if (n + length > full) throw longer();
    if (length >= LONG_COPY && offset >= length) {
      out.copyWithin(n, n - offset, n - offset + length);
      n += length;
    } else for (const stop = n + length; n < stop; n++) out[n] = out[n - offset]!;
  }
  return n;
}

/** A block of literals only: valid snappy, not smaller. Requests are a few hundred bytes. */
export function toSnappyBlock(bytes: Uint8Array): Buffer {
  const head: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest >>>= 7) head.push((rest & 0x7f) | 0x80);
  head.push(rest);
  const parts: Uint8Array[] = [Uint8Array.from(head)];
  for (let at = 0; at < bytes.length; at += LITERAL_BYTES_MAX) {
    const literal = bytes.subarray(at, at + LITERAL_BYTES_MAX);
    const last = literal.length - 1;
    parts.push(Uint8Array.of(LITERAL_TAG, last & 0xff, last >>> 8), literal);
  }
  return Buffer.concat(parts);
}

const cut = () => truncated("the snappy block ends in the middle of an element");
const longer = () => invalid("the snappy block is longer than it says");
