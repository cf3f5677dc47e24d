import { expect, test } from "vitest";
import type { Cluster } from "#clusters/cluster.ts";
import type { CollectCluster } from "#collect/collect-cluster.ts";
import { commit, emptyProgress, newQueryProgress } from "#collect/progress.ts";
import { createRounds, type RoundDeps, type RoundSettings } from "#collect/round.ts";
import type { ClusterResult } from "#collect/status.ts";
import { BridgeError, toErrorBody, type ErrorCode } from "#errors/error.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { LAG, MINUTE, SECOND, START, testCluster } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { ownsAll } from "../../helpers/ownership.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

function resultOf(cluster: Cluster, change: Partial<ClusterResult> = {}): ClusterResult {
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    outcome: "successful",
    points: 10,
    series: 2,
    bytes: 100,
    duration_seconds: 1,
    error: null,
    ...change,
  };
}

type CollectSignals = Parameters<CollectCluster>[1];

const failed = (cluster: Cluster, code: ErrorCode): ClusterResult =>
  resultOf(cluster, {
    outcome: "failed",
    points: 0,
    bytes: 0,
    error: toErrorBody(new BridgeError(code, code)),
  });

/** Rounds over clusters whose collections end when the test says so. */
function createBench(clusters: Cluster[], change: Partial<RoundSettings> = {}) {
  const clock = createManualClock(START);
  const store = createMemoryStore();
  const running = new Map<string, { end(result?: ClusterResult): void; signals: CollectSignals }>();
  const begun: string[] = [];
  const lags: [string, number | null][] = [];
  const finished: { outcome: string; error?: ErrorCode }[] = [];
  const rounds: string[] = [];
  const errors: ErrorCode[] = [];
  const bench = {
    clock,
    store,
    running,
    begun,
    lags,
    finished,
    rounds,
    errors,
    clusters,
    list: (): Promise<Cluster[]> => Promise.resolve(bench.clusters),
    ownership: ownsAll(),
    collect: async (cluster: Cluster, signals: CollectSignals): Promise<ClusterResult> => {
      begun.push(cluster.id);
      const { promise, resolve } = Promise.withResolvers<ClusterResult>();
      const end = (result = resultOf(cluster)): void => resolve(result);
      signals.signal.addEventListener("abort", () => {
        const { code } = signals.signal.reason as BridgeError;
        end(failed(cluster, code));
      });
      running.set(cluster.id, { end, signals });
      return await promise.finally(() => running.delete(cluster.id));
    },
  };
  const deps: RoundDeps = {
    registry: { list: () => bench.list() },
    collectCluster: (cluster, signals) => bench.collect(cluster, signals),
    store,
    ownership: bench.ownership,
    turns: createTurns(),
    clock,
    logger: createSilentLogger(),
    metrics: {
      roundFinished: ({ outcome }) => void rounds.push(outcome),
      collectionFinished: ({ outcome, error }) =>
        void finished.push({ outcome, ...(error ? { error } : {}) }),
      errorOccurred: (code) => void errors.push(code),
      clusterWatermark: (id, watermarkMs) =>
        void lags.push([id, watermarkMs === null ? null : (clock.now() - watermarkMs) / 1000]),
    },
  };
  const settings: RoundSettings = {
    enabled: true,
    scheduler: "internal",
    intervalMs: 5 * MINUTE,
    lagMs: LAG,
    clustersMax: 10,
    clusterDeadlineMs: 240 * SECOND,
    queries: toQueries([{ name: "a", promql: "a", group: "test" }]),
    stretchMs: 3_600_000,
    warnings: ["from the configuration"],
    ...change,
  };
  return { ...bench, bench, control: createRounds(deps, settings) };
}

