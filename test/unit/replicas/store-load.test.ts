import { expect, test } from "vitest";
import type { StateStore } from "#state/store.ts";
import { createReplicaWorld, type WorldReplica } from "../../helpers/replica-world.ts";

const SECOND = 1000;
const CLUSTERS = Array.from({ length: 1000 }, (_, i) => `cluster-${i}`);
const INTERVAL = 300 * SECOND;

interface Load {
  /** To the sidecar: a put of Dapr's store reads the record, and saves it. */
  requests: number;
  /** Of the requests: records that are read. Redis has no bulk read, so Dapr reads each. */
  keys: number;
  writes: number;
}

function counted(store: StateStore, load: Load): StateStore {
  const count = (requests: number, keys: number, writes = 0): void => {
    load.requests += requests;
    load.keys += keys;
    load.writes += writes;
  };
  return {
    ...store,
    get: (key) => (count(1, 1), store.get(key)),
    getMany: (keys) => (count(1, keys.length), store.getMany(keys)),
    put: (key, value, etag) => (count(2, 1, 1), store.put(key, value, etag)),
    delete: (key) => (count(1, 0, 1), store.delete(key)),
  };
}

/** A round: each replica claims, and ends a collection of each of its clusters. */
async function round(replicas: readonly WorldReplica[]): Promise<void> {
  for (const { replicas: one, owned } of replicas) {
    await one.claim(CLUSTERS);
    for (const id of owned()) await one.ended(id);
  }
}

test("1,000 clusters on 3 replicas: what the store has to do besides commits", async () => {
  const world = createReplicaWorld(CLUSTERS);
  const load: Load = { requests: 0, keys: 0, writes: 0 };
  const replicas = ["a", "b", "c"].map((name) => world.replica(name));
  for (const one of replicas) one.store = counted(one.store, load);
  await world.start(...replicas);
  for (let i = 0; i < 3; i++) {
    await round(replicas);
    await world.pass(20 * SECOND);
  }
  expect(replicas.reduce((sum, { owned }) => sum + owned().length, 0)).toBe(1000);
  Object.assign(load, { requests: 0, keys: 0, writes: 0 });
  const rounds = 2;
  for (let i = 0; i < rounds; i++) {
    await round(replicas);
    await world.pass(INTERVAL);
  }
  const perSecond = (count: number): number => Math.round((count * SECOND * 100) / (rounds * INTERVAL)) / 100;
  const rates = {
    requests: perSecond(load.requests),
    keys: perSecond(load.keys),
    writes: perSecond(load.writes),
  };
  process.stdout.write(
    `1,000 clusters, 3 replicas, a round each 300 s: ${rates.requests} requests/s, ${rates.keys} records read/s, ${rates.writes} writes/s\n`,
  );
  // The registry's own index is read once more in each scan of a replica.
  const ofRegistry = 3 / 5;
  expect(rates.requests + ofRegistry).toBeLessThan(20);
  expect(rates.keys + ofRegistry).toBeLessThan(20);
  expect(rates.writes).toBeLessThan(1);
});
