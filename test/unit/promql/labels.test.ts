import { describe, expect, test } from "vitest";
import { Labels, quote } from "#promql/labels.ts";

const set = (labels: Record<string, string>): Labels => Labels.of(Object.entries(labels));

describe("label sets", () => {
  test("are equal whatever the order, and an empty value is no label", () => {
    expect(set({ a: "1", b: "2" }).key).toBe(set({ b: "2", c: "", a: "1" }).key);
    expect(set({ a: "1" }).with("a", "")).toBe(Labels.EMPTY);
  });

  test("have different keys when only the borders of their texts differ", () => {
    expect(set({ a: "1b2" }).key).not.toBe(set({ a: "1", b: "2" }).key);
    expect(set({ a: "x", b: "" }).keyOf(["a", "b"])).not.toBe(set({ a: "", b: "x" }).keyOf(["a", "b"]));
    expect(set({ a: "x", c: "1" }).keyWithout(new Set(["c"]))).toBe(
      set({ a: "x" }).keyWithout(new Set(["c"])),
    );
  });

  test("are ordered as their UTF-8 bytes are, name by name", () => {
    const sets = [
      {},
      { a: "", b: "1" },
      { a: "1" },
      { a: "1", b: "1" },
      { a: "1", c: "0" },
      { a: "10" },
      { a: "é" },
      { a: "\uffef" },
      { a: "😀" },
    ];
    const ordered = [
      {},
      { a: "1" },
      { a: "1", b: "1" },
      { a: "1", c: "0" },
      { a: "10" },
      { a: "é" },
      { a: "\uffef" },
      { a: "😀" },
      { b: "1" },
    ];
    expect(
      sets
        .map(set)
        .sort((a, b) => Labels.compare(a, b))
        .map(String),
    ).toEqual(ordered.map(set).map(String));
  });

  test("lose what says which metric it was", () => {
    const labels = set({ __name__: "a", __type__: "counter", __unit__: "s", job: "b" });
    expect(labels.withoutMetadata().toString()).toBe('{job="b"}');
  });

  test("are written as Prometheus writes them", () => {
    expect(set({ "a.b": 'x"y', c: "\n" }).toString()).toBe('{"a.b"="x\\"y", c="\\n"}');
  });
});

test("a quoted text has escapes for what is not printable", () => {
  expect(quote("é\t\u0001\u200b\u{e0001}")).toBe('"é\\t\\x01\\u200b\\U000e0001"');
});