const clustersOf = (...ids: string[]): Cluster[] => ids.map((id) => testCluster(id));
/** Lets everything that is ready happen. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a round collects every enabled cluster and adds them up", async () => {
  const { control, running, clock, bench, rounds, finished, errors } = createBench(clustersOf("a", "b", "c"));
  bench.clusters.push(testCluster("off", { enabled: false }));
  const { round, busy, done } = await control.start("request");
  expect(busy).toEqual([]);
  expect(round).toMatchObject({ trigger: "request", total: 3, finished_at: null, clusters: [] });
  expect((await control.status()).current_round?.id).toBe(round.id);
  clock.advance(3 * SECOND);
  running.get("a")!.end();
  running.get("b")!.end(failed(testCluster("b"), "cluster_timeout"));
  running.get("c")!.end(resultOf(testCluster("c"), { outcome: "partial", points: 4 }));
  expect(await done).toMatchObject({
    id: round.id,
    started_at: new Date(START).toISOString(),
    finished_at: new Date(START + 3 * SECOND).toISOString(),
    duration_seconds: 3,
    total: 3,
    successful: 1,
    partial: 1,
    failed: 1,
    skipped: 0,
    points: 14,
    bytes: 200,
  });
  const status = await control.status();
  expect(status).toMatchObject({ current_round: null, last_round: { id: round.id } });
  expect(status.clusters.map(({ cluster_id, state }) => [cluster_id, state])).toEqual([
    ["a", "pending"],
    ["b", "pending"],
    ["c", "pending"],
    ["off", "disabled"],
  ]);
  expect(rounds).toEqual(["partial"]);
  expect(finished).toContainEqual({ outcome: "failed", error: "cluster_timeout" });
  expect(errors).toEqual(["cluster_timeout"]);
});

test("a round can be watched: each cluster from its wait to its result", async () => {
  const { control, running, clock } = createBench(clustersOf("a", "b"), { clustersMax: 1 });
  const told: string[] = [];
  const stop = control.live.listen((change) => {
    const { kind } = change;
    told.push(kind === "cluster" ? `${change.cluster.cluster_id} ${change.cluster.state}` : kind);
  });
  const { round, done } = await control.start("request");
  const states = (): unknown =>
    control.live.now().map(({ clusters }) => [...clusters.values()].map(({ state }) => state));
  expect(states()).toEqual([["connecting", "waiting"]]);
  const progress = { queries: 1, queries_done: 0, windows: 1, points: 2, series: 3, reading: [] };
  running.get("a")!.signals.offerProgress!(() => progress);
  clock.advance(500);
  // The same once more is no change.
  clock.advance(5000);
  expect(states()).toEqual([["reading", "waiting"]]);
  running.get("a")!.end(resultOf(testCluster("a"), { points: 9 }));
  await settled();
  running.get("b")!.end();
  await done;
  expect(told).toEqual([
    "round_started",
    "a connecting",
    "a reading",
    "b connecting",
    "a finished",
    "b finished",
    "round_finished",
  ]);
  const [last] = control.live.now();
  expect(last?.round).toBe(round);
  expect(last?.clusters.get("a")).toMatchObject({ progress: { points: 9 }, result: { points: 9 } });
  stop();
  expect(clock.pending()).toBe(0);
  const count = told.length;
  void control.start("request");
  await settled();
  expect(told).toHaveLength(count);
});

test("a round that finds every cluster busy is not shown to watchers", async () => {
  const { control, running } = createBench(clustersOf("a"));
  const first = await control.start("ticker");
  await (
    await control.start("request")
  ).done;
  expect(control.live.now().map(({ round }) => round.id)).toEqual([first.round.id]);
  running.get("a")!.end();
  await first.done;
});

test("a round without clusters is over at once", async () => {
  const { control } = createBench([]);
  const { done } = await control.start("ticker");
  expect(await done).toMatchObject({ total: 0, failed: 0, clusters: [] });
});

test("never more clusters at once than allowed, and all of them in the end", async () => {
  const ids = Array.from({ length: 25 }, (_, i) => `c${i}`);
  const { control, running, begun } = createBench(clustersOf(...ids), { clustersMax: 4 });
  const { done } = await control.start("request");
  let most = 0;
  while (begun.length < 25 || running.size > 0) {
    most = Math.max(most, running.size);
    expect(running.size).toBeLessThanOrEqual(4);
    running.values().next().value!.end();
    await settled();
  }
  expect(most).toBe(4);
  expect((await done).successful).toBe(25);
});

test("a cluster that is still busy is skipped and named, not collected twice", async () => {
  const { control, running, begun } = createBench(clustersOf("slow", "fast"));
  const first = await control.start("ticker");
  running.get("fast")!.end();
  await settled();
  const second = await control.start("request");
  expect(second.busy).toEqual(["slow"]);
  expect(begun).toEqual(["slow", "fast", "fast"]);
  running.get("fast")!.end();
  expect(await second.done).toMatchObject({ total: 2, successful: 1, skipped: 1, failed: 0 });
  expect(second.round.clusters).toContainEqual(
    expect.objectContaining({
      cluster_id: "slow",
      outcome: "skipped",
      error: expect.objectContaining({ code: "cluster_busy" }) as unknown,
    }),
  );
  const status = await control.status();
  expect(status.current_round?.id).toBe(first.round.id);
  expect(status.last_round?.id).toBe(second.round.id);
  expect(status.clusters.map(({ collecting }) => collecting)).toEqual([true, false]);
  running.get("slow")!.end();
  await first.done;
  expect((await control.start("request")).busy).toEqual([]);
});

test("of several rounds at once, the status shows the latest that still runs", async () => {
  const { control, running, bench } = createBench(clustersOf("a"));
  const first = await control.start("ticker");
  bench.clusters.push(testCluster("b"));
  const second = await control.start("ticker");
  expect((await control.status()).current_round?.id).toBe(second.round.id);
  running.get("b")!.end();
  await second.done;
  expect((await control.status()).current_round?.id).toBe(first.round.id);
  running.get("a")!.end();
  await first.done;
  expect((await control.status()).current_round).toBeNull();
});

test("a cluster that waits for its turn is busy, too", async () => {
  const { control, running, begun } = createBench(clustersOf("a", "b"), { clustersMax: 1 });
  const first = await control.start("ticker");
  expect((await control.start("ticker")).busy).toEqual(["a", "b"]);
  running.get("a")!.end();
  await settled();
  running.get("b")!.end();
  await first.done;
  expect(begun).toEqual(["a", "b"]);
});

test("two starts at the same moment do not collect a cluster twice", async () => {
  const { control, running, begun } = createBench(clustersOf("a"));
  const [first, second] = await Promise.all([control.start("request"), control.start("ticker")]);
  expect([...first.busy, ...second.busy]).toEqual(["a"]);
  expect(begun).toEqual(["a"]);
  running.get("a")!.end();
  await Promise.all([first.done, second.done]);
});

test("a collection that ends with a defect fails its cluster and no other", async () => {
  const { control, running, bench } = createBench(clustersOf("a", "b"));
  const { collect } = bench;
  bench.collect = async (cluster, signals) => {
    if (cluster.id === "a") throw new TypeError("undefined is not a function");
    return await collect(cluster, signals);
  };
  const { done } = await control.start("request");
  running.get("b")!.end();
  const round = await done;
  expect(round).toMatchObject({ successful: 1, failed: 1 });
  expect(round.clusters.find(({ cluster_id }) => cluster_id === "a")!.error).toMatchObject({
    code: "internal",
    message: "unexpected error",
  });
});

test("a cluster's deadline ends it, counted from its turn, and leaves the others alone", async () => {
  const { control, running, clock } = createBench(clustersOf("a", "b"), { clustersMax: 1 });
  const { done } = await control.start("request");
  clock.advance(240 * SECOND - 1);
  expect(running.get("a")!.signals.signal.aborted).toBe(false);
  clock.advance(1);
  await settled();
  expect(running.get("b")!.signals.signal.aborted).toBe(false);
  clock.advance(SECOND);
  running.get("b")!.end();
  const round = await done;
  expect(round).toMatchObject({ successful: 1, failed: 1 });
  expect(round.clusters[0]!.error!.code).toBe("cluster_deadline_exceeded");
  expect(clock.pending()).toBe(0);
});

test("switched off: no round starts, and the status says so", async () => {
  const { control, begun } = createBench(clustersOf("a"), { enabled: false });
  expect((await bridgeErrorOf(control.start("request"))).code).toBe("collection_disabled");
  expect(begun).toEqual([]);
  expect(await control.status()).toMatchObject({ enabled: false, current_round: null, last_round: null });
});

test("a stop lets what runs end within its grace, and begins nothing", async () => {
  const { control, running, begun, clock } = createBench(clustersOf("a", "b"), { clustersMax: 1 });
  const { done } = await control.start("request");
  expect(running.get("a")!.signals.isStopping()).toBe(false);
  const stopped = control.stop(6 * SECOND);
  expect(running.get("a")!.signals.isStopping()).toBe(true);
  expect((await bridgeErrorOf(control.start("request"))).code).toBe("shutting_down");
  running.get("a")!.end();
  await stopped;
  expect(begun).toEqual(["a"]);
  const round = await done;
  expect(round).toMatchObject({ successful: 1, failed: 1 });
  expect(round.clusters[1]!.error!.code).toBe("shutting_down");
  expect(clock.pending()).toBe(0);
});

test("a stop abandons what does not end within its grace", async () => {
  const { control, running, clock } = createBench(clustersOf("a"));
  const { done } = await control.start("request");
  const stopped = control.stop(6 * SECOND);
  clock.advance(6 * SECOND - 1);
  await settled();
  expect(running.size).toBe(1);
  clock.advance(1);
  await stopped;
  expect((await done).clusters[0]!.error!.code).toBe("shutting_down");
});

test("a stop while nothing runs is over at once", async () => {
  const { control, clock } = createBench(clustersOf("a"));
  await control.stop(6 * SECOND);
  expect(clock.pending()).toBe(0);
});

test("the status tells each cluster's watermark, and every collection its lag", async () => {
  const { control, running, store, lags } = createBench(clustersOf("a"));
  const progress = emptyProgress();
  progress.queries["a"] = newQueryProgress("a", START - 10 * MINUTE);
  commit(progress.queries["a"], [START - 10 * MINUTE, START - 2 * MINUTE], { read: 1, sent: 1 });
  await store.put("progress:a", progress, undefined);
  const { done } = await control.start("request");
  running.get("a")!.end();
  await done;
  expect(lags).toEqual([["a", 120]]);
  expect(await control.status()).toMatchObject({
    enabled: true,
    scheduler: "internal",
    interval_seconds: 300,
    clusters: [{ cluster_id: "a", watermark: new Date(START - 2 * MINUTE).toISOString(), lag_seconds: 120 }],
    warnings: ["from the configuration"],
  });
});

test("a store that fails when the lag is asked for does not fail the round", async () => {
  const { control, running, store } = createBench(clustersOf("a"));
  const { done } = await control.start("request");
  store.failure = new BridgeError("state_unavailable", "disk full");
  running.get("a")!.end();
  expect(await done).toMatchObject({ successful: 1 });
});

test("the status warns of clusters whose certificate is not verified", async () => {
  const { control } = createBench([testCluster("a"), testCluster("b", { validateCerts: false })]);
  const { warnings } = await control.status();
  expect(warnings).toHaveLength(2);
  expect(warnings[1]).toMatch(/^b: .*VALIDATE_CERTS/);
});

test("a forgotten cluster's collection is aborted and its progress is gone", async () => {
  const { control, running, store, lags, bench } = createBench(clustersOf("a", "b"));
  const { done } = await control.start("request");
  await store.put("progress:a", emptyProgress(), undefined);
  const { signals } = running.get("a")!;
  bench.clusters.splice(0, 1);
  await control.forget("a");
  expect(signals.signal.reason).toMatchObject({ code: "cluster_deleted" });
  // Nothing is told to the outside about it any more.
  expect(signals.isStopping()).toBe(true);
  expect(running.get("b")!.signals.signal.aborted).toBe(false);
  expect(await store.get("progress:a")).toBeUndefined();
  expect(lags.filter(([id]) => id === "a").at(-1)).toEqual(["a", null]);
  running.get("b")!.end();
  const round = await done;
  expect(round.clusters.find(({ cluster_id }) => cluster_id === "a")).toMatchObject({
    outcome: "failed",
    error: { code: "cluster_deleted" },
  });
  expect((await control.status()).clusters.map(({ cluster_id }) => cluster_id)).toEqual(["b"]);
});

test("a cluster that is forgotten while it waits for its turn is gone at once and not begun", async () => {
  const { control, running, begun, bench } = createBench(clustersOf("a", "b"), { clustersMax: 1 });
  const { done } = await control.start("request");
  bench.clusters.pop();
  await control.forget("b");
  running.get("a")!.end();
  expect((await done).clusters).toMatchObject([
    { cluster_id: "b", outcome: "failed", error: { code: "cluster_deleted" } },
    { cluster_id: "a", outcome: "successful" },
  ]);
  expect(begun).toEqual(["a"]);
});

test("a registry that does not answer is counted, though no round comes of it", async () => {
  const { control, bench, errors, rounds } = createBench(clustersOf("a"));
  bench.list = () => Promise.reject(new BridgeError("state_unavailable", "no sidecar"));
  expect(await bridgeErrorOf(control.start("request"))).toMatchObject({ code: "state_unavailable" });
  expect({ errors, rounds }).toEqual({ errors: ["state_unavailable"], rounds: [] });
});

test("a cluster that is forgotten while the registry answers is not begun", async () => {
  const { control, running, begun, bench } = createBench(clustersOf("a", "b"));
  const started = control.start("request");
  bench.clusters = [];
  await control.forget("a");
  const { round, done } = await started;
  expect(round.total).toBe(1);
  running.get("b")!.end();
  await done;
  expect(begun).toEqual(["b"]);
});
