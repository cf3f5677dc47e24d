import { expect, test } from "vitest";
import { larger, mean, quantile, smaller, sum } from "#simulator/reduce.ts";

test("a sum keeps what each addition rounds off", () => {
  expect(sum([1e16, 1, -1e16, 1])).toBe(2);
  expect(sum([1e308, 1e308])).toBe(Infinity);
  expect(sum([1, Number.NaN])).toBeNaN();
});

test("a mean is right where the sum is more than a double holds", () => {
  expect(mean([1.5e308, 1.1e308])).toBeCloseTo(1.3e308, -300);
  expect(mean([1, 2, Infinity])).toBe(Infinity);
  expect(mean([Infinity, -Infinity])).toBeNaN();
});

test("a quantile lies between its neighbours, and NaN counts as the least value", () => {
  expect(quantile(0.5, [4, 1, 3, 2])).toBe(2.5);
  expect(quantile(0.9, Float64Array.of(0, 10))).toBe(9);
  expect(quantile(1, [Number.NaN, 5, Number.NaN])).toBe(5);
  expect(quantile(0, [Number.NaN, 5])).toBeNaN();
  expect([quantile(-1, [1]), quantile(2, [1])]).toEqual([-Infinity, Infinity]);
  expect(quantile(Number.NaN, [1])).toBeNaN();
});

test("NaN is neither the least nor the greatest while there is a number", () => {
  const values = [Number.NaN, 3, Number.NaN, 2];
  expect([values.reduce(smaller), values.reduce(larger)]).toEqual([2, 3]);
});
