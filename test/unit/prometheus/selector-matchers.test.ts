import { expect, test } from "vitest";
import { matchersOfSelector, toReadMatchers, withLabel } from "#prometheus/selector-matchers.ts";

const name = (value: string) => ({ name: "__name__", type: "=", value });

test.each([
  ["up", [name("up")]],
  ["up{}", [name("up")]],
  ['{"a.b"}', [name("a.b")]],
  ['{"a.b",c="d",}', [name("a.b"), { name: "c", type: "=", value: "d" }]],
  ["up{a='x\\'y'}", [name("up"), { name: "a", type: "=", value: "x'y" }]],
  ['up{a="\\x41\\u00e4\\U0001F680\\101\\n"}', [name("up"), { name: "a", type: "=", value: "Aä🚀A\n" }]],
  ["up{a!~`x\\n`}", [name("up"), { name: "a", type: "!~", value: "x\\n" }]],
  [
    '{"l.x"=~"a|b",c!=""}',
    [
      { name: "l.x", type: "=~", value: "a|b" },
      { name: "c", type: "!=", value: "" },
    ],
  ],
  ['constructor{a="1"}', [name("constructor"), { name: "a", type: "=", value: "1" }]],
])("the matchers of %s", (selector, expected) => {
  expect(matchersOfSelector(selector)).toEqual(expected);
});

test.each([
  'up{a="1" or b="2"}',
  'up{a="\\xff"}',
  'up{a="\\377"}',
  'up{a="\\ud800"}',
  'up{a="\\q"}',
  "up[5m]",
  "1",
])("%s can't be told for sure", (selector) => {
  expect(matchersOfSelector(selector)).toBeUndefined();
});

test("equalities are sent as anchored expressions, but the name's and those with the empty text", () => {
  const matchers = matchersOfSelector('up{a="x.y*(z)\\\\[1]",b="",c!="d.e",f=~"g.h"}')!;
  expect(toReadMatchers(matchers)).toEqual([
    name("up"),
    { name: "a", type: "=~", value: String.raw`x\.y\*\(z\)\\\[1\]` },
    { name: "b", type: "=", value: "" },
    { name: "c", type: "!=", value: "d.e" },
    { name: "f", type: "=~", value: "g.h" },
  ]);
});

test("a selector with one more label", () => {
  const matchers = matchersOfSelector("up{a='it\"s'}")!;
  expect(withLabel(matchers, "replica")).toBe('{__name__="up",a="it\\"s",replica!=""}');
  expect(withLabel(matchers, "with.dot")).toBe('{__name__="up",a="it\\"s","with.dot"!=""}');
});
