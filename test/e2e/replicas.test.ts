import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import type { StateStore } from "#state/store.ts";
import { createLatch } from "../helpers/latch.ts";
import { ACCEPT, startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { readersByRound, readsOf, repeatedWindows, requestsTo, roundOf, unreadTimes } from "./reads.ts";
import {
  createReplicaSet,
  startPostgres,
  startRedis,
  type Replica,
  type ReplicaSet,
  type SharedStore,
} from "./replica-set.ts";

// Three bridges as processes, each with Dapr's real sidecar, share the simulator's clusters by a real store. Who reads what is counted where it is
// read: each bridge names itself to Prometheus.

const CLUSTERS = 30;
const INTERVAL_SECONDS = 20;
const INTERVAL_MS = INTERVAL_SECONDS * 1000;
/** Between two collections of a cluster: more than this, and a round was missed. They may be apart by the jitter, and by a change of the owner. */
const MISSED_MS = 1.8 * INTERVAL_MS;
const REPLACED_MS_MAX = 60_000;
/** The replica that the test calls instead of a cron binding: at times it does not. */
const CALLED = "replica-c";
const QUERIES = ["up", "node_load1", "node_cpu_seconds_total"];

let directory: string;
let simulator: Simulator;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "budcluster-replicas-"));
  const queries = QUERIES.map((name) => ({ name, group: "test" }));
  await writeFile(join(directory, "queries.yaml"), JSON.stringify({ extends: "none", queries }));
  simulator = await startSimulator({ clusters: CLUSTERS, seed: "replicas", shape: { pods: 1 } });
});

afterAll(async () => {
  await simulator?.stop();
  if (directory) await rm(directory, { recursive: true, force: true });
});

const ids = (): string[] => simulator.clusters.map(({ id }) => id);
const within = (ms: number) => ({ timeout: ms, interval: 250 });
const print = (text: string): void => void process.stderr.write(`${text}\n`);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** The clusters that several replicas asked for anything in one round, from the first to the last. */
function sharedIn(first: number, last: number): string[] {
  const askers = readersByRound(requestsTo(simulator), INTERVAL_MS);
  const names = [...askers].filter(([key, replicas]) => {
    const round = Number(key.split(" ")[1]);
    return round >= first && round <= last && replicas.size > 1;
  });
  return names.map(([key, replicas]) => `${key}: ${[...replicas].join(", ")}`);
}

/** The clusters that were not collected for longer than MISSED_MS between these times, and for how long. */
function missedBetween(fromMs: number, toMs: number): string[] {
  const reads = readsOf(simulator).filter(({ atMs }) => atMs >= fromMs && atMs < toMs);
  return ids().flatMap((id) => {
    const times = reads.flatMap(({ cluster, atMs }) => (cluster === id ? [atMs] : []));
    const gaps = [fromMs, ...times].map((ms, i) => (times[i] ?? toMs) - ms);
    const longest = Math.max(...gaps);
    return longest > MISSED_MS ? [`${id}: ${seconds(longest)}`] : [];
  });
}

/** Resolves in the last round of `count` whole ones from now on, at its end; their numbers. */
async function wholeRounds(count: number): Promise<{ first: number; last: number }> {
  const first = roundOf(Date.now(), INTERVAL_MS) + 1;
  await delay((first + count) * INTERVAL_MS - Date.now());
  return { first, last: first + count - 1 };
}

