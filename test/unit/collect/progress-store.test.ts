import { expect, test } from "vitest";
import { newQueryProgress } from "#collect/progress.ts";
import {
  deleteProgress,
  openProgress,
  progressKeys,
  readProgress,
  readShards,
} from "#collect/progress-store.ts";
import { BridgeError } from "#errors/error.ts";
import type { StateStore } from "#state/store.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";

test("a cluster that is not known has an empty record, and what is saved is read again", async () => {
  const store = createMemoryStore();
  expect(await readProgress(store, "one")).toEqual({ version: 1, pod: null, queries: {}, last: null });
  const file = await openProgress(store, "one");
  file.progress.queries["a"] = newQueryProgress("up", 5);
  await file.save();
  expect((await readProgress(store, "one")).queries["a"]!.from).toBe(5);
  expect(await store.get("progress:one")).toBeDefined();
  const again = await openProgress(store, "one");
  expect(again.progress).toEqual(file.progress);
  await again.save();
});

test("writes never overlap; calls while one is under way are joined into one more, which has their changes", async () => {
  const memory = createMemoryStore();
  let under = 0;
  let most = 0;
  const store: StateStore = {
    ...memory,
    put: async (...input) => {
      most = Math.max(most, ++under);
      try {
        return await memory.put(...input);
      } finally {
        under--;
      }
    },
  };
  const file = await openProgress(store, "one");
  const saves: Promise<void>[] = [];
  for (let i = 0; i < 50; i++) {
    file.progress.queries[`q${i}`] = newQueryProgress("up", i);
    saves.push(file.save());
    // Every possible moment of the write before, one microtask after the other.
    for (let tick = 0; tick < i % 8; tick++) await Promise.resolve();
  }
  await Promise.all(saves);
  expect(most).toBe(1);
  expect(memory.writes()).toBeLessThan(50);
  expect(Object.keys((await readProgress(store, "one")).queries)).toHaveLength(50);
});

test("a write that fails rejects its callers and not the next ones", async () => {
  const store = createMemoryStore();
  const file = await openProgress(store, "one");
  store.failure = new BridgeError("state_unavailable", "disk full");
  const first = bridgeErrorOf(file.save());
  const joined = bridgeErrorOf(file.save());
  expect((await first).code).toBe("state_unavailable");
  expect((await joined).code).toBe("state_unavailable");
  store.failure = undefined;
  await file.save();
  // The first one was that of its opening.
  expect(store.writes()).toBe(2);
});

test.each([[null], [1], [[]], [{}], [{ version: 2, pod: null, queries: {}, last: null }]])(
  "%j is no progress, and not taken for an empty one",
  async (value) => {
    const store = createMemoryStore();
    await store.put("progress:one", value, undefined);
    expect((await bridgeErrorOf(readProgress(store, "one"))).code).toBe("state_record_damaged");
    expect((await bridgeErrorOf(openProgress(store, "one"))).code).toBe("state_record_damaged");
  },
);

test("a concurrent writer of the record wins", async () => {
  const store = createMemoryStore();
  const [mine, theirs] = [await openProgress(store, "one"), await openProgress(store, "one")];
  await theirs.save();
  expect((await bridgeErrorOf(mine.save())).code).toBe("state_conflict");
});

test("each shard has records of its own, and a deletion removes those of all, also when the list of them is lost", async () => {
  const store = createMemoryStore();
  const file = await openProgress(store, "one");
  const shards = [0, 1, 2].map((number) => ({ number, name: `shard ${number}`, members: [] }));
  const facts = { service: "a/b", by: "pod_names" as const, reason: "names", decided_at: 0 };
  file.progress.sharding = { ...facts, decision: "shards", shards };
  await file.save();
  for (const shard of [1, 2]) {
    const own = await openProgress(store, "one", undefined, shard);
    own.progress.queries["a"] = newQueryProgress("up", shard);
    await own.save();
  }
  const read = await readShards(store, "one");
  expect(read.map(({ recordId, progress }) => [recordId, progress.queries["a"]?.from])).toEqual([
    ["one", undefined],
    ["one:1", 1],
    ["one:2", 2],
  ]);
  await store.delete("progress:one");
  await deleteProgress(store, "one");
  expect(progressKeys("one")).toContain("collected:one:2");
  for (const key of progressKeys("one")) expect(await store.get(key)).toBeUndefined();
});
