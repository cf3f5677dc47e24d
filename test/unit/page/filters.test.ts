import { array, assert, constantFrom, property, record, string } from "fast-check";
import { expect, it } from "vitest";
import { OPERATORS, toFilters, toText } from "#page/filters.ts";

it("are in an address as people write them", () => {
  const filters = [
    { label: "mode", op: "!=", value: "idle" },
    { label: "cpu", op: "=~", value: "0|1" },
  ];
  expect(toText(filters)).toBe("mode!=idle,cpu=~0|1");
  expect(toFilters(" mode!=idle , cpu=~0|1")).toEqual(filters);
});

it("keep every label and value", () => {
  const filter = record({
    label: string({ minLength: 1, unit: "grapheme" }).filter((text) => text.trim() === text),
    op: constantFrom(...OPERATORS),
    value: string({ unit: "grapheme" }).filter((text) => text.trim() === text),
  });
  assert(
    property(array(filter, { maxLength: 4 }), (filters) => {
      expect(toFilters(toText(filters))).toEqual(filters);
    }),
  );
  const hard = [{ label: "a=b,c", op: "!~", value: " {1,2} 100%, %2c" }];
  expect(toFilters(toText(hard))).toEqual(hard);
});

it.each(["", ",", "mode", "=x", "  !=y"])("leave out what is no filter: %j", (text) => {
  expect(toFilters(text)).toEqual([]);
});
