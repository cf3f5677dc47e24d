import { assert } from "#lib/assert.ts";

/** The types that are read, with the bytes of a value. A UInt64 is two elements: the lower 32 bits and the upper ones. */
const TYPES = {
  Float64: { bytes: 8, of: (buffer: ArrayBuffer) => new Float64Array(buffer) },
  UInt64: { bytes: 8, of: (buffer: ArrayBuffer) => new Uint32Array(buffer) },
  UInt8: { bytes: 1, of: (buffer: ArrayBuffer) => new Uint8Array(buffer) },
} as const;
const LISTS = "Array(Float64)";

type FixedType = keyof typeof TYPES;
type NativeType = FixedType | typeof LISTS;
type ColumnOf<T extends NativeType> = T extends FixedType
  ? ReturnType<(typeof TYPES)[T]["of"]>
  : Float64Array[];

/** The rows of a block: a column for each name. */
export type NativeBlock<Types extends Record<string, NativeType>> = { rows: number } & {
  [Name in keyof Types]: ColumnOf<Types[Name]>;
};

/** The blocks of an answer in ClickHouse's format Native whose columns are exactly these, in their order. */
export function* readNative<Types extends Record<string, NativeType>>(
  bytes: Uint8Array,
  types: Types,
): Generator<NativeBlock<Types>> {
  const expected = Object.entries(types);
  let at = 0;
  const varint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      assert(byte !== undefined && scale <= 2 ** 42, "an answer in the format Native is whole");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const text = (): string => {
    const length = varint();
    at += length;
    return Buffer.from(bytes.buffer, bytes.byteOffset + at - length, length).toString();
  };
  const fixed = <T extends FixedType>(type: T, count: number): ReturnType<(typeof TYPES)[T]["of"]> => {
    const end = at + count * TYPES[type].bytes;
    assert(end <= bytes.length, "an answer in the format Native is whole");
    // A copy: the numbers stand at no multiple of their size.
    const column = TYPES[type].of(new Uint8Array(bytes.subarray(at, end)).buffer);
    at = end;
    return column as ReturnType<(typeof TYPES)[T]["of"]>;
  };
  /** The ends of all lists, and the numbers of all. */
  const lists = (rows: number): Float64Array[] => {
    const halves = fixed("UInt64", rows);
    const endOf = (row: number): number => (row < 0 ? 0 : halves[2 * row]! + halves[2 * row + 1]! * 2 ** 32);
    const all = fixed("Float64", endOf(rows - 1));
    return Array.from({ length: rows }, (_none, row) => all.subarray(endOf(row - 1), endOf(row)));
  };
  while (at < bytes.length) {
    const columns = varint();
    const rows = varint();
    assert(columns === expected.length, "an answer has the columns that were asked for");
    const block: Record<string, unknown> = { rows };
    for (const [name, type] of expected) {
      assert(text() === name && text() === type, "a column has the name and type that were asked for");
      block[name] = type === LISTS ? lists(rows) : fixed(type, rows);
    }
    yield block as NativeBlock<Types>;
  }
}
