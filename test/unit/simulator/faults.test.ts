import { expect, test } from "vitest";
import { createFaultBoard } from "#simulator/faults.ts";

test("skip and times choose which of the matching requests are hit", async () => {
  const board = createFaultBoard();
  const source = board.source("a");
  await board.set("a", { layer: "prometheus", kind: "not-ready", path: "/api/v1/query", skip: 1, times: 2 });
  const hit = (path: string): boolean => source.ofPrometheus(path, "up") !== undefined;
  expect(hit("/api/v1/metadata")).toBe(false);
  expect([1, 2, 3, 4].map(() => hit("/api/v1/query"))).toEqual([false, true, true, false]);
});

test("a part of the query, a resource and the layer limit a fault", async () => {
  const board = createFaultBoard();
  const source = board.source("a");
  await board.set(
    "a",
    { layer: "prometheus", kind: "not-ready", query: "node_" },
    { layer: "api", kind: "status", status: 500, resource: "nodes" },
  );
  expect(source.ofPrometheus("/api/v1/query", "up[5m]")).toBeUndefined();
  expect(source.ofPrometheus("/api/v1/query", "node_load1[5m]")).toMatchObject({ kind: "not-ready" });
  expect(source.ofApi("services")).toBeUndefined();
  expect(source.ofApi("nodes")).toMatchObject({ status: 500 });
  expect(source.ofTunnel()).toBeUndefined();
});

test("each cluster has its own faults, and set replaces what was before", async () => {
  const board = createFaultBoard();
  const [a, b] = [board.source("a"), board.source("b")];
  await board.set("a", { layer: "tunnel", kind: "hang" });
  await board.set("b", { layer: "tunnel", kind: "stall", afterBytes: 3 });
  await board.set("a", { layer: "tunnel", kind: "text-frame" });
  expect([a.ofTunnel()?.kind, b.ofTunnel()?.kind]).toEqual(["text-frame", "stall"]);
  await board.clear();
  expect([a.ofTunnel(), b.ofTunnel()]).toEqual([undefined, undefined]);
  await expect(board.set("c")).rejects.toThrow('no cluster "c"');
});

test("traffic is counted by layer, strangers too, and the list of requests is bounded", () => {
  const board = createFaultBoard();
  const source = board.source("a");
  source.saw({ layer: "api", what: "get services", user: null });
  for (let i = 0; i < 20_000; i++)
    source.saw({ layer: "prometheus", what: "/api/v1/query", query: String(i) });
  const { api, prometheus, strangers, requests } = board.traffic("a");
  expect({ api, prometheus, strangers }).toEqual({ api: 1, prometheus: 20_000, strangers: 1 });
  expect(requests.length).toBeLessThanOrEqual(10_000);
  expect(requests.at(-1)?.query).toBe("19999");
  board.forget("a");
  expect(board.traffic("a").prometheus).toBe(0);
});
