import type { JsonReader } from "./json-reader.ts";
import type { Turns } from "./turns.ts";

/** Bytes that are read between two looks at the clock. */
const SLICE_BYTES = 16 << 10;

/** A piece that is smaller than this part of the buffer that it lies in is copied. */
const SMALL_SHARE = 4;

/**
 * The piece itself, or a copy when it is a small part of its buffer: a queued piece would keep the whole buffer alive. The queue of a stream
 * counts the pieces, not their buffers.
 */
export function copyIfSmall(piece: Buffer): Buffer {
  return piece.length * SMALL_SHARE < piece.buffer.byteLength ? Buffer.from(piece) : piece;
}

/**
 * The whole of a body, or undefined when it is larger than `bytesMax` (leaving destroys the stream). It is copied as it comes: a small piece
 * would keep the whole buffer of the socket alive that it lies in.
 */
export async function readBytes(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): Promise<Buffer | undefined> {
  let buffer = Buffer.alloc(0);
  let length = 0;
  for await (const part of body) {
    if (length + part.length > bytesMax) return undefined;
    if (length + part.length > buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(bytesMax, Math.max(1024, 2 * (length + part.length))));
      buffer.copy(larger, 0, 0, length);
      buffer = larger;
    }
    buffer.set(part, length);
    length += part.length;
  }
  return buffer.subarray(0, length);
}

/** The first bytes of a body, at most `bytesMax`; the rest is not read. */
export async function readBeginning(body: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(bytesMax);
  let length = 0;
  for await (const part of body) {
    const taken = part.subarray(0, bytesMax - length);
    buffer.set(taken, length);
    length += taken.length;
    if (length === bytesMax) break;
  }
  return buffer.subarray(0, length);
}

/** Reads a body as JSON, giving up the event loop whenever `turns` asks for it. Throws the errors of the reader and of the stream. */
export async function readJson(
  body: AsyncIterable<Uint8Array>,
  reader: JsonReader,
  turns: Turns,
): Promise<unknown> {
  for await (const part of body) {
    for (let at = 0; at < part.length; at += SLICE_BYTES) {
      reader.push(part.subarray(at, at + SLICE_BYTES));
      const pause = turns.pause();
      if (pause) await pause;
    }
  }
  return reader.end();
}
