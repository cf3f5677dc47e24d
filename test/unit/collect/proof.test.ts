import { expect, test } from "vitest";
import { readProof } from "#collect/proof-store.ts";
import { stretchesOf, type Stretch } from "#collect/stretches.ts";
import { BridgeError } from "#errors/error.ts";
import type { CollectClusterSettings } from "#collect/collect-cluster.ts";
import { createCollection, HOUR, MINUTE, SECOND, START, type Collection } from "../../helpers/collection.ts";
import type { SourceSeries } from "../../helpers/fake-prometheus.ts";

// Whole collections between a Prometheus, a Collector and a store in memory, with stretches of ten minutes.

const STRETCH = 10 * MINUTE;
const PROOF = { stretchMs: STRETCH, delayMs: 15 * MINUTE };
const EACH_QUARTER_MINUTE = { labels: {}, everyMs: 15 * SECOND, offsetMs: 0 };

function createProved(
  change: Partial<CollectClusterSettings> & {
    specs?: { name: string; promql: string; group: string }[];
    series?: SourceSeries[];
  } = {},
): Collection {
  return createCollection({
    proof: PROOF,
    specs: [
      { name: "a", promql: "a", group: "test" },
      { name: "b", promql: "b", group: "test" },
    ],
    series: [
      { metric: "a", ...EACH_QUARTER_MINUTE },
      { metric: "b", ...EACH_QUARTER_MINUTE },
    ],
    ...change,
  });
}

/** Collects every 5 minutes for this time. */
async function collectFor(collection: Collection, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5 * MINUTE) {
    collection.advance(5 * MINUTE);
    const result = await collection.run();
    expect(result.error).toBeNull();
  }
}

async function stretches(collection: Collection, name = "a"): Promise<Stretch[]> {
  const query = collection.settings.queries.find((each) => each.name === name)!;
  const progress = (await collection.progress()).queries[name]!;
  const proof = await readProof(collection.store, collection.cluster.id, PROOF.stretchMs);
  return stretchesOf(query, progress, proof, { from: 0, to: collection.prometheus.nowMs });
}

const statesOf = async (collection: Collection, name?: string): Promise<string[]> =>
  (await stretches(collection, name)).map(({ state }) => state);

test("each stretch is compared 15 minutes after its end, in one request for all queries", async () => {
  const collection = createProved();
  await collection.run();
  await collectFor(collection, 60 * MINUTE);
  const found = await stretches(collection);
  const { nowMs } = collection.prometheus;
  const proved = found.filter(({ to }) => to + 15 * MINUTE <= nowMs);
  expect(proved.length).toBeGreaterThanOrEqual(5);
  expect(found.map(({ state }) => state)).toEqual(
    found.map((stretch) => (proved.includes(stretch) ? "proved" : "pending")),
  );
  for (const { source, read, acknowledged } of proved) expect([read, acknowledged]).toEqual([source, source]);
  expect(found.at(1)).toMatchObject({ source: 40, read: 40, refused: 0, late: 0 });
  const { counts } = collection.prometheus;
  expect(counts.every(({ selectors }) => selectors.join() === "a,b")).toBe(true);
  expect(counts).toHaveLength(proved.length);
});

test("a window that reaches over many stretches counts each sample in its own", async () => {
  const collection = createProved({ maxBackfillMs: 3 * HOUR, initialLookbackMs: 2 * HOUR });
  await collection.run();
  expect(collection.prometheus.reads.filter(({ query }) => query === "a").length).toBeLessThan(6);
  const found = await stretches(collection);
  expect(found.slice(1, 10).map(({ state, read }) => [state, read])).toEqual(
    Array.from({ length: 9 }, () => ["proved", 40]),
  );
  expect(found[0]).toMatchObject({ state: "proved" });
});

test("where refused samples of a long window belong is found out by reading each stretch alone", async () => {
  const collection = createProved({ maxBackfillMs: 3 * HOUR, initialLookbackMs: 2 * HOUR });
  const first = Math.ceil((collection.prometheus.nowMs - HOUR) / STRETCH) * STRETCH;
  collection.collector.onSend =
    () =>
    ({ metric, timestampMs }) =>
      metric === "a" && timestampMs > first && timestampMs <= first + STRETCH / 2;
  for (let i = 0; i < 4; i++) {
    await collection.run();
    collection.advance(5 * MINUTE);
  }
  const found = (await stretches(collection)).slice(0, 10);
  expect(found.map(({ state, late }) => [state, late])).toEqual(
    found.map(({ from }) => [from === first ? "refused" : "proved", 0]),
  );
  expect(found.find(({ from }) => from === first)).toMatchObject({ read: 40, acknowledged: 20, refused: 20 });
  const { gaps } = (await collection.progress()).queries["a"]!;
  expect(gaps.reduce((sum, { points }) => sum + points, 0)).toBe(20);
});