describe.each([
  { name: "Redis", startStore: startRedis },
  { name: "PostgreSQL", startStore: startPostgres },
])("three bridges on $name", ({ name, startStore }) => {
  let collector: OtlpCollector;
  let store: SharedStore;
  let set: ReplicaSet;
  /** Those that run. */
  let replicas: Replica[];
  let stopCalling: () => void = () => {};
  /** Of the replica whose deliveries get no answer. */
  let held: { name: string; until: Promise<void>; began: () => void } | undefined;

  beforeAll(async () => {
    for (const id of ids()) simulator.faults.forget(id);
    [collector, store] = await Promise.all([startOtlpCollector(), startStore()]);
    collector.onRequest = async ({ headers }) => {
      if (held?.name === headers["x-replica"]) {
        held?.began();
        await held?.until;
      }
      return ACCEPT;
    };
    set = await createReplicaSet({
      store,
      clustersFile: simulator.clustersFile(),
      collectorUrl: collector.url,
      intervalSeconds: INTERVAL_SECONDS,
      environment: {
        QUERIES_FILE: join(directory, "queries.yaml"),
        COLLECTION_LAG: "5",
        INITIAL_LOOKBACK: "30",
        CLUSTER_DEADLINE: String(INTERVAL_SECONDS),
        PROOF_STRETCH: "0",
      },
    });
    replicas = await Promise.all(
      ["replica-a", "replica-b", CALLED].map((each) => set.start(each, { cron: each !== CALLED })),
    );
    stopCalling = callEachRound();
  });

  afterAll(async () => {
    stopCalling();
    await set?.stop();
    await Promise.all([collector?.stop(), store?.stop()]);
  });

  /** Does for one replica what the cron binding does for the others. */
  const callEachRound = (): (() => void) => {
    let cancel = (): void => {};
    const next = (): void => {
      cancel = systemClock.after(INTERVAL_MS - (Date.now() % INTERVAL_MS), () => {
        const called = replicas.find((each) => each.name === CALLED);
        void called?.tick().catch(() => {});
        next();
      });
    };
    next();
    return () => cancel();
  };

  /** The clusters that this replica was the last to ask. */
  const ownedBy = (replica: Replica): string[] => {
    const last = new Map(requestsTo(simulator).map((request) => [request.cluster, request.replica]));
    return ids().filter((id) => last.get(id) === replica.name);
  };

  /** Resolves when another replica than these collects each of the clusters after that time; how long each took. */
  const replaced = async (gone: readonly Replica[], clusters: readonly string[], sinceMs: number) => {
    const names = gone.map((each) => each.name);
    const times = (): number[] => {
      const later = requestsTo(simulator).filter(
        ({ replica, atMs }) => !names.includes(replica) && atMs >= sinceMs,
      );
      const found = clusters.map((id) => later.find(({ cluster }) => cluster === id));
      return found.flatMap((request) => (request ? [request.atMs - sinceMs] : []));
    };
    await expect.poll(() => times().length, within(REPLACED_MS_MAX + 30_000)).toBe(clusters.length);
    return times().sort((a, b) => a - b);
  };

  const settled = async (): Promise<void> => {
    const lastRound = () => {
      const round = roundOf(Date.now(), INTERVAL_MS) - 1;
      const missed = missedBetween(round * INTERVAL_MS, (round + 1) * INTERVAL_MS);
      const idle = replicas.filter((each) => ownedBy(each).length === 0).map((each) => each.name);
      return { missed, shared: sharedIn(round, round), idle };
    };
    await expect.poll(lastRound, within(90_000)).toEqual({ missed: [], shared: [], idle: [] });
  };

  it("collect each cluster once a round", async () => {
    await settled();
    const [before, sinceMs] = [await store.requests(), Date.now()];
    const { first, last } = await wholeRounds(2);
    const perSecond = ((await store.requests()) - before) / ((Date.now() - sinceMs) / 1000);
    const reads = readsOf(simulator).filter(({ atMs }) => roundOf(atMs, INTERVAL_MS) >= first);
    const shares = replicas.map((each) => `${each.name} ${ownedBy(each).length}`);
    print(
      `${name}: ${last - first + 1} rounds of ${CLUSTERS} clusters every ${INTERVAL_SECONDS} s, ${reads.length} reads; ${perSecond.toFixed(1)} requests/s at the store; clusters of ${shares.join(", ")}`,
    );
    expect(sharedIn(first, last)).toEqual([]);
    expect(missedBetween(first * INTERVAL_MS, (last + 1) * INTERVAL_MS)).toEqual([]);
    expect([...repeatedWindows(reads)]).toEqual([]);
  });

  it("go on within 60 s after one was killed and another paused, which then commits nothing", async () => {
    const [killed, paused, left] = replicas as [Replica, Replica, Replica];
    const clusters = [killed, paused].map(ownedBy);
    const delivering = createLatch();
    const answered = createLatch();
    held = { name: paused.name, until: answered.opened, began: delivering.open };
    await delivering.opened;
    const state = await createDaprStore(
      { clock: systemClock },
      { storeName: "statestore", port: left.daprPort },
    );
    try {
      // From now on nothing starts a round: who takes a cluster over has to collect it by itself.
      stopCalling();
      process.kill(paused.bridge.pid, "SIGSTOP");
      const sinceMs = Date.now();
      await killed.bridge.kill("SIGKILL");
      const times = await replaced([killed, paused], clusters.flat(), sinceMs);
      print(
        `${name}: ${times.length} clusters of a killed and a paused replica are collected again after ${seconds(times[0] ?? 0)} to ${seconds(times.at(-1) ?? 0)}`,
      );
      expect(times.at(-1)).toBeLessThan(REPLACED_MS_MAX);

      const fenced = await epochsOf(state, clusters[1] ?? []);
      expect(Math.min(...fenced)).toBeGreaterThan(0);
      held = undefined;
      answered.open();
      process.kill(paused.bridge.pid, "SIGCONT");
      for (const end = Date.now() + INTERVAL_MS; Date.now() < end; await delay(500)) {
        const now = await epochsOf(state, clusters[1] ?? []);
        expect(now.filter((epoch, i) => epoch < fenced[i]!)).toEqual([]);
      }
      expect(collector.conflicts).toEqual([]);
    } finally {
      await state.close();
    }
    stopCalling = callEachRound();
    await killed.remove();
    replicas = [await set.start(killed.name), paused, left];
  });

  it.skipIf(name !== "Redis")(
    "miss no round in a rolling restart, and read no more than one window of a cluster twice",
    async () => {
      const first = roundOf(Date.now(), INTERVAL_MS) + 1;
      const ends: Promise<void>[] = [];
      for (const [i, old] of [...replicas].entries()) {
        // As Kubernetes does it: a new one joins before the old one ends.
        const next = await set.start(`replica-${"def"[i]}`);
        const hasRead = (): boolean => readsOf(simulator).some(({ replica }) => replica === next.name);
        await expect.poll(hasRead, within(60_000)).toBe(true);
        replicas = [...replicas.filter((each) => each !== old), next];
        ends.push(handOver(old));
      }
      await Promise.all(ends);
      const { last } = await wholeRounds(1);
      const reads = readsOf(simulator).filter(({ atMs }) => roundOf(atMs, INTERVAL_MS) >= first);
      const repeats = repeatedWindows(reads);
      const most = Math.max(0, ...repeats.values());
      print(
        `${name}: rolling restart over ${last - first + 1} rounds; ${repeats.size} clusters had a window read twice, at most ${most} each`,
      );
      expect(missedBetween(first * INTERVAL_MS, (last + 1) * INTERVAL_MS)).toEqual([]);
      expect(unreadTimes(readsOf(simulator))).toEqual([]);
      expect(most).toBeLessThanOrEqual(1);
      expect(collector.conflicts).toEqual([]);
    },
  );

  /** Ends a replica, and waits until others collect its clusters. */
  const handOver = async (old: Replica): Promise<void> => {
    const clusters = ownedBy(old);
    const sinceMs = Date.now();
    const [times, bridgeMs] = await Promise.all([replaced([old], clusters, sinceMs), old.terminate()]);
    print(
      `${name}: ${old.name} ends ${seconds(bridgeMs)} after SIGTERM; others collect its ${times.length} clusters after ${seconds(times[0] ?? 0)} to ${seconds(times.at(-1) ?? 0)}`,
    );
  };
});

/** Epochs of the clusters' commits. */
async function epochsOf(state: StateStore, clusters: readonly string[]): Promise<number[]> {
  const records = await Promise.all(clusters.map((id) => state.get<{ epoch?: number }>(`progress:${id}`)));
  return records.map((record) => record?.value.epoch ?? 0);
}
