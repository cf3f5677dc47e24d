import type { Clock } from "#lib/clock.ts";
import { Replicas, type Lease } from "#replicas/replicas.ts";
import type { StateStore } from "#state/store.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { createMemoryStore, type MemoryStore } from "./memory-store.ts";
import { createSilentLogger } from "./silent-logger.ts";

/** A replica in a world of several over one store, all in virtual time. */
export interface WorldReplica {
  name: string;
  incarnation: string;
  replicas: Replicas;
  /** What it lost, took and gave back, in order. */
  changes: string[];
  /** Clusters that it was told to collect at once. */
  orphans: string[];
  /** Clusters that it is collecting. */
  busy: Set<string>;
  /** Its way to the store; a test may replace its functions. */
  store: StateStore;
  /** Clusters that it owns now. */
  owned: () => string[];
  lease: (clusterId: string) => Lease | undefined;
}

export interface ReplicaWorld {
  clock: ManualClock;
  store: MemoryStore;
  clusters: string[];
  replica(
    name: string,
    options?: { skewMs?: number; incarnation?: string; collects?: boolean },
  ): WorldReplica;
  /** Starts replicas, one after the other. */
  start(...replicas: WorldReplica[]): Promise<void>;
  /** Moves the time on in steps of half a second; a paused replica's timers must not run: see `pause`. */
  pass(ms: number): Promise<void>;
  /** Nothing of it runs any more, as after SIGSTOP; the function lets it go on. */
  pause(replica: WorldReplica): () => void;
}

/** Lets everything that is ready happen. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

export function createReplicaWorld(clusters: readonly string[]): ReplicaWorld {
  const clock = createManualClock();
  const store = createMemoryStore();
  const paused = new Map<string, (() => void)[]>();
  const clockOf = (incarnation: string, skewMs: number): Clock => ({
    ...clock,
    now: () => clock.now() + skewMs,
    after: (ms, run) => clock.after(ms, () => void (paused.get(incarnation)?.push(run) ?? run())),
  });
  const world: ReplicaWorld = {
    clock,
    store,
    clusters: [...clusters],
    replica: (name, { skewMs = 0, incarnation = `${name}-1`, collects = true } = {}) => {
      const one: WorldReplica = {
        name,
        incarnation,
        changes: [],
        orphans: [],
        busy: new Set(),
        store: { ...store },
        owned: () => [...one.replicas.leases().keys()].sort(),
        lease: (clusterId) => one.replicas.leases().get(clusterId),
        replicas: undefined as never,
      };
      const through: StateStore = {
        get: (key) => one.store.get(key),
        getMany: (keys) => one.store.getMany(keys),
        put: (key, value, etag) => one.store.put(key, value, etag),
        delete: (key) => one.store.delete(key),
        check: () => one.store.check(),
        close: () => one.store.close(),
      };
      one.replicas = new Replicas(
        {
          store: through,
          clock: clockOf(incarnation, skewMs),
          logger: createSilentLogger(),
          listClusters: () => Promise.resolve(world.clusters),
          isRegistered: (id) => Promise.resolve(world.clusters.includes(id)),
          metrics: { leaseChanged: (kind) => void one.changes.push(kind) },
        },
        { name, incarnation, version: "1.2.3", collects },
      );
      one.replicas.follow({
        collectNow: (ids) => void one.orphans.push(...ids),
        isBusy: (id) => one.busy.has(id),
      });
      return one;
    },
    start: async (...replicas) => {
      for (const { replicas: one } of replicas) {
        await one.start();
        await settled();
      }
    },
    pass: async (ms) => {
      for (let left = ms; left > 0; left -= 500) {
        clock.advance(Math.min(500, left));
        await settled();
      }
    },
    pause: ({ incarnation }) => {
      const waiting: (() => void)[] = [];
      paused.set(incarnation, waiting);
      return () => {
        paused.delete(incarnation);
        for (const run of waiting) run();
      };
    },
  };
  return world;
}
