/** CRC-32C's polynomial (Castagnoli), reflected: RFC 3720, appendix B.4. `zlib.crc32` has another one. */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** Table k gives a byte's part in the checksum when k bytes follow it. */
const TABLES = Array.from({ length: SLICES }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  TABLES[0]![byte] = crc;
}
for (let slice = 1; slice < SLICES; slice++) {
  for (let byte = 0; byte < 256; byte++) {
    const before = TABLES[slice - 1]![byte]!;
    TABLES[slice]![byte] = (before >>> 8) ^ TABLES[0]![before & 0xff]!;
  }
}
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/**
 * CRC-32C of bytes [start, end), 0 to 2^32 - 1. `previous` is the checksum of the bytes before them. Takes eight bytes a step ("slicing-by-8",
 * Intel 2006).
 */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, previous = 0): number {
  let crc = ~previous;
  let p = start;
  for (const last = end - SLICES; p <= last; p += SLICES) {
    crc ^= bytes[p]! | (bytes[p + 1]! << 8) | (bytes[p + 2]! << 16) | (bytes[p + 3]! << 24);
    crc =
      T7[crc & 0xff]! ^
      T6[(crc >>> 8) & 0xff]! ^
      T5[(crc >>> 16) & 0xff]! ^
      T4[crc >>> 24]! ^
      T3[bytes[p + 4]!]! ^
      T2[bytes[p + 5]!]! ^
      T1[bytes[p + 6]!]! ^
      T0[bytes[p + 7]!]!;
  }
  for (; p < end; p++) crc = (crc >>> 8) ^ T0[(crc ^ bytes[p]!) & 0xff]!;
  return ~crc >>> 0;
}
