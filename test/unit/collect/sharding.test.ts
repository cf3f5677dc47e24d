import { expect, test } from "vitest";
import { findAlike, findDifferent, groupByTargets, type PodTargets } from "#collect/sharding.ts";

const pod = (name: string, targets?: string): PodTargets => ({
  pod: name,
  targets: targets === undefined ? undefined : new Set(targets),
});

test("Pods with a common target are of one group, also by way of a third one", () => {
  expect(groupByTargets([pod("a", "123"), pod("b", "456"), pod("c", "34"), pod("d", "789")])).toEqual([
    ["a", "b", "c"],
    ["d"],
  ]);
});

test("Pods of one Deployment are of one group, and Pods without known targets of none", () => {
  const names = ["prom-a-6d4f8c7b9d-x2x4k", "prom-a-6d4f8c7b9d-zzzzz"];
  expect(groupByTargets([pod(names[0]!, "12"), pod(names[1]!, "34"), pod("b", "5"), pod("c")])).toEqual([
    ["b"],
    ["prom-a"],
  ]);
});

test("two Pods are alike when the smaller one's targets are mostly the other's as well", () => {
  expect(findAlike([pod("a", "1234"), pod("b", "56"), pod("c", "7123")])).toEqual(["a", "c"]);
  expect(findAlike([pod("a", "1234"), pod("b", "156789"), pod("c")])).toBeUndefined();
});

test("two Pods differ when they have less than half of their targets in common", () => {
  expect(findDifferent([pod("a", "123"), pod("b", "1234567")])).toEqual(["a", "b"]);
  expect(findDifferent([pod("a", "1234"), pod("b", "12345"), pod("c")])).toBeUndefined();
});
