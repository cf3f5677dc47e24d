import { expect, test } from "vitest";
import { isPodOf, operatorShardOf, shardName, shardsByName, stableName } from "#clusters/pod-names.ts";

test.each([
  ["two shards", ["prometheus-k8s-0", "prometheus-k8s-shard-1-0"], "prometheus-k8s", [0, 1], []],
  [
    "each with two replicas",
    ["prometheus-k8s-0", "prometheus-k8s-1", "prometheus-k8s-shard-1-0", "prometheus-k8s-shard-1-1"],
    "prometheus-k8s",
    [0, 1],
    [],
  ],
  // A StatefulSet without Pods is there all the same.
  [
    "one in between without Pods",
    ["prometheus-k8s-0", "prometheus-k8s-shard-2-0"],
    "prometheus-k8s",
    [0, 1, 2],
    [],
  ],
  [
    "another Prometheus beside it",
    ["prometheus-apps-0", "prometheus-k8s-0", "prometheus-k8s-shard-1-0"],
    "prometheus-k8s",
    [0, 1],
    ["prometheus-apps-0"],
  ],
  [
    "a number beyond the limit",
    ["prometheus-k8s-0", "prometheus-k8s-shard-1-0", "prometheus-k8s-shard-99-0"],
    "prometheus-k8s",
    [0, 1],
    ["prometheus-k8s-shard-99-0"],
  ],
])("names show shards: %s", (_name, pods, base, numbers, strangers) => {
  expect(shardsByName(pods, undefined)).toEqual({ base, numbers, strangers });
});

test.each([
  ["replicas", ["prometheus-k8s-0", "prometheus-k8s-1"]],
  ["a Prometheus that has such a name itself", ["prometheus-x-shard-1-0", "prometheus-x-shard-1-1"]],
  ["two Prometheus", ["prometheus-a-0", "prometheus-b-shard-1-0"]],
  ["a Deployment", ["prometheus-server-6d4f8c7b9d-x2x4k", "prometheus-server-6d4f8c7b9d-zzzzz"]],
  ["a Pod without a number", ["prometheus", "prometheus-shard-1"]],
])("names show no shards: %s", (_name, pods) => {
  expect(shardsByName(pods, undefined)).toBeUndefined();
});

test("of two Prometheus with shards, the one that was read before counts", () => {
  const pods = ["a", "b"].flatMap((name) => [`prometheus-${name}-0`, `prometheus-${name}-shard-1-0`]);
  expect(shardsByName(pods, "prometheus-b-shard-1-0")?.base).toBe("prometheus-b");
  expect(shardsByName(pods, "gone")?.base).toBe("prometheus-a");
});

test("a number that is expected makes shards of the Pods of one shard that is not the first", () => {
  expect(shardsByName(["prometheus-k8s-shard-1-0"], undefined, true)?.numbers).toEqual([0, 1]);
  expect(shardsByName(["prometheus-k8s-0"], undefined, true)).toBeUndefined();
});

test("a Pod's shard, its StatefulSet and its lasting name", () => {
  expect(operatorShardOf("prometheus-k8s-shard-12-3")).toBe(12);
  expect(operatorShardOf("prometheus-k8s-3")).toBe(0);
  expect([shardName("prometheus-k8s", 0), shardName("prometheus-k8s", 2)]).toEqual([
    "prometheus-k8s",
    "prometheus-k8s-shard-2",
  ]);
  expect(isPodOf("prometheus-k8s", "prometheus-k8s-shard-1-0")).toBe(true);
  expect(isPodOf("prometheus-k8s", "prometheus-k8s2-0")).toBe(false);
  expect(stableName("prom-a-6d4f8c7b9d-x2x4k")).toBe("prom-a");
  expect(stableName("prometheus-k8s-0")).toBe("prometheus-k8s-0");
});
