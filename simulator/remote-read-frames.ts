import { varintLength } from "./remote-read-protobuf.ts";

const CASTAGNOLI = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
  CASTAGNOLI[byte] = rest;
}

/** CRC-32C (Castagnoli). */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CASTAGNOLI[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A message as the stream carries it: its length (uvarint), its CRC-32C (big-endian), its bytes. */
export function toFrame(message: Uint8Array): Buffer {
  const lengthBytes = varintLength(message.length);
  const frame = Buffer.alloc(lengthBytes + 4 + message.length);
  let rest = message.length;
  for (let i = 0; i < lengthBytes; i++, rest = Math.floor(rest / 128)) {
    frame[i] = (rest % 128) | (i < lengthBytes - 1 ? 128 : 0);
  }
  frame.writeUInt32BE(crc32c(message), lengthBytes);
  frame.set(message, lengthBytes + 4);
  return frame;
}
