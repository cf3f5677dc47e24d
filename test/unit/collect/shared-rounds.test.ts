import { expect, test } from "vitest";
import type { Rounds } from "#collect/round.ts";
import { addResult, emptyResult, finishRound, newRound } from "#collect/round-result.ts";
import { ROUND_KEY, SharedRounds } from "#collect/shared-rounds.ts";
import type { CollectionStatus, RoundResult, RoundTrigger } from "#collect/status.ts";
import type { ReplicaReport } from "#lib/replica-report.ts";
import { BridgeError } from "#errors/error.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { START, testCluster } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { settled } from "../../helpers/replica-world.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const SECOND = 1000;

interface StartedRound {
  round: RoundResult;
  /** Every cluster was collected. */
  finish(): void;
}

/** Replicas `a` and `b` with two clusters each, over one store; each local round ends when the test says so. */
function createPair(names: readonly string[] = ["a", "b"]) {
  const clock = createManualClock(START);
  const store = createMemoryStore();
  const alive = new Set(names);
  const replicaOf = (name: string): ReplicaReport => ({
    name,
    version: "1.2.3",
    alive: alive.has(name),
    collects: true,
    started_at: new Date(START).toISOString(),
    age_seconds: 0,
    clusters: 2,
  });
  const replicas = names.map((name) => {
    const clusters = [testCluster(`${name}-1`), testCluster(`${name}-2`)];
    const started: StartedRound[] = [];
    const start = async (trigger: RoundTrigger, id?: string) => {
      const round = newRound(trigger, clusters, [], clock.now(), id);
      const { promise: done, resolve } = Promise.withResolvers<RoundResult>();
      const finish = (): void => {
        for (const each of clusters) {
          const result = emptyResult(each, "successful", new BridgeError("internal", "x".repeat(2000)));
          addResult(round, { ...result, points: 5 });
        }
        finishRound(round, clock.now(), 1);
        resolve(round);
      };
      started.push({ round, finish });
      return await Promise.resolve({ round, busy: [], done });
    };
    const status = async (): Promise<CollectionStatus> => {
      await store.check();
      const rounds = started.map(({ round }) => round);
      return {
        enabled: true,
        scheduler: "dapr",
        interval_seconds: 300,
        current_round: rounds.findLast(({ finished_at }) => finished_at === null) ?? null,
        last_round: rounds.findLast(({ finished_at }) => finished_at !== null) ?? null,
        replicas: [],
        clusters: [],
        warnings: [],
      };
    };
    const fleet = {
      name,
      replicas: () => names.map(replicaOf),
      owners: () => Promise.resolve(new Map<string, string>()),
    };
    const local = { start, status } as unknown as Rounds;
    const shared = new SharedRounds({
      local,
      fleet,
      store,
      clock,
      logger: createSilentLogger(),
      random: () => 0.5,
    });
    return { name, shared, started };
  });
  const look = async (): Promise<void> => {
    const value = (await store.get<unknown>(ROUND_KEY))?.value;
    for (const { shared } of replicas) await shared.noteRound(value);
    await settled();
  };
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 500) {
      clock.advance(Math.min(500, left));
      await settled();
    }
  };
  return { clock, store, alive, replicas, look, pass };
}

test("a round that one replica is asked for is joined by the other, and waits for both", async () => {
  const { replicas, look, pass } = createPair();
  const [a, b] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  await look();
  const start = await a.shared.start("request");
  let whole: RoundResult | undefined;
  void start.done.then((round) => (whole = round));
  await look();
  await look();
  expect([a.started.length, b.started.length]).toEqual([1, 1]);
  expect(b.started[0]!.round.id).toBe(start.round.id);
  a.started[0]!.finish();
  await pass(3 * SECOND);
  expect(whole).toBeUndefined();
  expect((await a.shared.status()).current_round).toMatchObject({ id: start.round.id, total: 2 });
  b.started[0]!.finish();
  await pass(3 * SECOND);
  expect(whole).toMatchObject({ id: start.round.id, total: 4, successful: 4, points: 20 });
  expect(whole!.clusters.map(({ cluster_id }) => cluster_id)).toEqual(["a-1", "a-2", "b-1", "b-2"]);
  for (const { shared } of replicas) {
    const { current_round, last_round } = await shared.status();
    expect([current_round, last_round?.total, last_round?.points]).toEqual([null, 4, 20]);
  }
});

