import { expect, test } from "vitest";
import { emptyResult } from "#collect/round-result.ts";
import type { ReadProgress } from "#collect/collection-progress.ts";
import { BridgeError } from "#errors/error.ts";
import type { FromWorker, ToWorker } from "#workers/messages.ts";
import { Pool } from "#workers/pool.ts";
import { WORKER_LIMITS } from "#workers/worker.ts";
import { testCluster } from "../../helpers/collection.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const MEMORY_MAX = 1000;

/** A worker that a test answers for. */
interface FakeWorker {
  /** Ids of the clusters of the calls under way, by the id of the call. */
  calls: Map<number, string>;
  /** Names of the signals that arrived, by cluster. */
  signals: string[];
  /** Ids of the calls whose progress was asked for. */
  asked: number[];
  /** To its requests. */
  answers: ToWorker[];
  rssBytes: number;
  isDead: boolean;
  tell(message: FromWorker): void;
  finish(clusterId: string): void;
  exit(how: string): void;
}

interface Setup {
  pool: Pool;
  clock: ManualClock;
  /** In the order in which they were started. */
  workers: FakeWorker[];
  ends: string[];
}

const nothing = (): void => {};

function setUp(count: number): Setup {
  const clock = createManualClock();
  const workers: FakeWorker[] = [];
  const ends: string[] = [];
  const pool = new Pool(
    {
      clock,
      logger: createSilentLogger(),
      ports: {
        store: createMemoryStore(),
        metrics: {
          batchStarted: nothing,
          batchFinished: nothing,
          errorOccurred: nothing,
          timeLost: nothing,
          samplesRead: nothing,
          exportFinished: nothing,
          tunnelOpened: nothing,
          tunnelClosed: nothing,
          tunnelFailed: nothing,
        },
      },
      spawn: (on) => {
        const worker: FakeWorker = {
          calls: new Map(),
          signals: [],
          asked: [],
          answers: [],
          rssBytes: 1,
          isDead: false,
          tell: on.message,
          finish: (clusterId) => {
            const [id] = [...worker.calls].find(([, cluster]) => cluster === clusterId)!;
            worker.calls.delete(id);
            const value = emptyResult(
              testCluster(clusterId),
              "successful",
              new BridgeError("internal", "none"),
            );
            on.message({ type: "done", id, value });
          },
          exit: (how) => {
            worker.isDead = true;
            on.exit(how);
          },
        };
        workers.push(worker);
        const receive = (message: ToWorker): void => {
          if (message.type === "start") on.message({ type: "ready" });
          if (message.type === "call") worker.calls.set(message.id, (message.cluster as { id: string }).id);
          if (message.type === "ask_progress") worker.asked.push(message.id);
          if (message.type === "answer") worker.answers.push(message);
          if (message.type === "signal")
            worker.signals.push(`${worker.calls.get(message.id)} ${message.name}`);
        };
        return {
          pid: workers.length,
          // The process answers later than the call returns.
          send: (message) => queueMicrotask(() => receive(message)),
          kill: () => worker.exit("signal SIGKILL"),
          rssBytes: () => worker.rssBytes,
        };
      },
      metrics: { workerEnded: (reason) => void ends.push(reason) },
    },
    {
      workers: count,
      limits: { ...WORKER_LIMITS, memoryMax: MEMORY_MAX },
      quarantine: { firstMs: 1000, maxMs: 1000 },
      work: {},
    },
  );
  return { pool, clock, workers, ends };
}

