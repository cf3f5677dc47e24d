import { crc32c } from "./crc32c.ts";
import { invalid, RemoteReadError, tooLarge } from "./remote-read-error.ts";

/** The stream's head of a frame: its size as a varint, and the CRC-32C of its bytes, big-endian. */
const CHECKSUM_BYTES = 4;
const SIZE_BYTES_MAX = 10;
const FIRST_BYTES = 4096;
const LINE_FEED = 0x0a;
const TEXT_BYTES_MIN = 8;
const TEXT_BYTES_MAX = 512;

/**
 * Cuts a stream into frames (storage/remote/chunked.go). A frame that lies in one piece of the stream is not copied. What is held of others grows with the bytes
 * that have come, not with what a head announces.
 */
export interface FrameReader {
  /**
   * Reads on in the piece from `at`. Returns the position after the last byte taken; `frame` is set when a frame is whole. Throws RemoteReadError.
   */
  read(piece: Uint8Array, at: number): number;
  /** The present frame: its bytes are [start, end) of `bytes`. */
  readonly frame: { bytes: Uint8Array; start: number; end: number } | undefined;
  /** The frame is read: goes on with the next one. */
  release(): void;
  /** Is the stream's end here an end between two frames? Throws `truncated` when not. */
  end(): void;
}

export function createFrameReader(frameBytesMax: number): FrameReader {
  let held: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  let size = 0;
  let scale = 1;
  let sizeBytes = 0;
  let isSizeKnown = false;
  let checksum = 0;
  let checksumBytes = 0;
  let heldBytes = 0;
  let frames = 0;
  let frame: FrameReader["frame"];

  /** The frame's head and its bytes so far, when they are a text: what http.Error of Go wrote behind the frames. */
  const textOf = (body: Uint8Array): string | undefined => {
    const head = Buffer.alloc(1 + CHECKSUM_BYTES);
    head[0] = size & 0xff;
    head.writeUInt32BE((checksum << (8 * (CHECKSUM_BYTES - checksumBytes))) >>> 0, 1);
    const bytes = Buffer.concat([head.subarray(0, 1 + checksumBytes), body.subarray(0, TEXT_BYTES_MAX)]);
    const isText =
      sizeBytes === 1 && bytes.every((byte) => byte === LINE_FEED || (byte >= 0x20 && byte < 0x7f));
    return isText && bytes.length >= TEXT_BYTES_MIN ? bytes.toString("latin1").trim() : undefined;
  };

  const readHead = (piece: Uint8Array, from: number): number => {
    let p = from;
    while (!isSizeKnown && p < piece.length) {
      const byte = piece[p++]!;
      size += (byte & 0x7f) * scale;
      scale *= 128;
      if (++sizeBytes > SIZE_BYTES_MAX)
        throw invalid(`the size of frame ${frames + 1} has more than 64 bits`);
      if (byte < 0x80) isSizeKnown = true;
    }
    if (isSizeKnown && size > frameBytesMax) {
      throw tooLarge(`frame ${frames + 1} of the answer has ${size} bytes, more than ${frameBytesMax}`);
    }
    while (isSizeKnown && checksumBytes < CHECKSUM_BYTES && p < piece.length) {
      checksum = ((checksum << 8) | piece[p++]!) >>> 0;
      checksumBytes++;
    }
    return p;
  };

  const hold = (piece: Uint8Array, from: number): number => {
    const count = Math.min(size - heldBytes, piece.length - from);
    if (heldBytes + count > held.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(heldBytes + count, Math.min(size, held.length * 2)));
      larger.set(held.subarray(0, heldBytes));
      held = larger;
    }
    held.set(piece.subarray(from, from + count), heldBytes);
    heldBytes += count;
    return from + count;
  };

  const open = (bytes: Uint8Array, start: number): void => {
    frames++;
    if (crc32c(bytes, start, start + size) !== checksum) {
      const message = `frame ${frames} of the answer is damaged: its CRC-32C differs`;
      throw new RemoteReadError("checksum", message, textOf(bytes.subarray(start, start + size)));
    }
    frame = { bytes, start, end: start + size };
  };

  return {
    get frame() {
      return frame;
    },
    read: (piece, at) => {
      const p = readHead(piece, at);
      if (checksumBytes < CHECKSUM_BYTES) return p;
      if (heldBytes === 0 && piece.length - p >= size) {
        open(piece, p);
        return p + size;
      }
      const after = hold(piece, p);
      if (heldBytes === size) open(held, 0);
      return after;
    },
    release: () => {
      frame = undefined;
      size = 0;
      scale = 1;
      sizeBytes = 0;
      isSizeKnown = false;
      checksum = 0;
      checksumBytes = 0;
      heldBytes = 0;
    },
    end: () => {
      if (sizeBytes === 0) return;
      const message = `the answer ends in the middle of frame ${frames + 1}`;
      throw new RemoteReadError("truncated", message, textOf(held.subarray(0, heldBytes)));
    },
  };
}
