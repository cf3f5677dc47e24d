import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createMemoryStore, type MemoryStore } from "../../helpers/memory-store.ts";
import { clusterRecord, createCrashingStore, openStoredClusters } from "../../helpers/stored-clusters.ts";

const idsOf = (clusters: readonly { id: string }[]): string[] => clusters.map(({ id }) => id);
const MINUTE = 60_000;

async function storeWith(...ids: string[]): Promise<MemoryStore> {
  const store = createMemoryStore();
  const { clusters } = openStoredClusters(store);
  for (const id of ids) await clusters.create(clusterRecord(id));
  return store;
}

describe("registering, changing and deleting", () => {
  test("a cluster is listed at once, also by another process", async () => {
    const store = createMemoryStore();
    const { clusters } = openStoredClusters(store);
    const other = openStoredClusters(store);
    expect(await other.clusters.list()).toEqual([]);
    const target = { port: 9091, path_prefix: "/prom" };
    await clusters.create(clusterRecord("b", { prometheus: target, validate_certs: false }));
    await clusters.create(clusterRecord("a"));
    for (const each of [clusters, other.clusters])
      expect(idsOf(await each.list()).sort()).toEqual(["a", "b"]);
    expect((await clusters.list()).find(({ id }) => id === "b")).toEqual({
      id: "b",
      name: "name of b",
      platform: "kind",
      enabled: true,
      credentials: { kind: "sealed", jwe: "jwe of b" },
      prometheus: {
        namespace: "bud-system",
        service: "prometheus",
        port: 9091,
        scheme: "http",
        pathPrefix: "/prom",
      },
      validateCerts: false,
      source: "api",
      labels: {},
      facts: clusterRecord("b").facts,
      registered: { createdAt: "2025-06-01T12:00:00.000Z", updatedAt: "2025-06-01T12:00:00.000Z" },
    });
    expect(await store.get("clusters:index")).toMatchObject({ value: { ids: ["a", "b"] } });
  });

  test("an id is taken once", async () => {
    const { clusters } = openStoredClusters(await storeWith("a"));
    expect((await bridgeErrorOf(clusters.create(clusterRecord("a")))).code).toBe("cluster_exists");
  });

  test("two processes that register the same id at once: one of them, wholly", async () => {
    for (let round = 0; round < 20; round++) {
      const store = createMemoryStore();
      const made = await Promise.allSettled(
        ["x", "y", "z"].map(async (name) => {
          const { clusters } = openStoredClusters(store);
          for (let i = 0; i < (round * name.charCodeAt(0)) % 7; i++) await Promise.resolve();
          return await clusters.create(clusterRecord("a", { name, jwe: name }));
        }),
      );
      const [first, ...more] = made.filter((each) => each.status === "fulfilled").map(({ value }) => value);
      const refused = made
        .filter((each) => each.status === "rejected")
        .map(({ reason }) => reason as BridgeError);
      expect([more, refused.map(({ code }) => code)]).toEqual([[], ["cluster_exists", "cluster_exists"]]);
      const { clusters } = openStoredClusters(store);
      expect(await clusters.list()).toMatchObject([{ name: first?.name, credentials: { jwe: first?.name } }]);
    }
  });

  test("many at once lose nothing", async () => {
    const store = createMemoryStore();
    const processes = [openStoredClusters(store), openStoredClusters(store)];
    const ids = Array.from({ length: 30 }, (_, i) => `c${String(i).padStart(2, "0")}`);
    await Promise.all(ids.map((id, i) => processes[i % 2]!.clusters.create(clusterRecord(id))));
    await Promise.all(ids.slice(0, 10).map((id, i) => processes[(i + 1) % 2]!.clusters.remove(id)));
    for (const { clusters } of processes) expect(idsOf(await clusters.list()).sort()).toEqual(ids.slice(10));
  });

  test("a change needs the record's ETag, and is seen by others", async () => {
    const store = await storeWith("a", "b");
    const { clusters } = openStoredClusters(store);
    const other = openStoredClusters(store);
    await other.clusters.list();
    const { record, etag } = (await clusters.read("a"))!;
    await clusters.replace({ ...record, name: "new" }, etag);
    for (const each of [clusters, other.clusters])
      expect((await each.list()).find(({ id }) => id === "a")?.name).toBe("new");
    expect((await bridgeErrorOf(clusters.replace({ ...record, name: "newer" }, etag))).code).toBe(
      "state_conflict",
    );
  });

  test("a deleted cluster's record, progress and index entry are gone, and its id is free", async () => {
    const store = await storeWith("a", "b");
    await store.put("progress:a", {}, undefined);
    const { clusters, forgotten } = openStoredClusters(store);
    await clusters.list();
    await clusters.remove("a");
    expect(idsOf(await clusters.list())).toEqual(["b"]);
    expect(forgotten).toEqual(["a"]);
    for (const key of ["cluster:a", "progress:a"]) expect(await store.get(key)).toBeUndefined();
    expect(JSON.stringify(await store.get("clusters:index"))).not.toContain('"a"');
    expect((await bridgeErrorOf(clusters.remove("a"))).code).toBe("cluster_not_found");
    expect(await clusters.read("a")).toBeUndefined();
    await clusters.create(clusterRecord("a"));
    expect(idsOf(await clusters.list()).sort()).toEqual(["a", "b"]);
  });

  test("its keys are gone before its work has ended, and nobody lists it meanwhile", async () => {
    const store = await storeWith("a");
    const { promise, resolve } = Promise.withResolvers<void>();
    const { clusters } = openStoredClusters(store, { forget: () => promise });
    const removed = clusters.remove("a");
    const other = openStoredClusters(store, { forget: () => promise });
    while ((await store.get("cluster:a")) !== undefined) await Promise.resolve();
    expect(await clusters.list()).toEqual([]);
    expect(await other.clusters.list()).toEqual([]);
    resolve();
    await removed;
  });

  test("as many as allowed, as large as allowed", async () => {
    const { clusters } = openStoredClusters(createMemoryStore(), { clustersMax: 2 });
    await clusters.create(clusterRecord("a"));
    await clusters.create(clusterRecord("b"));
    expect((await bridgeErrorOf(clusters.create(clusterRecord("c")))).code).toBe("cluster_limit_reached");
    const { record, etag } = (await clusters.read("a"))!;
    const large = clusterRecord("a", { jwe: "x".repeat(200_000) });
    expect((await bridgeErrorOf(clusters.replace({ ...record, ...large }, etag))).code).toBe(
      "body_too_large",
    );
    expect((await bridgeErrorOf(clusters.create({ ...large, id: "d" }))).code).toBe("body_too_large");
  });
});

