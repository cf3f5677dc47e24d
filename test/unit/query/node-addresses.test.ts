import { expect, test } from "vitest";
import { hostOf, toNodeAddresses } from "#query/node-addresses.ts";

const span = (address: string, node: string, since: number, until: number) => ({
  address,
  node,
  since_ms: String(since),
  until_ms: String(until),
});

test.each([
  [0, "a", "before every list: the first one"],
  [100, "a", "within a node's time"],
  [200, "a", "at its last list"],
  [201, "b", "read by the collection that listed the next node"],
  [300, "b", "at the next node's first list"],
  [500, "b", "after every list: the last one"],
])("at %d the address is node %s's: %s", (timeMs, node) => {
  const addresses = toNodeAddresses([span("10.0.0.1", "b", 300, 400), span("10.0.0.1", "a", 50, 200)]);
  expect(addresses.nodeOf("10.0.0.1", timeMs)).toBe(node);
});

test("an address of no list is nobody's", () => {
  const addresses = toNodeAddresses([span("10.0.0.1", "a", 0, 10)]);
  expect(addresses.nodeOf("10.0.0.2", 5)).toBeUndefined();
  expect(addresses.nodeOf("__proto__", 5)).toBeUndefined();
});

test.each([
  ["10.0.0.1:9100", "10.0.0.1"],
  ["10.0.0.1", "10.0.0.1"],
  ["node-1.example:9100", "node-1.example"],
  ["node-1", "node-1"],
  ["[fd00::1]:9100", "fd00::1"],
  ["[fd00::1]", "fd00::1"],
  ["fd00::1", "fd00::1"],
  ["", ""],
])("the host of the instance '%s' is '%s'", (instance, host) => {
  expect(hostOf(instance)).toBe(host);
});
