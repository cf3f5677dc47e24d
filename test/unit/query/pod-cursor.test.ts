import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { parsePodCursor, toPodCursor, type PodCursor } from "#query/state/pod-cursor.ts";

const CURSOR: PodCursor = {
  sort: "cpu",
  asked: "ns",
  key: "1482770",
  namespace: "ns",
  pod: 'p"\\',
  range: { fromMs: 1_748_775_600_000, toMs: 1_748_779_200_123 },
};

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

test("comes back as it was", () => {
  expect(parsePodCursor(toPodCursor(CURSOR), "cpu", "ns")).toEqual(CURSOR);
});

test.each([
  "",
  "!!!",
  encode(null),
  encode({}),
  encode([1, 2, 3, 4, 5, 6, 7]),
  encode(["cpu", "ns", "-1", "a", "b", "1", "2"]),
  encode(["cpu", "ns", "1", "a", "b", "x", "2"]),
  encode(["cpu", "ns", "1", "a", "b".repeat(513), "1", "2"]),
  encode(["name", "ns", "1", "a", "b", "1", "2"]),
  encode(["cpu", "other", "1", "a", "b", "1", "2"]),
  "A".repeat(5000),
])("refuses %s", (text) => {
  expect(() => parsePodCursor(text, "cpu", "ns")).toThrow(BridgeError);
});
