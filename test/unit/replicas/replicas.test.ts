import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import {
  createReplicaWorld,
  settled,
  type ReplicaWorld,
  type WorldReplica,
} from "../../helpers/replica-world.ts";

const SECOND = 1000;
const CLUSTERS = Array.from({ length: 30 }, (_, i) => `c${i}`);

interface StoredLease {
  owner: string | null;
  epoch: number;
}

async function leaseOf(world: ReplicaWorld, clusterId: string): Promise<StoredLease | undefined> {
  return (await world.store.get<StoredLease>(`lease:${clusterId}`))?.value;
}

/** Ends a collection of each cluster that the replica owns. */
async function endCollections({ replicas, owned }: WorldReplica): Promise<void> {
  for (const id of owned()) await replicas.ended(id);
}

/** Each cluster has exactly one owner. */
function expectShared(clusters: readonly string[], ...replicas: WorldReplica[]): void {
  expect(replicas.flatMap(({ owned }) => owned()).sort()).toEqual([...clusters].sort());
}

/** Replicas that share the clusters out evenly. */
async function shared(world: ReplicaWorld, ...replicas: WorldReplica[]): Promise<void> {
  await world.start(...replicas);
  for (let round = 0; round < 2; round++) {
    await world.pass(15 * SECOND);
    for (const one of replicas) await endCollections(one);
  }
  await world.pass(10 * SECOND);
  expectShared(world.clusters, ...replicas);
  for (const { owned } of replicas) expect(owned().length).toBeGreaterThan(2);
}

test("one replica takes every cluster when it is asked for the first time", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const a = world.replica("a");
  await world.start(a);
  const leases = await a.replicas.claim(CLUSTERS);
  expect([...leases.keys()].sort()).toEqual([...CLUSTERS].sort());
  expect(leases.get("c0")).toMatchObject({ epoch: 1, signal: { aborted: false } });
  expect(await leaseOf(world, "c0")).toEqual({ owner: "a", incarnation: "a-1", epoch: 1 });
  expect(a.orphans).toEqual([]);
});

test("three replicas share the clusters: a new one gets its share at the end of collections", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b, c] = [world.replica("a"), world.replica("b"), world.replica("c")];
  await shared(world, a, b, c);
  expect(a.changes.filter((change) => change === "lost")).toEqual([]);
  // Nothing moves any more.
  const before = [a, b, c].map(({ owned }) => owned());
  const writes = world.store.writes();
  await world.pass(60 * SECOND);
  for (const one of [a, b, c]) await endCollections(one);
  await world.pass(60 * SECOND);
  expect([a, b, c].map(({ owned }) => owned())).toEqual(before);
  // Each renewed its own record every ten seconds, and nothing else.
  expect(world.store.writes() - writes).toBeLessThanOrEqual(3 * 13);
});

test("an owner keeps a cluster until another replica was preferred in two scans", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await world.start(a);
  await a.replicas.claim(CLUSTERS);
  await world.start(b);
  await world.pass(2 * SECOND);
  await endCollections(a);
  expect(a.owned()).toHaveLength(30);
  await world.pass(5 * SECOND);
  await endCollections(a);
  expect(a.owned()).toHaveLength(30);
  await world.pass(5 * SECOND);
  await endCollections(a);
  expect(a.owned().length).toBeLessThan(25);
  await world.pass(5 * SECOND);
  expectShared(CLUSTERS, a, b);
});

