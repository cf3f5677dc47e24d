import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createCollectCluster } from "#collect/collect-cluster.ts";
import { watermarkOf } from "#collect/progress.ts";
import { BridgeError } from "#errors/error.ts";
import { createMemoryBudget } from "#lib/memory-budget.ts";
import type { Window } from "#prometheus/window.ts";
import { createCollection, endOf, HOUR, MINUTE, SECOND, type Collection } from "../../helpers/collection.ts";
import { createCrashingProcess } from "../../helpers/crash-injection.ts";
import type { StoredPoint } from "../../helpers/fake-collector.ts";
import { samplesIn } from "../../helpers/fake-prometheus.ts";

// Twins scrape the same targets at other times. What is stored of a window comes from one answer of one of them, and that was whole.

const CUT = new BridgeError("prometheus_answer_truncated", "cut");
const PODS = ["prometheus-0", "prometheus-1"] as const;
const LATER_MS = 3000;

/** A cluster with twins, of which the one that the test names is ready. */
function createTwins(change: Parameters<typeof createCollection>[0] = {}): Collection & {
  useTwin(index: number): void;
} {
  const collection = createCollection({ batchPointsMax: 20, ...change });
  const { prometheus } = collection;
  prometheus.scrapesLaterMs = { [PODS[1]]: LATER_MS };
  const useTwin = (index: number): void => {
    prometheus.pod = { uid: `uid-${index}`, name: PODS[index]! };
  };
  useTwin(0);
  return { ...collection, useTwin };
}

type Read = Collection["prometheus"]["reads"][0];

const isIn = (at: number, { fromMs, toMs }: Window): boolean => at > fromMs && at <= toMs;

/** Times of the stored samples of a query in a window, by series. */
function storedIn({ collector }: Collection, query: string, window: Window): string[] {
  return [...collector.points.values()]
    .filter(({ metric, timestampMs }) => metric === query && isIn(timestampMs, window))
    .map(({ labels, timestampMs }) => `${JSON.stringify(labels)} ${timestampMs}`)
    .toSorted();
}

/** What the Pod of a read has in its window. */
function heldIn({ prometheus }: Collection, { query, window, pod }: Read): string[] {
  const later = prometheus.scrapesLaterMs[pod] ?? 0;
  return prometheus.series
    .filter(({ metric }) => metric === query)
    .flatMap((series) => samplesIn({ ...series, offsetMs: series.offsetMs + later }, window))
    .map(({ labels, timestampMs }) => `${JSON.stringify(labels)} ${timestampMs}`)
    .toSorted();
}

interface Sent {
  /** Reads of which points were sent. */
  reads: Set<Read>;
  /** Points that were sent and are of no whole answer. */
  strays: StoredPoint[];
}

function watchSends(collection: Collection): Sent {
  const { prometheus, collector } = collection;
  const sent: Sent = { reads: new Set(), strays: [] };
  collector.onSend = (points) => {
    for (const point of points) {
      if (point.metric.startsWith("budcluster_")) continue;
      const text = `${JSON.stringify(point.labels)} ${point.timestampMs}`;
      const read = prometheus.wholeReads.findLast(
        (each) =>
          each.query === point.metric &&
          isIn(point.timestampMs, each.window) &&
          heldIn(collection, each).includes(text),
      );
      if (read) sent.reads.add(read);
      else sent.strays.push(point);
    }
    return "accept";
  };
  return sent;
}

test("an answer that is cut stores nothing; the twin's answer is stored alone", async () => {
  const collection = createTwins({ initialLookbackMs: HOUR });
  const { prometheus, collector } = collection;
  // Many batches of each answer are full before it is cut.
  prometheus.onRead = () => ({ error: CUT, afterSeries: 1 });
  expect((await collection.run()).outcome).toBe("failed");
  expect([...collector.points.values()].filter(({ metric }) => !metric.startsWith("budcluster_"))).toEqual(
    [],
  );
  collection.useTwin(1);
  prometheus.onRead = () => undefined;
  expect((await collection.run()).outcome).toBe("successful");
  expect(prometheus.wholeReads.map(({ pod }) => pod)).toEqual(prometheus.wholeReads.map(() => PODS[1]));
  for (const read of prometheus.wholeReads) {
    const stored = storedIn(collection, read.query, read.window);
    expect(stored.length).toBeGreaterThan(20);
    expect(stored).toEqual(heldIn(collection, read));
  }
});