test("samples that arrive after their time was read are found, stored once and counted as late", async () => {
  const late = { metric: "a", labels: { node: "b" }, everyMs: 15 * SECOND, offsetMs: 1, lateMs: 4 * MINUTE };
  const collection = createProved({ series: [{ metric: "a", ...EACH_QUARTER_MINUTE }, late] });
  await collection.run();
  await collectFor(collection, 60 * MINUTE);
  const found = await stretches(collection);
  const whole = found[3];
  expect(whole).toMatchObject({
    state: "proved",
    source: 80,
    read: 80,
    acknowledged: 80,
  });
  expect(whole!.late).toBeGreaterThan(0);
  expect(whole!.late).toBeLessThan(40);
  const proved = found.filter(({ state }) => state === "proved").map(({ from }) => from);
  const stored = [...collection.collector.points.values()].filter(({ labels }) => labels["node"] === "b");
  for (const from of proved.slice(1))
    for (let at = from + 1; at <= from + STRETCH; at += 15 * SECOND)
      expect(stored.some(({ timestampMs }) => timestampMs === at)).toBe(true);
  expect(collection.logs.some(({ code }) => code === "samples_late")).toBe(true);
  const { last } = await collection.progress();
  expect(last!.success_at).not.toBeNull();
});

test("the watermark and the counted totals do not change when a stretch is read again", async () => {
  const late = { metric: "a", labels: { node: "b" }, everyMs: 15 * SECOND, offsetMs: 1, lateMs: 4 * MINUTE };
  const collection = createProved({ series: [{ metric: "a", ...EACH_QUARTER_MINUTE }, late] });
  await collection.run();
  let watermark = 0;
  for (let i = 0; i < 10; i++) {
    await collectFor(collection, 5 * MINUTE);
    const { committed, from } = (await collection.progress()).queries["a"]!;
    expect(committed).toHaveLength(1);
    expect(committed[0]![0]).toBe(from);
    expect(committed[0]![1]).toBeGreaterThan(watermark);
    watermark = committed[0]![1];
  }
});

test("a stretch that differs after each re-read is unproved, and not read for ever", async () => {
  const collection = createProved();
  collection.prometheus.countExtra = 1;
  await collection.run();
  await collectFor(collection, 90 * MINUTE);
  const [, second] = await stretches(collection);
  expect(second).toMatchObject({ state: "unproved", source: 41, read: 40, late: 0 });
  expect(second!.reason).toBe("differs_again");
  const again = collection.prometheus.reads.filter(
    ({ query, window }) => query === "a" && window.toMs === second!.to && window.fromMs === second!.from,
  );
  expect(again).toHaveLength(2);
});

test("a source that has fewer samples was not proved to be complete; one that was proved stays proved", async () => {
  const collection = createProved({ maxBackfillMs: 4 * HOUR });
  await collection.run();
  await collectFor(collection, 40 * MINUTE);
  expect((await statesOf(collection)).slice(0, 2)).toEqual(["proved", "proved"]);
  collection.prometheus.series = collection.prometheus.series.map((each) => ({
    ...each,
    everyMs: 30 * SECOND,
  }));
  await collectFor(collection, 3 * HOUR);
  const found = await stretches(collection);
  expect(found.slice(0, 2).map(({ state }) => state)).toEqual(["proved", "proved"]);
  expect(found.find(({ state }) => state === "unproved")).toMatchObject({
    reason: "source_has_fewer",
  });
  expect(found.slice(7, 11).map(({ state }) => state)).toEqual(["proved", "proved", "proved", "proved"]);
});

test("what another Prometheus Pod was read for is unproved until that Pod answers again", async () => {
  const collection = createProved();
  await collection.run();
  await collectFor(collection, 15 * MINUTE);
  const { pod } = collection.prometheus;
  collection.prometheus.pod = { uid: "pod-2", name: "prometheus-1" };
  await collectFor(collection, 40 * MINUTE);
  const reasons = (await stretches(collection)).map(({ reason }) => reason);
  expect(reasons.some((reason) => reason === "other_prometheus")).toBe(true);
  expect(reasons.some((reason) => reason === "several_prometheus")).toBe(true);
  collection.prometheus.pod = pod;
  await collectFor(collection, 5 * MINUTE);
  expect(
    (await stretches(collection)).filter(({ reason }) => reason === "other_prometheus"),
  ).not.toHaveLength(reasons.filter((reason) => reason === "other_prometheus").length);
});

test("a Pod with the same name and another UID is the same Prometheus", async () => {
  const collection = createProved();
  await collection.run();
  await collectFor(collection, 15 * MINUTE);
  collection.prometheus.pod = { ...collection.prometheus.pod, uid: "restarted" };
  await collectFor(collection, 40 * MINUTE);
  expect((await statesOf(collection)).slice(0, 5)).toEqual(Array.from({ length: 5 }, () => "proved"));
});