test.each([
  ["clocks that agree", 0, 0],
  ["a clock 10 s ahead", 0, 10 * SECOND],
  ["a clock 10 s behind", 0, -10 * SECOND],
  ["clocks 20 s apart", 10 * SECOND, -10 * SECOND],
])("a replica that is paused loses its clusters to the other within 45 s: %s", async (_, ofA, ofB) => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a", { skewMs: ofA }), world.replica("b", { skewMs: ofB })];
  await shared(world, a, b);
  const ofTheDead = a.owned();
  const lease = a.lease(ofTheDead[0]!)!;
  const goOn = world.pause(a);
  let takenAfter = 0;
  while (b.owned().length < 30 && takenAfter < 60 * SECOND) {
    await world.pass(SECOND);
    takenAfter += SECOND;
    // Never two at a time, although the paused one has not noticed yet.
    expect(a.owned().filter((id) => b.owned().includes(id))).toEqual([]);
  }
  expect(takenAfter).toBeGreaterThanOrEqual(20 * SECOND);
  expect(takenAfter).toBeLessThanOrEqual(45 * SECOND);
  expect(b.orphans.sort()).toEqual(ofTheDead);
  expect(a.replicas.holds(ofTheDead[0]!)).toBe(false);
  goOn();
  await settled();
  expect(lease.signal.aborted).toBe(true);
  expect((lease.signal.reason as BridgeError).code).toBe("lease_lost");
  await world.pass(15 * SECOND);
  expectShared(CLUSTERS, a, b);
  await endCollections(b);
  await world.pass(10 * SECOND);
  expectShared(CLUSTERS, a, b);
  expect(a.owned()).toEqual(ofTheDead);
});

test("no jump of a wall clock makes a live replica lose a cluster", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b", { skewMs: 3_600_000 })];
  await shared(world, a, b);
  const c = world.replica("c", { skewMs: -3_600_000 });
  await world.start(c);
  const before = [a, b].map(({ owned }) => owned());
  await world.pass(120 * SECOND);
  expect([a, b].map(({ owned }) => owned())).toEqual(before);
  expect([...a.changes, ...b.changes, ...c.changes]).not.toContain("lost");
  expect(c.replicas.replicas().map(({ name, alive }) => [name, alive])).toEqual([
    ["c", true],
    ["a", true],
    ["b", true],
  ]);
});

test("a store that does not answer ends the leases before another replica may take them, and they come back with it", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await shared(world, a, b);
  const before = [a, b].map(({ owned }) => owned());
  const lease = a.lease(before[0]![0]!)!;
  const failure = new BridgeError("state_unavailable", "the store is down");
  world.store.failure = failure;
  await world.pass(9 * SECOND);
  expect(a.owned()).toEqual(before[0]);
  await world.pass(12 * SECOND);
  expect([a.owned(), b.owned()]).toEqual([[], []]);
  expect(lease.signal.aborted).toBe(true);
  expect(a.replicas.problems()).toEqual([
    expect.stringMatching(/nothing is collected here: the store is down/),
  ]);
  expect((await bridgeErrorOf(a.replicas.claim(CLUSTERS))).code).toBe("state_unavailable");
  await world.pass(120 * SECOND);
  world.store.failure = undefined;
  await world.pass(15 * SECOND);
  // All were away: nobody took anything from anybody.
  expect([a, b].map(({ owned }) => owned())).toEqual(before);
  expect(a.replicas.problems()).toEqual([]);
  expect(a.orphans).toEqual([]);
});

test("replicas that are cut off from the store lose their clusters to the others", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b, c] = [world.replica("a"), world.replica("b"), world.replica("c")];
  await shared(world, a, b, c);
  const fail = (): Promise<never> => Promise.reject(new BridgeError("state_unavailable", "no route"));
  const { store } = a;
  a.store = { ...store, get: fail, getMany: fail, put: fail };
  await world.pass(45 * SECOND);
  expect(a.owned()).toEqual([]);
  expectShared(CLUSTERS, b, c);
  a.store = store;
  await world.pass(20 * SECOND);
  for (const one of [b, c]) await endCollections(one);
  await world.pass(10 * SECOND);
  expectShared(CLUSTERS, a, b, c);
  expect(a.owned().length).toBeGreaterThan(2);
});

test("a former owner does not tell how a cluster fares, but one that is cut off does: perhaps nobody else can", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await world.start(a);
  await a.replicas.claim(CLUSTERS);
  const told = (): string[] => CLUSTERS.filter((id) => a.replicas.knows(id));
  expect(told()).toEqual(CLUSTERS);
  await world.start(b);
  await world.pass(15 * SECOND);
  await endCollections(a);
  expect(b.replicas.knows("unknown")).toBe(false);
  expect(told()).toEqual(CLUSTERS.filter((id) => a.owned().includes(id)));
  expect(told().length).toBeLessThan(CLUSTERS.length);
  a.store.put = () => Promise.reject(new BridgeError("state_unavailable", "cut off"));
  await world.pass(60 * SECOND);
  expect([a.owned(), told()]).toEqual([[], CLUSTERS]);
});

