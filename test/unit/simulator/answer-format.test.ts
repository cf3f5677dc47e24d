import { assert, constantFrom, double, property, string } from "fast-check";
import { describe, expect, test } from "vitest";
import { formatLabels, formatScalar, formatText, formatTime, formatValue } from "#simulator/answer-format.ts";

describe("values as a real Prometheus printed them", () => {
  test.each([
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "+Inf"],
    [Number.NEGATIVE_INFINITY, "-Inf"],
    [-0, "-0"],
    [0.1 + 0.2, "0.30000000000000004"],
    [5e-324, "5e-324"],
    [1e-7, "1e-07"],
    [1.5e-10, "1.5e-10"],
    [0.000001, "0.000001"],
    [123456789012345680000, "123456789012345680000"],
    [1e21, "1e+21"],
    [1.7976931348623157e308, "1.7976931348623157e+308"],
  ])("%s is %s", (value, text) => {
    expect(formatValue(value)).toBe(text);
  });

  test("any double comes back from its text", () => {
    assert(
      property(double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Number(formatValue(value))).toBe(value);
        expect(Number(formatScalar(value))).toBe(value);
      }),
    );
  });

  test("scalars never have an exponent", () => {
    expect(formatScalar(1e-7)).toBe("0.0000001");
    expect(formatScalar(1e-10)).toBe("0.0000000001");
    expect(formatScalar(-1.5e-7)).toBe("-0.00000015");
    expect(formatScalar(1e21)).toBe("1000000000000000000000");
    expect(formatScalar(1.7976931348623157e308)).toBe(`17976931348623157${"0".repeat(292)}`);
    expect(formatScalar(Number.NaN)).toBe("NaN");
  });
});

test("times have no decimals or three", () => {
  expect(formatTime(1_700_000_000_000)).toBe("1700000000");
  expect(formatTime(1_700_000_000_005)).toBe("1700000000.005");
  expect(formatTime(1_700_000_000_050)).toBe("1700000000.050");
  expect(formatTime(1_700_000_000_500)).toBe("1700000000.500");
});

// Prometheus' answers to label_replace(vector(1), "a", "<this text>", "", "").
const ODD = '<>&/\u2028\u2029\u007f\u0001\u0008\u000c\t\r\n\\"é😀';

test("texts are escaped as by each version", () => {
  expect(formatText(ODD, 3)).toBe('"<>&/\u2028\u2029\u007f\\u0001\\u0008\\u000c\\t\\r\\n\\\\\\"é😀"');
  expect(formatText(ODD, 2)).toBe(
    '"\\u003c\\u003e\\u0026/\\u2028\\u2029\u007f\\u0001\\u0008\\u000c\\t\\r\\n\\\\\\"é😀"',
  );
});

test("any label set comes back through JSON", () => {
  assert(
    property(string({ unit: "grapheme" }), constantFrom(2 as const, 3 as const), (text, version) => {
      expect(JSON.parse(formatLabels([["a", text]], version))).toEqual({ a: text });
    }),
  );
});
