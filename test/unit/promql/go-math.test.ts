import { expect, test } from "vitest";
import { formatFloat, formatShort, parseFloatText } from "#promql/go-numbers.ts";
import { log, log10, log2, pow } from "#promql/go-math.ts";

// What Prometheus 3.15 answers.
test.each([
  [log10(1000), 3],
  [log10(100), 2],
  [log2(8), 3],
  [log2(2 ** -1074), -1074],
  [log(10), Math.LN10],
  [log10(125), 2.0969100130080567],
  [log(0), -Infinity],
  [log(-1), NaN],
  [pow(100, 100), 1.0000000000000005e200],
  [pow(2, 0.5), Math.SQRT2],
  [pow(-8, 1 / 3), NaN],
  [pow(1, NaN), 1],
  [pow(-1, -Infinity), 1],
  [pow(2, -1074), 5e-324],
  [pow(10, 309), Infinity],
  [pow(-0, -3), -Infinity],
  [pow(0.5, 1e300), 0],
])("Go's mathematics: %d is %d", (value, expected) => {
  expect(value).toBe(expected);
});

test.each([
  [1e21, "1000000000000000000000", "1e+21"],
  [-1.5e-7, "-0.00000015", "-1.5e-07"],
  [123456, "123456", "123456"],
  [1234567, "1234567", "1.234567e+06"],
  [0.0001, "0.0001", "0.0001"],
  [-0, "-0", "-0"],
  [NaN, "NaN", "NaN"],
  [-Infinity, "-Inf", "-Inf"],
])("%d is written as Go does", (value, full, short) => {
  expect(formatFloat(value)).toBe(full);
  expect(formatShort(value)).toBe(short);
});

test("a precision counts digits", () => {
  expect([1234, 0.5, 99.9, 0.0809].map((value) => formatShort(value, 2))).toEqual([
    "1.2e+03",
    "0.5",
    "1e+02",
    "0.081",
  ]);
});

test.each([
  ["+Inf", Infinity],
  ["-inf", -Infinity],
  ["1e3", 1000],
  [".5", 0.5],
  ["nan", NaN],
  ["", undefined],
  [" 1", undefined],
  ["0x", undefined],
  ["Hello", undefined],
])("the number in %j", (text, expected) => {
  expect(parseFloatText(text)).toBe(expected);
});
