import { assert, integer, jsonValue, property } from "fast-check";
import { describe, expect, test } from "vitest";
import { createJsonReader, JsonReadError, type JsonLimits, type Pick } from "#lib/json-reader.ts";

const LIMITS: JsonLimits = { bytesMax: 1 << 20, depthMax: 64, valuesMax: 1000, textBytesMax: 1024 };
const SCALAR: Pick = { kind: "scalar" };

function object(fields: Record<string, Pick>): Pick {
  return { kind: "object", fields: new Map(Object.entries(fields)) };
}

function read(text: string | Buffer, pick: Pick, limits: Partial<JsonLimits> = {}, chunkBytes = 7): unknown {
  const bytes = Buffer.from(text as string);
  const reader = createJsonReader(pick, { ...LIMITS, ...limits });
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.push(bytes.subarray(at, at + chunkBytes));
  return reader.end();
}

function problemOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof JsonReadError) return error.problem;
    throw error;
  }
  return "none";
}

/** Wants everything of a value, as it is. */
function pickAll(value: unknown): Pick {
  if (Array.isArray(value)) {
    const [first] = value as unknown[];
    return { kind: "array", of: first === undefined ? SCALAR : pickAll(first) };
  }
  if (typeof value !== "object" || value === null) return SCALAR;
  return object(Object.fromEntries(Object.entries(value).map(([key, each]) => [key, pickAll(each)])));
}

describe("what is wanted", () => {
  const pick = object({
    name: SCALAR,
    labels: { kind: "map", of: SCALAR },
    items: { kind: "array", of: object({ id: SCALAR }) },
  });

  test("is read, the rest is skipped, wherever the chunks end", () => {
    const text = JSON.stringify({
      other: [{ name: "no", deep: [[["}]", '"', "\\"]]] }, 1.5e3, true, null],
      name: 'a "quoted" \\ \u00e9\u{1f600}\n name',
      labels: { a: "b", constructor: "c", __proto__x: "d" },
      items: [{ id: 1, x: {} }, { id: -2.5e-3 }, {}, { id: null }, { id: "s" }],
      last: { id: 3 },
    });
    const expected = {
      name: 'a "quoted" \\ \u00e9\u{1f600}\n name',
      labels: { a: "b", constructor: "c", __proto__x: "d" },
      items: [{ id: 1 }, { id: -2.5e-3 }, {}, { id: null }, { id: "s" }],
    };
    for (const chunkBytes of [1, 2, 3, 64, 4096]) expect(read(text, pick, {}, chunkBytes)).toEqual(expected);
    expect(read(JSON.stringify(JSON.parse(text), null, "\t"), pick)).toEqual(expected);
  });

  test("another kind than wanted is there without its content", () => {
    expect(read('{"name":{"x":1},"labels":[1],"items":"text"}', pick)).toEqual({
      name: {},
      labels: [],
      items: "text",
    });
  });

  test("items are handed over one by one, and values are counted for each alone", () => {
    const items: unknown[] = [];
    const list: Pick = { kind: "array", of: object({ id: SCALAR }), each: (item) => void items.push(item) };
    const many = Array.from({ length: 5000 }, (_, id) => ({ id, more: [id] }));
    expect(read(JSON.stringify({ items: many }), object({ items: list }), { valuesMax: 10 })).toEqual({
      items: [],
    });
    expect(items).toEqual(many.map(({ id }) => ({ id })));
  });

  test("a member called __proto__ is a member", () => {
    const found = read('{"labels":{"__proto__":"x"}}', pick) as { labels: object };
    expect(Object.entries(found.labels)).toEqual([["__proto__", "x"]]);
    expect(Object.getPrototypeOf(found.labels)).toBe(Object.prototype);
  });

  test("a text may be cut instead of being too long", () => {
    const cut = object({ help: { kind: "scalar", cutAt: 10 } });
    expect(read(`{"help":"${"x".repeat(5000)}"}`, cut)).toEqual({ help: "x".repeat(10) });
    expect(read(`{"help":"${"\\u00e9".repeat(5000)}"}`, cut)).toEqual({ help: "\u00e9" });
    expect(read(`{"help":"${"\\n".repeat(5000)}"}`, cut, {}, 4096)).toEqual({ help: "\n\n\n\n\n" });
  });

  const ESCAPED = String.raw`C:\\u12 \\\\ \\\u00e9\"\n${"x".repeat(5000)}`;

  test.each(Array.from({ length: 30 }, (_, index) => index + 1))(
    "a text may be cut after %i bytes, in the middle of an escape",
    (cutAt) => {
      const cut = object({ help: { kind: "scalar", cutAt } });
      const whole = JSON.parse(`"${ESCAPED}"`) as string;
      for (const chunkBytes of [1, 5, 4096]) {
        const { help } = read(`{"help":"${ESCAPED}"}`, cut, {}, chunkBytes) as { help: string };
        expect(whole.startsWith(help)).toBe(true);
        // An escape takes six bytes at most.
        expect(JSON.stringify(help).length - 2).toBeGreaterThanOrEqual(cutAt - 10);
      }
    },
  );

  test("a name that is too long and ends in the middle of an escape is left out", () => {
    const names: string[] = [];
    const each = (name: string): void => void names.push(name);
    const long = `${"x".repeat(1500)}${"\\u0041".repeat(200)}`;
    for (const chunkBytes of [1, 5, 7, 1501, 1503, 4096]) {
      expect(read(`{"a":1,"${long}":2,"b":3}`, { kind: "map", of: SCALAR, each }, {}, chunkBytes)).toEqual(
        {},
      );
    }
    expect(names).toEqual(Array.from({ length: 6 }, () => ["a", "b"]).flat());
  });

  test("any document that JSON.stringify writes is read as JSON.parse reads it", () => {
    const values = jsonValue({ maxDepth: 4 }).filter((value) => !containsArray(value));
    assert(
      property(values, integer({ min: 1, max: 20 }), (value, chunkBytes) => {
        const text = JSON.stringify({ list: [value, value], value });
        expect(read(text, pickAll(JSON.parse(text)), {}, chunkBytes)).toEqual(JSON.parse(text));
      }),
      { numRuns: 200 },
    );
    expect.hasAssertions();
  });
});

