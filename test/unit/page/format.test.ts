import { describe, expect, it } from "vitest";
import { ageOf, bytes, count, duration, number, percent } from "#page/format.ts";

describe("what was not measured", () => {
  it("is a dash, and 0 is 0", () => {
    expect([percent(null), count(null), number(null), bytes(null), bytes(undefined)]).toEqual([
      "–",
      "–",
      "–",
      "–",
      "–",
    ]);
    expect([percent(0), count(0), number(0), bytes(0)]).toEqual(["0.0 %", "0", "0", "0 B"]);
    expect(number(Number.NaN)).toBe("–");
  });
});

describe("numbers", () => {
  it.each([
    [number(0.000_123_4), "0.000123"],
    [number(9_999), "9999"],
    [number(12_345), "12.3 k"],
    [number(999_999), "1000 k"],
    [number(-12_345, "W"), "-12.3 k W"],
    [number(2.5e15), "2500 T"],
    [count(1_234_567), "1 234 567"],
    [bytes(1023), "1020 B"],
    [bytes(1024), "1 KiB"],
    [bytes(255.54 * 2 ** 30), "256 GiB"],
    [percent(28.74), "28.7 %"],
  ])("%s", (text, expected) => {
    expect(text).toBe(expected);
  });
});

describe("ages", () => {
  it.each([
    [0, "0 s"],
    [119, "119 s"],
    [120, "2 min"],
    [7199, "120 min"],
    [7200, "2 h"],
    [90_000, "25 h"],
    [200_000, "2.3 d"],
    // A clock that is behind the program's shows no time in the future.
    [-5, "0 s"],
  ])("%s s are %s", (seconds, expected) => {
    expect(duration(seconds)).toBe(expected);
  });

  it("of no time is not 0", () => {
    expect(ageOf(null, 1000)).toBeNull();
    expect(ageOf("1970-01-01T00:00:01.000Z", 61_000)).toBe(60);
  });
});