/** Lets everything happen that waits for no timer. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};

const collect = (pool: Pool, id: string, signal = new AbortController().signal) =>
  pool.collect(testCluster(id), { epoch: 3, signal, isStopping: () => false });

const clustersOf = (worker: FakeWorker): string[] => [...worker.calls.values()].toSorted();

test("calls are shared out evenly among the workers", async () => {
  const { pool, workers } = setUp(2);
  await settle();
  const results = ["a", "b", "c", "d"].map((id) => collect(pool, id));
  await settle();
  expect(workers.map(clustersOf)).toEqual([
    ["a", "c"],
    ["b", "d"],
  ]);
  for (const worker of workers) for (const id of clustersOf(worker)) worker.finish(id);
  expect((await Promise.all(results)).map(({ outcome }) => outcome)).toEqual(Array(4).fill("successful"));
  await pool.close();
});

test("a collection's progress is what its worker told last, which is asked again each time", async () => {
  const { pool, workers } = setUp(1);
  await settle();
  const reads: ReadProgress[] = [];
  const result = pool.collect(testCluster("a"), {
    signal: new AbortController().signal,
    epoch: 0,
    isStopping: () => false,
    offerProgress: (read) => void reads.push(read),
  });
  await settle();
  const [id] = [...workers[0]!.calls.keys()];
  expect(workers[0]!.asked).toEqual([]);
  expect(reads[0]!()).toBeNull();
  await settle();
  expect(workers[0]!.asked).toEqual([id]);
  const progress = { queries: 2, queries_done: 1, windows: 3, points: 4, series: 5, reading: [] };
  workers[0]!.tell({ type: "told", id: id!, value: progress });
  expect(reads[0]!()).toEqual(progress);
  // Another worker begins anew.
  workers[0]!.exit("exit code 134");
  await settle();
  expect(reads).toHaveLength(2);
  expect(reads[1]!()).toBeNull();
  workers[1]!.finish("a");
  await result;
  await settle();
  const asked = workers[1]!.asked.length;
  reads[1]!();
  await settle();
  expect(workers[1]!.asked).toHaveLength(asked);
  await pool.close();
});

test("a diagnosis tells its steps as its worker tells them", async () => {
  const { pool, workers } = setUp(1);
  await settle();
  const events: unknown[] = [];
  const diagnosis = pool.diagnose(testCluster("a"), new AbortController().signal, (event) =>
    events.push(event),
  );
  await settle();
  const [id] = [...workers[0]!.calls.keys()];
  const event = { kind: "step_started", step: "tls" };
  workers[0]!.tell({ type: "told", id: id!, value: event });
  expect(events).toEqual([event]);
  workers[0]!.finish("a");
  await diagnosis;
  await pool.close();
});

test("after a worker's end its clusters are tried one at a time for 15 s each, while the others go on in the other worker", async () => {
  const { pool, clock, workers, ends } = setUp(2);
  await settle();
  const results = ["a", "b", "c", "d"].map((id) => collect(pool, id));
  await settle();
  workers[0]!.exit("exit code 134");
  await settle();
  expect(ends).toEqual(["crashed"]);
  // "b" and "d" go on; "a" is alone in the worker that took the place.
  expect(clustersOf(workers[1]!)).toEqual(["b", "d"]);
  expect(clustersOf(workers[2]!)).toEqual(["a"]);
  const fifth = collect(pool, "e");
  await settle();
  expect(clustersOf(workers[1]!)).toEqual(["b", "d", "e"]);
  // A cluster that did no harm for 15 s is joined by the next one that must be tried.
  for (let ms = 0; ms < 15_000; ms += 1000) {
    for (const worker of workers) if (!worker.isDead) worker.tell({ type: "alive", rssBytes: 1 });
    clock.advance(1000);
  }
  await settle();
  expect(clustersOf(workers[2]!)).toEqual(["a", "c"]);
  for (const worker of workers.slice(1)) for (const id of clustersOf(worker)) worker.finish(id);
  expect((await Promise.all([...results, fifth])).map(({ outcome }) => outcome)).toEqual(
    Array(5).fill("successful"),
  );
  await pool.close();
});

test("a worker above its memory, one that is silent for 5 s, and one whose call does not end when told are replaced", async () => {
  const { pool, clock, workers, ends } = setUp(1);
  await settle();
  const late = new AbortController();
  const result = collect(pool, "a", late.signal);
  await settle();
  workers[0]!.rssBytes = MEMORY_MAX + 1;
  clock.advance(50);
  await settle();
  expect(ends).toEqual(["memory"]);
  // It was alone in its second worker, and silent.
  clock.advance(5000);
  await settle();
  expect(ends).toEqual(["memory", "frozen"]);
  expect(await result).toMatchObject({ outcome: "failed", error: { code: "cluster_quarantined" } });
  clock.advance(1000);
  const stuck = collect(pool, "a", late.signal);
  await settle();
  late.abort(new BridgeError("cluster_deadline_exceeded", "late"));
  await settle();
  expect(workers[2]!.signals).toEqual(["a abort"]);
  for (let ms = 0; ms < 10_000; ms += 1000) {
    workers[2]!.tell({ type: "alive", rssBytes: 1 });
    clock.advance(1000);
  }
  await settle();
  expect(ends).toEqual(["memory", "frozen", "stuck"]);
  expect(await stuck).toMatchObject({ outcome: "failed", error: { code: "cluster_deadline_exceeded" } });
  await pool.close();
});

test("a worker reaches the records and credentials of its clusters only", async () => {
  const { pool, workers } = setUp(1);
  await settle();
  const result = collect(pool, "a");
  await settle();
  const [worker] = workers;
  const ask = async (name: "get" | "open_credentials", ...args: unknown[]): Promise<ToWorker | undefined> => {
    worker!.tell({ type: "request", id: 7, name, args });
    await settle();
    return worker!.answers.pop();
  };
  expect(await ask("get", "progress:a")).toEqual({ type: "answer", id: 7, value: undefined });
  const refused = { type: "answer", id: 7, error: { code: "internal" } };
  expect(await ask("get", "progress:b")).toMatchObject(refused);
  expect(await ask("get", "cluster:a")).toMatchObject(refused);
  expect(await ask("get", "clusters")).toMatchObject(refused);
  expect(await ask("open_credentials", "b", "jwe")).toMatchObject(refused);
  expect(await ask("open_credentials", "a", "jwe")).toMatchObject({
    error: { code: "credentials_key_unknown" },
  });
  worker!.finish("a");
  expect(await result).toMatchObject({ outcome: "successful" });
  await pool.close();
});

test("no worker that starts: calls fail with the reason when their time is over", async () => {
  const { pool, clock, workers } = setUp(1);
  workers[0]!.exit("EAGAIN");
  const late = new AbortController();
  const result = collect(pool, "a", late.signal);
  await settle();
  late.abort(new BridgeError("cluster_deadline_exceeded", "late"));
  expect(await result).toMatchObject({ error: { code: "worker_unavailable" } });
  expect(pool.problems()).toEqual([]);
  for (let start = 1; start < 3; start++) {
    clock.advance(5000);
    workers.at(-1)!.exit("EAGAIN");
    await settle();
  }
  expect(workers).toHaveLength(3);
  expect(pool.problems()).toEqual(["no collection worker could be started"]);
  clock.advance(5000);
  await settle();
  expect(pool.problems()).toEqual([]);
  await pool.close();
});