describe("a list that is read often", () => {
  test("costs one read while nothing changes, and none of the records after a change of one's own", async () => {
    const store = await storeWith("a", "b", "c");
    const reads: string[] = [];
    const counting = { ...store, get: <T>(key: string) => (reads.push(key), store.get<T>(key)) };
    const { clusters } = openStoredClusters(counting);
    expect(await clusters.list()).toHaveLength(3);
    expect(reads.splice(0)).toEqual(["clusters:index", "cluster:a", "cluster:b", "cluster:c"]);
    await clusters.list();
    expect(reads.splice(0)).toEqual(["clusters:index"]);
    await clusters.create(clusterRecord("d"));
    await clusters.remove("a");
    reads.splice(0);
    expect(idsOf(await clusters.list()).sort()).toEqual(["b", "c", "d"]);
    expect(reads).toEqual(["clusters:index"]);
  });

  test("survives an outage of the store for an hour, and says so", async () => {
    const store = await storeWith("a");
    const { clusters, clock } = openStoredClusters(store);
    await clusters.list();
    expect(clusters.warnings()).toEqual([]);
    clock.advance(MINUTE);
    store.failure = new BridgeError("state_unavailable", "the store is away");
    expect(idsOf(await clusters.list())).toEqual(["a"]);
    expect(clusters.warnings()).toEqual([
      "the list of clusters is that of 2023-11-14T22:13:20.000Z: the store is away",
    ]);
    expect((await bridgeErrorOf(clusters.create(clusterRecord("b")))).code).toBe("state_unavailable");
    clock.advance(60 * MINUTE);
    expect((await bridgeErrorOf(clusters.list())).code).toBe("state_unavailable");
    store.failure = undefined;
    expect(idsOf(await clusters.list())).toEqual(["a"]);
    expect(clusters.warnings()).toEqual([]);
  });

  test("a store that never answered gives no list", async () => {
    const store = createMemoryStore();
    store.failure = new BridgeError("state_unavailable", "the store is away");
    expect((await bridgeErrorOf(openStoredClusters(store).clusters.list())).code).toBe("state_unavailable");
  });

  test("a damaged record hurts no other cluster, and can be deleted", async () => {
    const store = await storeWith("a", "b");
    const { etag } = (await store.get("cluster:a"))!;
    await store.put("cluster:a", { id: "a", jwe: 1 }, etag);
    const { clusters } = openStoredClusters(store);
    expect(idsOf(await clusters.list())).toEqual(["b"]);
    expect(clusters.warnings()).toEqual([expect.stringMatching(/^a: the record can't be read/)]);
    expect(await clusters.read("a")).toBeUndefined();
    await clusters.remove("a");
    expect(clusters.warnings()).toEqual([]);
  });

  test("a damaged list is named with its remedy, which is not to delete it", async () => {
    const store = await storeWith("a");
    const { etag } = (await store.get("clusters:index"))!;
    await store.put("clusters:index", [1], etag);
    const unreadable = {
      ...store,
      get: () => Promise.reject(new BridgeError("state_record_damaged", "the record is not JSON")),
    };
    for (const each of [store, unreadable]) {
      const error = await bridgeErrorOf(openStoredClusters(each).clusters.list());
      expect(error).toMatchObject({ code: "state_record_damaged", hint: expect.stringMatching(/^Restore/) });
      expect(error.hint).not.toContain("delete");
    }
  });

  test("a record in another cluster's place is not taken for it", async () => {
    const store = await storeWith("a", "b");
    const [{ etag }, { value }] = [(await store.get("cluster:a"))!, (await store.get("cluster:b"))!];
    await store.put("cluster:a", value, etag);
    expect(idsOf(await openStoredClusters(store).clusters.list())).toEqual(["b"]);
  });

  test("a change that failed half-way is read again", async () => {
    const store = await storeWith("a");
    let isBroken = false;
    const breaking = {
      ...store,
      put: async (key: string, value: unknown, etag: string | undefined) => {
        if (isBroken && key === "clusters:index") throw new BridgeError("state_unavailable", "away");
        return await store.put(key, value, etag);
      },
    };
    const { clusters } = openStoredClusters(breaking);
    await clusters.list();
    const { record, etag } = (await clusters.read("a"))!;
    isBroken = true;
    expect((await bridgeErrorOf(clusters.replace({ ...record, name: "new" }, etag))).code).toBe(
      "state_unavailable",
    );
    expect(await clusters.list()).toMatchObject([{ name: "new" }]);
  });
});

describe("kill -9 at each step", () => {
  const STEPS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].flatMap((crashAt) =>
    [false, true].map((isDone) => [crashAt, isDone] as const),
  );

  test.each(STEPS)("of registering: call %i, done: %s", async (crashAt, isDone) => {
    const store = await storeWith("other");
    const crashing = createCrashingStore(store, crashAt, isDone);
    const created = openStoredClusters(crashing.store).clusters.create(clusterRecord("a", { name: "first" }));
    const end = await Promise.race([crashing.crashed, created.then(() => "created" as const)]);

    const { clusters, clock } = openStoredClusters(store);
    const before = idsOf(await clusters.list());
    expect(before).toEqual(expect.arrayContaining(end === "created" ? ["a", "other"] : ["other"]));
    // A repeated request gets the cluster, or the error that it already exists.
    const again = await clusters
      .create(clusterRecord("a", { name: "second" }))
      .catch((error: BridgeError) => error);
    const expected = before.includes("a") ? { code: "cluster_exists" } : { name: "second" };
    expect(again).toMatchObject(expected);
    expect(idsOf(await clusters.list()).sort()).toEqual(["a", "other"]);
    clock.advance(60 * MINUTE);
    await clusters.recover();
    expect(idsOf(await clusters.list()).sort()).toEqual(["a", "other"]);
  });

  test.each(STEPS)("of registering, given up: call %i, done: %s", async (crashAt, isDone) => {
    const store = await storeWith("other");
    const crashing = createCrashingStore(store, crashAt, isDone);
    const created = openStoredClusters(crashing.store).clusters.create(clusterRecord("a"));
    await Promise.race([crashing.crashed, created]);

    const { clusters, clock } = openStoredClusters(store);
    const listed = idsOf(await clusters.list()).includes("a");
    clock.advance(11 * MINUTE);
    await clusters.recover();
    // No keys are left behind of a cluster that nobody sees.
    expect((await store.get("cluster:a")) !== undefined).toBe(listed);
    expect((await store.get("clusters:index"))?.value).toEqual({
      ids: listed ? ["a", "other"] : ["other"],
      creating: [],
      deleting: [],
    });
  });

  test.each(STEPS)("of deleting: call %i, done: %s", async (crashAt, isDone) => {
    const store = await storeWith("a", "other");
    await store.put("progress:a", {}, undefined);
    const crashing = createCrashingStore(store, crashAt, isDone);
    const removed = openStoredClusters(crashing.store).clusters.remove("a");
    await Promise.race([crashing.crashed, removed]);

    const { clusters } = openStoredClusters(store);
    const listed = idsOf(await clusters.list());
    await clusters.recover();
    await clusters.idle();
    expect(listed).toContain("other");
    const isWhole = listed.includes("a");
    for (const key of ["cluster:a", "progress:a"]) expect((await store.get(key)) !== undefined).toBe(isWhole);
    expect((await store.get("clusters:index"))?.value).toEqual({
      ids: isWhole ? ["a", "other"] : ["other"],
      creating: [],
      deleting: [],
    });
    // Only a death before the first write leaves it as it was.
    expect(isWhole).toBe(crashAt === 1 || (crashAt === 2 && !isDone));
  });

  test("listing finishes what was begun, without anybody asking for it", async () => {
    const store = await storeWith("a");
    const crashing = createCrashingStore(store, 3, false);
    void openStoredClusters(crashing.store).clusters.remove("a");
    await crashing.crashed;
    const { clusters, forgotten, clock } = openStoredClusters(store);
    expect(await clusters.list()).toEqual([]);
    clock.advance(MINUTE - 1);
    expect(await clusters.list()).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve));
    // Another process may be at work on it.
    expect(forgotten).toEqual([]);
    clock.advance(1);
    expect(await clusters.list()).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(forgotten).toEqual(["a"]);
    await clusters.idle();
    expect(await store.get("cluster:a")).toBeUndefined();
  });
});