test("of several Pods that are asked for a window before all known data, the first with samples counts alone", async () => {
  const collection = createTwins({ initialLookbackMs: HOUR });
  const { prometheus } = collection;
  // `up` begins later than the samples: the earlier time is covered by no Pod.
  const upFromMs = endOf(collection) - 30 * MINUTE;
  prometheus.series.push({ metric: "up", labels: {}, everyMs: 15 * SECOND, offsetMs: 0, fromMs: upFromMs });
  prometheus.otherPods = [{ uid: "uid-1", name: PODS[1], oldestMs: 0 }];
  let cuts = 0;
  prometheus.onRead = ({ name }) =>
    name === "node_load1" && cuts++ < 2 ? { error: CUT, afterSeries: 1 } : undefined;
  await collection.run();
  await collection.run();
  // `up` is read to know when a Pod's data begin.
  const reads = prometheus.wholeReads.filter(({ query }) => query !== "up");
  expect(new Set(reads.map(({ query }) => query)).size).toBe(3);
  for (const read of reads) {
    const stored = storedIn(collection, read.query, read.window);
    const others = reads.filter(
      ({ query, window, pod }) =>
        query === read.query &&
        pod !== read.pod &&
        window.toMs > read.window.fromMs &&
        window.fromMs < read.window.toMs,
    );
    expect(others).toEqual([]);
    expect(stored).toEqual(heldIn(collection, read));
  }
});

test("a window whose answer is larger than what may be kept is read in shorter ones, and the length does not swing", async () => {
  // A window of an hour has 240 samples a series: some 30 KB, as the Collector of the test packs nothing.
  const collection = createTwins({ initialLookbackMs: 4 * HOUR, keptBytesMax: 10_000 });
  const { prometheus } = collection;
  expect(await collection.run()).toMatchObject({ outcome: "successful", error: null });
  for (const read of prometheus.wholeReads)
    expect(storedIn(collection, read.query, read.window)).toEqual(heldIn(collection, read));
  expect((await collection.progress()).queries["node_load1"]!.committed).toHaveLength(1);
  // From then on the length that fits is known.
  const failed: number[] = [];
  for (let round = 0; round < 6; round++) {
    const before = prometheus.reads.length;
    const wholeBefore = prometheus.wholeReads.length;
    collection.advance(HOUR);
    expect((await collection.run()).outcome).toBe("successful");
    failed.push(prometheus.reads.length - before - (prometheus.wholeReads.length - wholeBefore));
  }
  // At most one longer window of each query is tried in a round.
  for (const count of failed) expect(count).toBeLessThanOrEqual(3);
});

test("an answer that does not fit even in the shortest window fails by name, and the others are stored", async () => {
  const series = Array.from({ length: 40 }, (_, i) => ({
    metric: "kube_pod_info",
    labels: { pod: `pod-${i}` },
    everyMs: SECOND,
    offsetMs: 0,
  }));
  const { metric, labels, everyMs } = {
    metric: "node_load1",
    labels: { instance: "a" },
    everyMs: 15 * SECOND,
  };
  const collection = createTwins({
    keptBytesMax: 1000,
    batchPointsMax: 10,
    initialLookbackMs: MINUTE,
    series: [...series, { metric, labels, everyMs, offsetMs: 0 }],
  });
  const result = await collection.run();
  expect(result).toMatchObject({
    outcome: "partial",
    error: { code: "prometheus_answer_too_large", hint: expect.stringMatching(/QUERIES_FILE/) },
  });
  const names = new Set([...collection.collector.points.values()].map((point) => point.metric));
  expect(names.has("node_load1")).toBe(true);
  expect(names.has("kube_pod_info")).toBe(false);
});

test("a deadline that ends a wait for memory says so", async () => {
  const collection = createTwins();
  const memory = createMemoryBudget(1000);
  const holder = memory.open(() => {});
  holder.add(1000);
  collection.deps.memory = memory;
  const deadline = new AbortController();
  const ended = collection.run({ signal: deadline.signal });
  const late = new BridgeError("cluster_deadline_exceeded", "the deadline of 240 s is over");
  await expect.poll(() => memory.used()).toBe(1000);
  await expect.poll(() => holder.isShort()).toBe(true);
  collection.clock.advance(240_000);
  deadline.abort(late);
  const result = await ended;
  expect(result.error).toMatchObject({
    code: "cluster_deadline_exceeded",
    message: expect.stringMatching(/waited 240 s for memory.*MEMORY_BUDGET/),
  });
  expect(collection.prometheus.reads).toEqual([]);
  expect(memory.used()).toBe(1000);
});