test("a call during a round joins it, at whichever replica", async () => {
  const { replicas, look, pass } = createPair();
  const [a, b] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  await look();
  const first = await a.shared.start("request");
  // The other one has not looked yet.
  const second = await b.shared.start("request");
  const third = await a.shared.start("request");
  expect([second.round.id, third.round.id]).toEqual([first.round.id, first.round.id]);
  expect([a.started.length, b.started.length]).toEqual([1, 1]);
  a.started[0]!.finish();
  await pass(SECOND);
  // Its own part is over, and the other's is not.
  expect((await a.shared.start("request")).round.id).toBe(first.round.id);
  b.started[0]!.finish();
  await pass(SECOND);
  expect((await a.shared.start("request")).round.id).not.toBe(first.round.id);
});

test("of two replicas that are asked at once one asks, and the other joins", async () => {
  const { replicas, look } = createPair();
  const [a, b] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  await look();
  const starts = await Promise.all([a.shared.start("request"), b.shared.start("request")]);
  await look();
  expect(new Set(starts.map(({ round }) => round.id)).size).toBe(1);
  expect([a.started.length, b.started.length]).toEqual([1, 1]);
});

test("a round that was asked for before a replica began is not its own", async () => {
  const { store, replicas, look } = createPair();
  await store.put(ROUND_KEY, { id: "old", asked_at: new Date(START).toISOString() }, undefined);
  await look();
  await look();
  expect(replicas.map(({ started }) => started.length)).toEqual([0, 0]);
});

test("a replica that died, or does not begin, is not waited for", async () => {
  const { alive, replicas, look, pass } = createPair(["a", "b", "c"]);
  const [a, b] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  await look();
  const start = await a.shared.start("request");
  let whole: RoundResult | undefined;
  void start.done.then((round) => (whole = round));
  await b.shared.noteRound({ id: start.round.id });
  a.started[0]!.finish();
  await pass(12 * SECOND);
  // c has not begun, b is still at work.
  expect(whole).toBeUndefined();
  alive.delete("b");
  await pass(2 * SECOND);
  expect(whole).toMatchObject({ total: 2, successful: 2 });
});

test("a tick starts the clusters of its replica alone, at a moment of its own", async () => {
  const { replicas, store, look, pass } = createPair();
  const [a, b] = replicas as [(typeof replicas)[0], (typeof replicas)[0]];
  const starting = a.shared.start("dapr");
  await settled();
  expect(a.started).toHaveLength(0);
  await pass(SECOND);
  await starting;
  await look();
  expect([a.started.length, b.started.length]).toEqual([1, 0]);
  expect(await store.get(ROUND_KEY)).toBeUndefined();
  const other = b.shared.start("dapr");
  await pass(SECOND);
  await other;
  for (const { started } of replicas) started[0]!.finish();
  await settled();
  // Each of both shows the whole of the tick.
  expect((await b.shared.status()).last_round).toMatchObject({ trigger: "dapr", total: 4 });
});

test("a replica alone begins at once, and writes down nothing for others", async () => {
  const { replicas, store } = createPair(["a"]);
  const [a] = replicas as [(typeof replicas)[0]];
  await a.shared.start("dapr");
  await a.shared.start("request");
  expect(a.started).toHaveLength(2);
  expect(await store.get(ROUND_KEY)).toBeUndefined();
});

test("what a replica tells of its part is bounded", async () => {
  const { replicas, store } = createPair(["a"]);
  const [a] = replicas as [(typeof replicas)[0]];
  const { done } = await a.shared.start("request");
  a.started[0]!.finish();
  await done;
  await settled();
  const part = (await store.get<RoundResult>("round-part:a"))!.value;
  expect(part).toMatchObject({ total: 2, successful: 2, finished_at: expect.any(String) });
  for (const { error } of part.clusters) expect(error!.message.length).toBeLessThanOrEqual(512);
  expect(part.clusters).toHaveLength(2);
});

test("while the store does not answer, the last status is shown, and says so", async () => {
  const { replicas, store, pass } = createPair(["a"]);
  const [a] = replicas as [(typeof replicas)[0]];
  const failure = new BridgeError("state_unavailable", "the store is down");
  store.failure = failure;
  expect(await bridgeErrorOf(a.shared.status())).toBe(failure);
  store.failure = undefined;
  const { warnings: before } = await a.shared.status();
  expect(before).toEqual([]);
  store.failure = failure;
  const { warnings } = await a.shared.status();
  expect(warnings).toEqual([
    expect.stringMatching(/^this is the status of .*; nothing is collected while .*: the store is down$/),
  ]);
  await pass(3601 * SECOND);
  expect(await bridgeErrorOf(a.shared.status())).toBe(failure);
});
