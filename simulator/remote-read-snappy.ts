import { varintLength } from "./remote-read-protobuf.ts";
import { QueryError } from "./query-error.ts";

const HASH_BITS = 14;
const COPY_MIN = 4;
const OFFSET_MAX = 65_535;
/** Of a copy with a two-byte offset. */
const COPY_MAX = 64;

/** A snappy block (no frames): literals and copies, as far back as two bytes tell. */
export function compressSnappy(input: Buffer): Buffer {
  const out = new BlockWriter(input);
  const lastSeen = new Int32Array(1 << HASH_BITS).fill(-1);
  let literalFrom = 0;
  let at = 0;
  while (at + COPY_MIN <= input.length) {
    const word = input.readUInt32LE(at);
    const slot = Math.imul(word, 0x1e35a7bd) >>> (32 - HASH_BITS);
    const seen = lastSeen[slot] ?? -1;
    lastSeen[slot] = at;
    if (seen < 0 || at - seen > OFFSET_MAX || input.readUInt32LE(seen) !== word) {
      at++;
      continue;
    }
    let length = COPY_MIN;
    while (at + length < input.length && input[seen + length] === input[at + length]) length++;
    out.literal(literalFrom, at);
    out.copy(at - seen, length);
    at += length;
    literalFrom = at;
  }
  out.literal(literalFrom, input.length);
  return out.bytes();
}

class BlockWriter {
  readonly #input: Buffer;
  readonly #out: Buffer;
  #length: number;

  constructor(input: Buffer) {
    this.#input = input;
    // A literal's head costs at most 5 bytes, and between two literals a copy saves at least one.
    this.#out = Buffer.allocUnsafe(32 + input.length + Math.ceil(input.length / 4));
    this.#length = writeVarint(this.#out, 0, input.length);
  }

  literal(from: number, to: number): void {
    const length = to - from;
    if (length === 0) return;
    const rest = length - 1;
    if (rest < 60) this.#out[this.#length++] = rest << 2;
    else {
      const bytes = rest < 256 ? 1 : rest < 65_536 ? 2 : rest < 16_777_216 ? 3 : 4;
      this.#out[this.#length++] = (59 + bytes) << 2;
      this.#length = this.#out.writeUIntLE(rest, this.#length, bytes);
    }
    this.#input.copy(this.#out, this.#length, from, to);
    this.#length += length;
  }

  copy(offset: number, length: number): void {
    let left = length;
    while (left > 0) {
      const part = Math.min(left, COPY_MAX);
      left -= part;
      if (part >= 4 && part <= 11 && offset < 2048) {
        this.#out[this.#length++] = ((offset >> 8) << 5) | ((part - 4) << 2) | 1;
        this.#out[this.#length++] = offset & 255;
      } else {
        this.#out[this.#length++] = ((part - 1) << 2) | 2;
        this.#length = this.#out.writeUInt16LE(offset, this.#length);
      }
    }
  }

  bytes(): Buffer {
    return this.#out.subarray(0, this.#length);
  }
}

/** The head of a block that claims to hold so many bytes. */
export function snappyHead(length: number): Buffer {
  const head = Buffer.alloc(varintLength(length));
  writeVarint(head, 0, length);
  return head;
}

function writeVarint(out: Buffer, at: number, value: number): number {
  let end = at;
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out[end++] = (rest % 128) | 128;
  out[end++] = rest;
  return end;
}

/** The content of a snappy block. Throws QueryError, with the words of Prometheus, when it is none. */
export function decompressSnappy(block: Buffer, bytesMax: number): Buffer {
  let at = 0;
  const take = (bytes: number): number => {
    if (at + bytes > block.length) throw corrupt();
    at += bytes;
    return block.readUIntLE(at - bytes, bytes);
  };
  let size = 0;
  for (let shift = 1, more = true; more; shift *= 128) {
    const byte = take(1);
    size += (byte & 127) * shift;
    more = byte > 127;
    if (size > 0xffffffff) throw corrupt();
  }
  if (size > bytesMax) throw new QueryError(400, "bad_data", "snappy: decoded block is too large");
  const out = Buffer.alloc(size);
  let length = 0;
  while (at < block.length) {
    const tag = take(1);
    const kind = tag & 3;
    if (kind === 0) {
      const short = tag >> 2;
      const count = (short < 60 ? short : take(short - 59)) + 1;
      if (at + count > block.length || length + count > size) throw corrupt();
      block.copy(out, length, at, at + count);
      at += count;
      length += count;
      continue;
    }
    const count = kind === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const offset = kind === 1 ? (tag >> 5) * 256 + take(1) : take(kind === 2 ? 2 : 4);
    if (offset === 0 || offset > length || length + count > size) throw corrupt();
    for (const end = length + count; length < end; length++) out[length] = out[length - offset] ?? 0;
  }
  if (length !== size) throw corrupt();
  return out;
}

function corrupt(): QueryError {
  return new QueryError(400, "bad_data", "snappy: corrupt input");
}
