import { expect, test } from "vitest";
import { fencedRecords } from "#collect/fenced-records.ts";
import { gatedRecords } from "#collect/gated-records.ts";
import { BridgeError } from "#errors/error.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createCollection, MINUTE } from "../../helpers/collection.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";

const KEY = "progress:one";

test("a former owner can't write what the new one has read, and hears why", async () => {
  const store = createMemoryStore();
  const [former, next] = [fencedRecords(store, 1), fencedRecords(store, 2)];
  const etag = await former.put(KEY, { at: 1 }, undefined);
  expect((await next.get(KEY))!.value).toMatchObject({ at: 1 });
  // The new owner has only read it.
  const error = await bridgeErrorOf(former.put(KEY, { at: 2 }, etag));
  expect(error).toMatchObject({ code: "lease_lost", details: { epoch: 2 } });
  expect((await bridgeErrorOf(former.get(KEY))).code).toBe("lease_lost");
  expect((await bridgeErrorOf(former.delete(KEY))).code).toBe("lease_lost");
  expect((await store.get(KEY))!.value).toMatchObject({ at: 1, epoch: 2 });
});

test("a write of the former owner that comes between is read, and not lost", async () => {
  const store = createMemoryStore();
  const former = fencedRecords(store, 1);
  const etag = await former.put(KEY, { at: 1 }, undefined);
  let isFirst = true;
  const next = fencedRecords(
    {
      ...store,
      put: async (key, value, known) => {
        if (isFirst) await former.put(KEY, { at: 2 }, etag);
        isFirst = false;
        return await store.put(key, value, known);
      },
    },
    2,
  );
  expect((await next.get(KEY))!.value).toMatchObject({ at: 2 });
  expect((await store.get(KEY))!.value).toMatchObject({ at: 2, epoch: 2 });
});

test("its own write whose answer was lost is no conflict; what another collection wrote is one", async () => {
  const store = createMemoryStore();
  const own = fencedRecords(store, 1);
  const first = await own.put(KEY, { at: 1 }, undefined);
  await own.put(KEY, { at: 2 }, first);
  await own.put(KEY, { at: 3 }, first);
  expect((await store.get(KEY))!.value).toMatchObject({ at: 3, epoch: 1 });
  const later = fencedRecords(store, 1);
  expect((await bridgeErrorOf(later.put(KEY, { at: 4 }, first))).code).toBe("state_conflict");
  expect((await store.get(KEY))!.value).toMatchObject({ at: 3 });
});

test("a record that was deleted is not made again", async () => {
  const store = createMemoryStore();
  const own = fencedRecords(store, 1);
  const etag = await own.put(KEY, { at: 1 }, undefined);
  await store.delete(KEY);
  expect((await bridgeErrorOf(own.put(KEY, { at: 2 }, etag))).code).toBe("lease_lost");
  expect(await store.get(KEY)).toBeUndefined();
});

test("a process writes only the records of clusters that it holds", async () => {
  const store = createMemoryStore();
  const held = new Set(["one"]);
  const records = gatedRecords(store, (id) => held.has(id));
  const etag = await records.put("progress:one:2", { at: 1 }, undefined);
  for (const key of ["progress:two", "proof:two:1"])
    expect((await bridgeErrorOf(records.put(key, {}, undefined))).code).toBe("lease_lost");
  held.clear();
  expect((await bridgeErrorOf(records.put("progress:one:2", { at: 2 }, etag))).code).toBe("lease_lost");
  expect((await bridgeErrorOf(records.delete("progress:one:2"))).code).toBe("lease_lost");
  expect((await records.get("progress:one:2"))!.value).toEqual({ at: 1 });
});

test("a collection whose cluster is taken over meanwhile is skipped: no failure of the cluster, and nothing of it committed", async () => {
  const collection = createCollection();
  expect(await collection.run({ epoch: 1 })).toMatchObject({ outcome: "successful" });
  collection.advance(5 * MINUTE);
  const before = await collection.progress();
  let isTaken = false;
  collection.deps.openPrometheus = async (...args) => {
    // The next owner begins while this one connects.
    if (!isTaken) await fencedRecords(collection.store, 2).get("progress:one");
    isTaken = true;
    return await collection.prometheus.open(...args);
  };
  const result = await collection.run({ epoch: 1 });
  expect(result).toMatchObject({ outcome: "skipped", error: { code: "lease_lost", details: { epoch: 2 } } });
  const after = await collection.progress();
  expect({ ...after, epoch: 0, by: "" }).toEqual({ ...before, epoch: 0, by: "" });
  expect(await collection.run({ epoch: 2 })).toMatchObject({ outcome: "successful" });
});

test("a collection that loses its lease ends at once, and records nothing", async () => {
  const collection = createCollection();
  await collection.run({ epoch: 1 });
  const before = await collection.progress();
  collection.advance(5 * MINUTE);
  const lost = new AbortController();
  lost.abort(new BridgeError("lease_lost", "another replica took it over"));
  const result = await collection.run({ epoch: 1, signal: lost.signal });
  expect(result).toMatchObject({ outcome: "skipped", error: { code: "lease_lost" } });
  expect((await collection.progress()).last).toEqual(before.last);
});