test("a store that hangs is a store that fails", async () => {
  const world = createReplicaWorld(["one"]);
  const a = world.replica("a");
  await world.start(a);
  await a.replicas.claim(["one"]);
  const lease = a.lease("one")!;
  const never = (): Promise<never> => new Promise(() => {});
  const { store } = a;
  a.store = { ...store, get: never, put: never };
  await world.pass(30 * SECOND);
  expect(lease.signal.aborted).toBe(true);
  a.store = store;
  await world.pass(15 * SECOND);
  expect(a.owned()).toEqual(["one"]);
});

test("a lost answer is no lost lease: the record says who has it", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const a = world.replica("a");
  const { store } = a;
  // Every write happens, and its writer hears of a failure.
  a.store = {
    ...store,
    put: async (key, value, etag) => {
      await store.put(key, value, etag);
      throw new BridgeError("state_unavailable", "the answer was lost");
    },
  };
  await world.start(a);
  await a.replicas.claim(CLUSTERS);
  expect(a.owned()).toHaveLength(30);
  await world.pass(60 * SECOND);
  expect(a.owned()).toHaveLength(30);
  expect(a.changes).not.toContain("lost");
});

test.each(["state_conflict", "state_unavailable"] as const)(
  "of two that take a cluster at once one has it, when the other hears %s",
  async (code) => {
    const world = createReplicaWorld(CLUSTERS);
    const [a, b] = [world.replica("a"), world.replica("b")];
    await world.start(a, b);
    for (const one of [a, b]) {
      const { store } = one;
      one.store = {
        ...store,
        put: (key, value, etag) =>
          store.put(key, value, etag).catch(() => {
            throw new BridgeError(code, "first write wins");
          }),
      };
    }
    // Neither has seen the other yet.
    await Promise.all([a.replicas.claim(CLUSTERS), b.replicas.claim(CLUSTERS)]);
    expect([...a.owned(), ...b.owned()].sort()).toEqual([...CLUSTERS].sort());
  },
);

test("a bulk read that is old takes no cluster away, and gives none", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  const old = await world.store.getMany(CLUSTERS.map((id) => `lease:${id}`));
  await shared(world, a, b);
  const before = [a, b].map(({ owned }) => owned());
  for (const one of [a, b]) {
    const { store } = one;
    one.store = {
      ...store,
      getMany: async (keys) => (keys[0]!.startsWith("lease:") ? old : await store.getMany(keys)),
    };
  }
  await Promise.all([a.replicas.claim(CLUSTERS), b.replicas.claim(CLUSTERS)]);
  expect([a, b].map(({ owned }) => owned())).toEqual(before);
});

test("a process that died comes back under its name and has its clusters at once, with a higher epoch", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await shared(world, a, b);
  const before = a.owned();
  world.pause(a);
  const again = world.replica("a", { incarnation: "a-2" });
  await world.pass(2 * SECOND);
  await again.replicas.start();
  await again.replicas.claim(CLUSTERS);
  expect(again.owned()).toEqual(before);
  expect((await leaseOf(world, before[0]!))!.epoch).toBeGreaterThan(1);
  expect(again.orphans).toEqual([]);
});

test("two processes with one name: the later one has it, the other collects nothing and says so", async () => {
  const world = createReplicaWorld(["one"]);
  const first = world.replica("a", { incarnation: "first" });
  await world.start(first);
  await first.replicas.claim(["one"]);
  const second = world.replica("a", { incarnation: "second" });
  await world.start(second);
  await world.pass(15 * SECOND);
  expect(first.owned()).toEqual([]);
  expect(second.owned()).toEqual(["one"]);
  expect(first.replicas.problems()[0]).toMatch(/another process is the replica "a"/);
  await world.pass(120 * SECOND);
  expect(first.owned()).toEqual([]);
  expect(second.owned()).toEqual(["one"]);
});

test("a replica that ends gives its clusters back at once", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await shared(world, a, b);
  await a.replicas.stop();
  await world.pass(8 * SECOND);
  expectShared(CLUSTERS, b);
  expect(a.owned()).toEqual([]);
  expect(b.orphans.length).toBeGreaterThan(2);
  expect(b.replicas.facts()).toMatchObject({ alive: 1, owned: 30, unowned: 0 });
});

