import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { countRequests } from "#state/counted-store.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { testStore } from "../../helpers/store-contract.ts";

testStore("counted", () => countRequests(createMemoryStore()).store);

test("each request is counted by its outcome", async () => {
  const memory = createMemoryStore();
  const { store, counts } = countRequests(memory);
  await store.put("a", 1, undefined);
  await bridgeErrorOf(store.put("a", 2, undefined));
  await store.get("a");
  await store.getMany(["a", "b"]);
  memory.failure = new BridgeError("state_unavailable", "down");
  await bridgeErrorOf(store.get("a"));
  expect(counts()).toEqual([
    { operation: "put", outcome: "ok", count: 1 },
    { operation: "put", outcome: "conflict", count: 1 },
    { operation: "get", outcome: "ok", count: 1 },
    { operation: "get_many", outcome: "ok", count: 1 },
    { operation: "get", outcome: "failed", count: 1 },
  ]);
});
