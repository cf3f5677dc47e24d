import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createRowBinaryWriter } from "#allinone/row-binary.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";

/** LEB128 length and UTF-8, by Node's own encoder. */
function expectedText(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  const length: number[] = [];
  for (let rest = bytes.length; ; rest >>= 7) {
    if (rest < 128) {
      length.push(rest);
      break;
    }
    length.push((rest & 127) | 128);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

test("writes any texts as length and UTF-8, growing as needed", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.string({ unit: "grapheme-ascii", maxLength: 60 }),
    fc.string({ minLength: 16_000, maxLength: 17_000 }),
  );
  fc.assert(
    fc.property(fc.array(text), (texts) => {
      const writer = createRowBinaryWriter(1, 1_000_000_000);
      for (const each of texts) writer.string(each);
      expect(Buffer.from(writer.bytes()).equals(Buffer.concat(texts.map(expectedText)))).toBe(true);
    }),
  );
});

test("writes numbers little-endian, every bit as given", () => {
  const writer = createRowBinaryWriter(4, 100);
  writer.uint8(1);
  writer.int32(-2);
  writer.uint32(0xfffffffe);
  writer.int64(-1, 0x7fffffff);
  writer.float64(-0);
  writer.float64(5e-324);
  writer.copy(Buffer.from([9, 8]));
  expect(Buffer.from(writer.bytes()).toString("hex")).toBe(
    ["01", "feffffff", "feffffff", "ffffffffffffff7f", "0000000000000080", "0100000000000000", "0908"].join(
      "",
    ),
  );
  expect(writer.length).toBe(35);
});

test("refuses to grow beyond its limit", async () => {
  const writer = createRowBinaryWriter(1000, 10);
  writer.int64(0, 0);
  expect((await bridgeErrorOf(() => writer.string("abc"))).code).toBe("body_too_large");
});