test("a replica that does not collect owns nothing", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b", { collects: false })];
  await world.start(a, b);
  await world.pass(30 * SECOND);
  expectShared(CLUSTERS, a);
  expect(b.replicas.facts()).toMatchObject({ alive: 2, owned: 0 });
});

test("a record with a higher epoch than the lease raises the lease above it", async () => {
  const world = createReplicaWorld(["one"]);
  const a = world.replica("a");
  await world.start(a);
  await a.replicas.claim(["one"]);
  const before = a.lease("one")!;
  await a.replicas.ended("one", 41);
  expect(before.signal.aborted).toBe(true);
  expect((await a.replicas.claim(["one"])).get("one")).toMatchObject({ epoch: 42 });
});

test("a replica that has been dead for an hour is forgotten", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await shared(world, a, b);
  await a.replicas.stop();
  await world.pass(60 * SECOND);
  expect(b.replicas.replicas().map(({ name, alive }) => [name, alive])).toEqual([
    ["b", true],
    ["a", false],
  ]);
  await world.pass(3600 * SECOND);
  expect(b.replicas.replicas().map(({ name }) => name)).toEqual(["b"]);
  expect(await world.store.get("member:a")).toBeUndefined();
  expect((await world.store.get("members"))?.value).toMatchObject({ names: ["b"] });
});

test("a cluster that is disabled or deleted: its owner ends the work within 10 s, and then gives it back", async () => {
  const world = createReplicaWorld(["one", "two"]);
  const a = world.replica("a");
  await world.start(a);
  const lease = (await a.replicas.claim(world.clusters)).get("one")!;
  a.busy.add("one");
  world.clusters = ["two"];
  await world.pass(10 * SECOND);
  expect(lease.signal.aborted).toBe(true);
  expect(a.owned()).toEqual(["two"]);
  expect(await leaseOf(world, "one")).toMatchObject({ owner: "a", epoch: 1 });
  a.busy.delete("one");
  await world.pass(10 * SECOND);
  expect(await leaseOf(world, "one")).toMatchObject({ owner: null, epoch: 1 });
  world.clusters = ["one", "two"];
  await world.pass(10 * SECOND);
  expect(a.lease("one")).toMatchObject({ epoch: 2, signal: { aborted: false } });
});

/** A cluster is owned by the other replica and being collected there; deletion begins at `b`. */
async function deletedElsewhere() {
  const world = createReplicaWorld(["one"]);
  const [a, b] = [world.replica("a"), world.replica("b")];
  await world.start(a);
  await a.replicas.claim(["one"]);
  await world.start(b);
  a.busy.add("one");
  await world.pass(4 * SECOND);
  let isClosed = false;
  world.clusters = [];
  const closed = b.replicas.close("one").then(() => (isClosed = true));
  return { world, a, b, closed, isClosed: () => isClosed };
}

test("a deletion waits for the owner, and what takes the id later has a higher epoch", async () => {
  const { world, a, b, closed, isClosed } = await deletedElsewhere();
  await world.pass(7 * SECOND);
  expect(isClosed()).toBe(false);
  a.busy.delete("one");
  await world.pass(6 * SECOND);
  expect(isClosed()).toBe(true);
  await closed;
  // Nobody can take it while its records are deleted.
  expect([...(await a.replicas.claim(["one"])).keys()]).toEqual([]);
  const { epoch } = (await leaseOf(world, "one"))!;
  await b.replicas.remove("one");
  expect(await leaseOf(world, "one")).toBeUndefined();
  world.clusters = ["one"];
  await world.pass(10 * SECOND);
  expect((await leaseOf(world, "one"))!.epoch).toBeGreaterThan(epoch);
});

test("a deletion does not wait for an owner that is paused, nor for ever for one that does not give back", async () => {
  const { world, a, closed, isClosed } = await deletedElsewhere();
  const goOn = world.pause(a);
  await world.pass(30 * SECOND);
  expect(isClosed()).toBe(true);
  await closed;
  goOn();
  await settled();
  expect(a.owned()).toEqual([]);
  expect(await leaseOf(world, "one")).toMatchObject({ owner: null, deleting: true });
});
