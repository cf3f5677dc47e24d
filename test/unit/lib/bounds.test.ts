import { array, assert, constantFrom, integer, object, property } from "fast-check";
import { describe, expect, test } from "vitest";
import { BridgeError, toErrorBody } from "#errors/error.ts";
import { boundList, boundObject, boundText } from "#lib/bounds.ts";

const KIB = 1024;

function bytesOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

const characters = constantFrom("a", "\u0001", "\u00e9", "\u{1f600}", '"', "\\", "\ud83d");
const texts = array(characters, { maxLength: 60 }).map((list) => list.join("").toWellFormed());

describe("a text", () => {
  test("is as it was up to the limit, and cut beyond it", () => {
    expect(boundText("x".repeat(98), 100)).toBe("x".repeat(98));
    const cut = boundText("x".repeat(99), 100);
    expect(cut).toMatch(/^x+\.\.\.$/);
    expect(bytesOf(cut)).toBeLessThanOrEqual(100);
  });

  test("of any characters is within the limit, and no pair is cut", () => {
    assert(
      property(texts, integer({ min: 16, max: 200 }), (text, max) => {
        const cut = boundText(text.repeat(3), max);
        expect(bytesOf(cut)).toBeLessThanOrEqual(max);
        expect(cut.isWellFormed()).toBe(true);
      }),
      { numRuns: 50 },
    );
    expect.hasAssertions();
  });
});

describe("an object", () => {
  test("keeps plain values, the first of a list, and says how many are left out", () => {
    const ports = Array.from({ length: 20_000 }, (_, i) => ({ name: `port-${i}`, port: i }));
    const bounded = boundObject({ ports, status: 404 }, 2000);
    const kept = bounded["ports"] as unknown[];
    expect(bounded["status"]).toBe(404);
    expect(kept.slice(0, 3)).toEqual(ports.slice(0, 3));
    expect(bounded["ports_omitted"]).toBe(20_000 - kept.length);
    expect(bytesOf(bounded)).toBeLessThanOrEqual(2000 + 200);
  });

  test("what is small is as JSON writes it", () => {
    const value = { a: [1, [2, null], { b: "c" }], d: { e: true, f: null }, g: new Date(0), h: undefined };
    expect(JSON.stringify(boundObject(value, 1000))).toBe(JSON.stringify(value).replace(/^/, ""));
  });

  test("any object is within the limit but for the last member", () => {
    assert(
      property(object({ maxDepth: 5, maxKeys: 50 }), (value) => {
        expect(bytesOf(boundObject(value, 500))).toBeLessThanOrEqual(500 + 500);
      }),
      { numRuns: 50 },
    );
    expect.hasAssertions();
  });
});

test("a list keeps its first items", () => {
  expect(boundList(["aa", "bb", "cc"], 10)).toEqual({ kept: ["aa", "bb"], omitted: 1 });
  expect(boundList(["aa"], 100)).toEqual({ kept: ["aa"], omitted: 0 });
});

describe("an error has at most 8 KiB with its details", () => {
  const deep = JSON.parse(`${'{"a":['.repeat(500)}${"]}".repeat(500)}`) as Record<string, unknown>;
  const wide = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key-${i}`, i]));
  test.each<[string, Record<string, unknown>]>([
    [
      "a long list of objects",
      { ports: Array.from({ length: 100_000 }, (_, i) => ({ name: `p${i}`, port: i })) },
    ],
    ["a long list of texts", { problems: Array.from({ length: 10_000 }, (_, i) => `problem ${i}`) }],
    ["one long text", { text: "x".repeat(1 << 20) }],
    ["a text of escapes", { text: "\u0001".repeat(1 << 20) }],
    ["a text of wide characters", { text: "\u{1f600}".repeat(1 << 18) }],
    ["many members", wide],
    ["a long name", { ["n".repeat(1 << 20)]: 1 }],
    ["lists in lists", { list: Array.from({ length: 1000 }, () => Array.from({ length: 1000 }, () => "x")) }],
    ["deep brackets", deep],
    [
      "many long lists",
      Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`l${i}`, ["x".repeat(500), "y"]])),
    ],
  ])("%s", (_name, details) => {
    const long = "\u00e9".repeat(100_000);
    const error = new BridgeError("prometheus_port_not_found", long, { details, hint: long });
    expect(bytesOf(toErrorBody(error))).toBeLessThanOrEqual(8 * KIB);
    expect(Buffer.byteLength(error.message)).toBeLessThanOrEqual(8 * KIB);
  });
});
