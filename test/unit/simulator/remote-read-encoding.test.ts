import { describe, expect, test } from "vitest";
import { ODD_VALUES } from "#simulator/oddities.ts";
import { crc32c, toFrame } from "#simulator/remote-read-frames.ts";
import { compressSnappy, decompressSnappy } from "#simulator/remote-read-snappy.ts";
import { xorChunk } from "#simulator/remote-read-xor.ts";
import {
  bitsOfValue,
  fromSnappy,
  readFrames,
  readXorChunk,
  STALE_BITS,
  toSnappyLiterals,
} from "../../helpers/remote-read-client.ts";
import type { ReadSample } from "../../helpers/remote-read-client.ts";

const NOW_MS = 1_700_000_000_000;

function written(timestamps: number[], values: number[], isMarker: number[] = []): ReadSample[] {
  return readXorChunk(Buffer.from(xorChunk({ timestamps, values, isMarker }, 0, values.length)));
}

function expected(timestamps: number[], values: number[], isMarker: number[] = []): ReadSample[] {
  return values.map((value, i) => ({
    ms: timestamps[i]!,
    bits: isMarker[i] === 1 ? STALE_BITS : bitsOfValue(value),
  }));
}

describe("XOR chunks", () => {
  test("one sample, two, and many at a steady pace", () => {
    const times = Array.from({ length: 120 }, (_, i) => NOW_MS + i * 15_000);
    const values = times.map((_, i) => Math.sin(i >> 1));
    for (const count of [1, 2, 3, 120]) {
      const part = [times.slice(0, count), values.slice(0, count)] as const;
      expect(written(...part)).toEqual(expected(...part));
    }
  });

  test("the bytes are those that Prometheus writes", () => {
    // tsdb/docs/format/chunks.md by hand: 1 sample; 0 ms; 1.0.
    expect(Buffer.from(xorChunk({ timestamps: [0], values: [1], isMarker: [] }, 0, 1)).toString("hex")).toBe(
      "0001003ff0000000000000",
    );
  });

  test("values at the edges of a double, both NaNs, and markers between samples", () => {
    const values = ODD_VALUES.flatMap(([, value]) => [value, Number.NaN, 0, value]);
    const isMarker = values.map((_, i) => (i % 4 === 1 ? 1 : 0));
    const times = values.map((_, i) => NOW_MS + i * 1000);
    expect(written(times, values, isMarker)).toEqual(expected(times, values, isMarker));
  });

  test("every width of a time that comes too early or too late", () => {
    const widths = [0, 1, -1, 8191, -8191, 8192, -8192, 8193, 65_536, -65_535, -65_536, 65_537, 524_288];
    const wide = [...widths, -524_287, -524_288, 524_289, 3_000_000_000, -3_000_000_000, 7];
    let delta = 4_000_000_000;
    let ms = NOW_MS;
    const times = [ms, (ms += delta), ...wide.map((width) => (ms += delta += width))];
    const values = times.map(() => 1);
    expect(written(times, values)).toEqual(expected(times, values));
    expect(written([-5, 0, 7], [1, 2, 3])).toEqual(expected([-5, 0, 7], [1, 2, 3]));
  });

  test("a part of the samples", () => {
    const samples = { timestamps: [1, 2, 3, 4], values: [10, 20, 30, 40], isMarker: [0, 0, 0, 0] };
    expect(readXorChunk(Buffer.from(xorChunk(samples, 1, 3)))).toEqual([
      { ms: 2, bits: bitsOfValue(20) },
      { ms: 3, bits: bitsOfValue(30) },
    ]);
  });
});

describe("snappy blocks", () => {
  const random = (length: number): Buffer => {
    let state = 1;
    return Buffer.from(
      Array.from({ length }, () => (state = Math.imul(state, 1_664_525) + 1_013_904_223) >>> 24),
    );
  };

  test.each([0, 1, 3, 4, 59, 60, 61, 256, 257, 65_536, 65_537])("%d bytes without repetition", (length) => {
    const input = random(length);
    const block = compressSnappy(input);
    expect(fromSnappy(block).bytes.equals(input)).toBe(true);
    expect(decompressSnappy(block, length).equals(input)).toBe(true);
  });

  test("repetitions become copies, near and far, that may overlap themselves", () => {
    const text = Buffer.concat([
      Buffer.from("abcd".repeat(1000)),
      random(3000),
      Buffer.from("metric=1,".repeat(30)),
      random(3000),
      random(70_000),
      random(70_000),
    ]);
    const block = compressSnappy(text);
    const { bytes, copies } = fromSnappy(block);
    expect(bytes.equals(text)).toBe(true);
    expect(copies).toBeGreaterThan(60);
    expect(block.length).toBeLessThan(text.length);
    expect(decompressSnappy(block, text.length).equals(text)).toBe(true);
  });

  test("a request's block that lies is refused with Prometheus' words", () => {
    const right = toSnappyLiterals(Buffer.from("0123456789"));
    const wrong = [
      "",
      "ffffffffff7f",
      "05",
      "0504",
      "050461",
      "0501ff",
      right.subarray(0, 5).toString("hex"),
      "0a0061fe0000",
    ];
    for (const hex of wrong) {
      expect(() => decompressSnappy(Buffer.from(hex, "hex"), 100)).toThrow("snappy: corrupt input");
    }
    expect(() => decompressSnappy(right, 9)).toThrow("snappy: decoded block is too large");
  });
});

describe("frames", () => {
  test("CRC-32C as RFC 3720 gives it", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 255))).toBe(0x62a8ab43);
  });

  test("a length of any width stands in front", () => {
    const messages = [1, 127, 128, 20_000].map((length) => Buffer.alloc(length, length));
    const frames = messages.map(toFrame);
    expect(frames.map((frame, i) => frame.length - messages[i]!.length)).toEqual([5, 5, 6, 7]);
    expect(readFrames(Buffer.concat(frames))).toEqual(messages);
  });
});