test("counts that were lost with the process only cause a stretch to be read again", async () => {
  const collection = createProved();
  await collection.run();
  await collectFor(collection, 15 * MINUTE);
  await collection.store.delete("proof:one");
  await collectFor(collection, 50 * MINUTE);
  const found = await stretches(collection);
  const after = found.filter(({ state }) => state === "proved");
  expect(after.length).toBeGreaterThanOrEqual(3);
  expect(after.every(({ late, source, read }) => late === 0 && source === read)).toBe(true);
});

test("a stretch that begins before the source's oldest samples is read again once, and not for ever", async () => {
  const collection = createProved();
  collection.prometheus.oldestMs = START - 8 * MINUTE;
  collection.collector.onSend = (points) => (points.some(({ metric }) => metric === "a") ? "down" : "accept");
  await collection.run();
  collection.collector.onSend = () => "accept";
  const { store } = collection;
  const put: typeof store.put = async (key, value, etag) => {
    if (key.startsWith("proof:")) throw new BridgeError("state_unavailable", "the counts are not saved");
    return await store.put(key, value, etag);
  };
  collection.deps.store = { ...store, put };
  await collection.run();
  collection.deps.store = store;
  await collectFor(collection, 60 * MINUTE);
  const states = (await stretches(collection)).map(({ state, reason }) => reason ?? state);
  expect(states).not.toContain("read_again");
  const oldest = collection.prometheus.reads.filter(({ window }) => window.fromMs < START - 8 * MINUTE);
  expect(oldest.length).toBeLessThanOrEqual(4);
});

test("a failing count is tried again, never fails the round, and is not asked for ever in one round", async () => {
  const collection = createProved();
  collection.prometheus.onCount = () => new BridgeError("prometheus_timeout", "no answer in 30 s");
  await collection.run();
  await collectFor(collection, 30 * MINUTE);
  const before = collection.prometheus.counts.length;
  await collectFor(collection, 5 * MINUTE);
  expect(collection.prometheus.counts.length - before).toBeLessThanOrEqual(4);
  expect((await stretches(collection))[0]).toMatchObject({
    state: "unproved",
    reason: "comparison_failed",
  });
  collection.prometheus.onCount = () => undefined;
  await collectFor(collection, 5 * MINUTE);
  expect((await statesOf(collection))[0]).toBe("proved");
});

test("when a joint count is refused, each query is counted alone", async () => {
  const collection = createProved();
  collection.prometheus.onCount = (selectors) =>
    selectors.length > 1 ? new BridgeError("prometheus_too_many_samples", "too many") : undefined;
  await collection.run();
  await collectFor(collection, 30 * MINUTE);
  expect((await statesOf(collection))[0]).toBe("proved");
  expect((await statesOf(collection, "b"))[0]).toBe("proved");
});

test("a source that can't count is read, and its samples are counted here", async () => {
  const collection = createProved();
  collection.prometheus.onCount = () => new BridgeError("prometheus_query_failed", "unsupported");
  await collection.run();
  await collectFor(collection, 30 * MINUTE);
  expect((await stretches(collection))[0]).toMatchObject({ state: "proved" });
});

test("a source that can't count is read once for many stretches", async () => {
  const collection = createProved({ maxBackfillMs: 3 * HOUR, initialLookbackMs: 2 * HOUR });
  collection.prometheus.onCount = () => new BridgeError("prometheus_query_failed", "unsupported");
  await collection.run();
  expect((await statesOf(collection)).slice(0, 10)).toEqual(Array.from({ length: 10 }, () => "proved"));
  expect(collection.prometheus.reads.filter(({ query }) => query === "a").length).toBeLessThanOrEqual(9);
  expect(collection.prometheus.counts.length).toBeLessThanOrEqual(2);
});

test("answers that may lack a part of the data prove nothing, and an expression has no proof", async () => {
  const collection = createProved({
    specs: [
      { name: "a", promql: "a", group: "t" },
      { name: "s", promql: "sum(a)", group: "t" },
    ],
  });
  collection.cluster.prometheus.acceptPartial = true;
  await collection.run();
  await collectFor(collection, 30 * MINUTE);
  expect((await stretches(collection))[0]).toMatchObject({
    state: "unproved",
    reason: "partial_answers",
  });
  expect((await stretches(collection, "s"))[0]).toMatchObject({
    state: "unproved",
    reason: "expression",
  });
  expect(collection.prometheus.counts).toEqual([]);
});

test("native histogram samples are part of what was read and acknowledged", async () => {
  // Windows end where stretches do: two of them are one stretch.
  const collection = createProved({
    specs: [{ name: "a", promql: "a", group: "t" }],
    lagMs: 4 * MINUTE,
  });
  await collection.run();
  Object.assign(collection.prometheus, { histogramSamples: 3, countExtra: 6 });
  await collectFor(collection, 50 * MINUTE);
  const proved = (await stretches(collection)).filter(({ state }) => state === "proved");
  const ofHistograms = proved.filter(({ read, acknowledged }) => read === 46 && acknowledged === 46);
  expect(ofHistograms.length).toBeGreaterThanOrEqual(2);
});