/** Items of one array may be of different kinds, which no Pick describes. */
function containsArray(value: unknown): boolean {
  if (Array.isArray(value)) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(containsArray);
}

describe("what is beyond the limits", () => {
  const pick = object({ items: { kind: "array", of: object({}) } });

  test.each([
    ["bytes", `{"x":"${"y".repeat(2 << 20)}"}`],
    ["depth", "[".repeat(65)],
    ["depth", `{"items":${'{"a":'.repeat(70)}`],
    ["depth", `{"x":${"[{}".replace("{}", "").repeat(70)}`],
    ["values", `{"items":[${"{},".repeat(2000)}{}]}`],
    ["values", `{"items":[${"1,".repeat(2000)}1]}`],
    ["values", `{"items":[${'"",'.repeat(2000)}1]}`],
  ])("%s", (problem, text) => {
    expect(problemOf(() => read(text, pick, {}, 4096))).toBe(problem);
  });

  test("a wanted text and a wanted name that are too long, but not an unwanted one", () => {
    const long = "y".repeat(2000);
    expect(problemOf(() => read(`{"a":"${long}"}`, object({ a: SCALAR })))).toBe("text");
    expect(problemOf(() => read(`{"${long}":"a"}`, { kind: "map", of: SCALAR }))).toBe("text");
    expect(read(`{"${long}":"${long}","a":1}`, object({ a: SCALAR }))).toEqual({ a: 1 });
  });
});

describe("what is no JSON", () => {
  const pick = object({ a: SCALAR });
  test.each([
    "<html>",
    "{a:1}",
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a":1]',
    '{"a":}',
    '{"a":1,}',
    "[1,]",
    '{"a":"\n"}',
    '{"a":"\\x"}',
    '{"a":tru}',
    '{"a":0x10}',
    '{"a":1}x',
    "{}{}",
    `{"a":${"1".repeat(1000)}}`,
  ])("%s", (text) => {
    expect(problemOf(() => read(text, pick))).toBe("invalid");
  });

  test.each(["", " ", "{", '{"a"', '{"a":"x', '{"a":1', "[[]", '{"a":"\\'])("ends too soon: %j", (text) => {
    expect(problemOf(() => read(text, pick))).toBe("truncated");
  });
});
