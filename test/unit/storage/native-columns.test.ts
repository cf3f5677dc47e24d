import { expect, it } from "vitest";
import { readNative } from "#storage/native-columns.ts";

const TYPES = { id: "UInt64", value: "Float64", flag: "UInt8" } as const;

/** A block as ClickHouse writes it. */
function toBlock(rows: readonly [id: bigint, value: number, flag: number][]): Buffer {
  const text = (name: string): Buffer => Buffer.from([name.length, ...Buffer.from(name)]);
  const column = (
    name: string,
    type: string,
    size: number,
    put: (into: Buffer, k: number) => void,
  ): Buffer => {
    const data = Buffer.alloc(rows.length * size);
    for (let k = 0; k < rows.length; k++) put(data, k);
    return Buffer.concat([text(name), text(type), data]);
  };
  return Buffer.concat([
    Buffer.from([3, (rows.length & 127) | 128, rows.length >> 7]),
    column("id", "UInt64", 8, (into, k) => into.writeBigUInt64LE(rows[k]![0], 8 * k)),
    column("value", "Float64", 8, (into, k) => into.writeDoubleLE(rows[k]![1], 8 * k)),
    column("flag", "UInt8", 1, (into, k) => into.writeUInt8(rows[k]![2], k)),
  ]);
}

it("reads columns of blocks, with all bits", () => {
  const blocks = [
    ...readNative(
      Buffer.concat([
        toBlock([
          [2n ** 64n - 1n, -0, 1],
          [1n, Number.NaN, 0],
        ]),
        toBlock([[2n ** 32n, 0.1, 1]]),
      ]),
      TYPES,
    ),
  ];
  expect(blocks).toEqual([
    {
      rows: 2,
      id: Uint32Array.of(0xffff_ffff, 0xffff_ffff, 1, 0),
      value: Float64Array.of(-0, Number.NaN),
      flag: Uint8Array.of(1, 0),
    },
    { rows: 1, id: Uint32Array.of(0, 1), value: Float64Array.of(0.1), flag: Uint8Array.of(1) },
  ]);
  expect([...readNative(new Uint8Array(), TYPES)]).toEqual([]);
});

it("refuses bytes that end anywhere inside, and other columns", () => {
  const whole = toBlock([[1n, 2, 3]]);
  for (let length = 1; length < whole.length; length++)
    expect(() => [...readNative(whole.subarray(0, length), TYPES)]).toThrow("assertion failed");
  expect(() => [...readNative(whole, { ...TYPES, more: "UInt8" })]).toThrow("assertion failed");
  expect(() => [...readNative(whole, { id: "Float64", value: "Float64", flag: "UInt8" })]).toThrow(
    "assertion failed",
  );
});