test("many clusters with large answers stay within the budget, and give all of it back", async () => {
  const bytesMax = 2 << 20;
  const memory = createMemoryBudget(bytesMax);
  let peak = 0;
  const all = Array.from({ length: 8 }, () => {
    const collection = createTwins({
      initialLookbackMs: 3 * HOUR,
      batchPointsMax: 100,
      keptBytesMax: 300_000,
    });
    collection.deps.memory = memory;
    const { exporter } = collection.deps;
    const pack: typeof exporter.pack = async (batch) => {
      peak = Math.max(peak, memory.used());
      return await exporter.pack(batch);
    };
    collection.deps.exporter = { ...exporter, pack };
    collection.prometheus.onRead = () => {
      peak = Math.max(peak, memory.used());
      return undefined;
    };
    return collection;
  });
  const results = await Promise.all(all.map((each) => each.run()));
  expect(results.map(({ outcome }) => outcome)).toEqual(all.map(() => "successful"));
  for (const each of all)
    for (const read of each.prometheus.wholeReads)
      expect(storedIn(each, read.query, read.window)).toEqual(heldIn(each, read));
  expect(peak).toBeGreaterThan(bytesMax / 2);
  // What is read already and waits for others in a batch, or is on its way, never waits for memory.
  expect(peak).toBeLessThanOrEqual(bytesMax + 2 * all[0]!.settings.batchBytesMax);
  expect(memory.used()).toBe(0);
});

const roundArbitrary = fc.record({
  advanceMs: fc.integer({ min: 0, max: 15 * MINUTE }),
  pod: fc.integer({ min: 0, max: 1 }),
  reads: fc.array(fc.constantFrom("whole", "whole", "cut at once", "cut later"), {
    minLength: 1,
    maxLength: 8,
  }),
  crashAt: fc.option(fc.integer({ min: 1, max: 25 }), { nil: undefined }),
  isDone: fc.boolean(),
});

test("whatever is cut, whoever answers next, and wherever the process is killed: what is stored of a window is one Pod's", async () => {
  const scenario = fc.record({
    rounds: fc.array(roundArbitrary, { minLength: 1, maxLength: 6 }),
    batchPointsMax: fc.integer({ min: 1, max: 40 }),
    keptBytesMax: fc.constantFrom(3000, 8 << 20),
    memoryMax: fc.constantFrom(300_000, Infinity),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ rounds, memoryMax, ...settings }) => {
      const collection = createTwins(settings);
      const { prometheus } = collection;
      const sent = watchSends(collection);
      // Windows of a round that was killed may have been sent in part.
      const suspect: Read[] = [];
      const sound: Read[] = [];
      const quiet = { advanceMs: 5 * MINUTE, pod: 1, reads: ["whole"], crashAt: undefined, isDone: false };
      for (const round of [...rounds, quiet, quiet]) {
        collection.advance(round.advanceMs);
        collection.useTwin(round.pod);
        let reads = 0;
        prometheus.onRead = () => {
          const how = round.reads[reads++ % round.reads.length]!;
          return how === "whole" ? undefined : { error: CUT, afterSeries: how === "cut later" ? 1 : 0 };
        };
        const before = prometheus.reads.length;
        const memory = createMemoryBudget(memoryMax);
        const process = createCrashingProcess({ ...collection.deps, memory }, round.crashAt, round.isDone);
        const work = createCollectCluster(process.deps, collection.settings)(collection.cluster, {
          signal: new AbortController().signal,
          epoch: 0,
          isStopping: () => false,
        });
        const ended = await Promise.race([work, process.crashed]);
        (ended === "crashed" ? suspect : sound).push(...prometheus.reads.slice(before));
        expect(ended === "crashed" || memory.used() === 0).toBe(true);
      }
      expect(sent.strays).toEqual([]);
      const isTouched = ({ query, window }: Read): boolean =>
        suspect.some(
          (other) =>
            other.query === query && other.window.toMs > window.fromMs && other.window.fromMs < window.toMs,
        );
      for (const read of sound.filter((each) => sent.reads.has(each) && !isTouched(each)))
        expect(storedIn(collection, read.query, read.window)).toEqual(heldIn(collection, read));
      for (const state of Object.values((await collection.progress()).queries))
        expect(watermarkOf(state)).toBe(endOf(collection));
    }),
    { numRuns: 20 },
  );
}, 300_000);
