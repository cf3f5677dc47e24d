import { expect, test } from "vitest";
import {
  createClusterCompleteness,
  stretchesOfQuery,
  type CollectionRecords,
} from "#collect/completeness.ts";
import { commit, emptyProgress, lose, newQueryProgress } from "#collect/progress.ts";
import { openProgress } from "#collect/progress-store.ts";
import { openProof } from "#collect/proof-store.ts";
import { countWindow, emptyProof, stretchAt } from "#collect/proof.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { testCluster } from "../../helpers/collection.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";

const HOUR = 3_600_000;
const T = 480_000 * HOUR;
const QUERIES = toQueries([
  { name: "up", promql: "up", group: "test" },
  { name: "down", promql: "down", group: "test" },
]);
const [UP] = QUERIES as [(typeof QUERIES)[number]];
const RANGE = { from: T, to: T + 2 * HOUR };

/** Two hours of `up`, of which the first is proved with so many samples. */
function recordsOf(samples: number): CollectionRecords {
  const records = { progress: emptyProgress(), proof: emptyProof(HOUR) };
  const progress = newQueryProgress(UP.promql, T);
  progress.attempted = T + 2 * HOUR;
  records.progress.queries["up"] = progress;
  const proof = { promqlHash: progress.promql_hash, from: T, lateTotal: 0, stretches: [] };
  records.proof.queries["up"] = proof;
  const counts = { acknowledged: samples, refused: 0, histograms: 0 };
  for (const from of [T, T + HOUR]) {
    commit(progress, [from, from + HOUR], { read: samples, sent: samples });
    countWindow(stretchAt(proof, from), [from, from + HOUR], counts, "prometheus-0");
  }
  Object.assign(stretchAt(proof, T), { source: samples, comparedAt: T + 90 * 60_000, comparisons: 1 });
  return records;
}

test("the shards of a Prometheus are one: the worst state counts, samples add up", () => {
  const [one, other] = [recordsOf(10), recordsOf(7)];
  lose("up", other.progress.queries["up"]!, [T + 2 * HOUR, T + 3 * HOUR], "no_pod_has_it");
  const [first, second, third] = stretchesOfQuery(UP, [one, other], { from: T, to: T + 3 * HOUR });
  expect(first).toMatchObject({ state: "proved", source: 17, read: 17, acknowledged: 17 });
  expect(second).toMatchObject({ state: "pending", source: null, read: 17, comparedAt: null });
  expect(third).toMatchObject({ state: "lost", reason: "no_pod_has_it" });
  const [alone] = stretchesOfQuery(UP, [one], RANGE);
  expect(alone).toMatchObject({ state: "proved", source: 10, read: 10 });
});

test("a shard that began later does not hide the earlier stretches of the other one", () => {
  const late = recordsOf(7);
  late.progress.queries["up"]!.from = T + HOUR;
  late.proof.queries["up"]!.from = T + HOUR;
  late.proof.queries["up"]!.stretches.shift();
  const stretches = stretchesOfQuery(UP, [recordsOf(10), late], RANGE);
  expect(stretches.map(({ from, read }) => [from, read])).toEqual([
    [T, 10],
    [T + HOUR, 17],
  ]);
});

async function collected(stretchMs = HOUR) {
  const store = createMemoryStore();
  const { progress, proof } = recordsOf(10);
  const progressFile = await openProgress(store, "one");
  Object.assign(progressFile.progress, progress);
  await progressFile.save();
  const proofFile = await openProof(store, "one", HOUR);
  Object.assign(proofFile.proof, proof);
  await proofFile.save();
  const registry = { list: async () => [testCluster("one"), testCluster("new")] };
  return createClusterCompleteness(
    { registry, store, turns: createTurns() },
    { queries: QUERIES, stretchMs },
  );
}

test("the completeness of a cluster is that of its records, the oldest stretch first", async () => {
  const completeness = await collected();
  const stretches = await completeness.read({ clusterId: "one", ...RANGE });
  expect(stretches.map(({ query, from, state }) => [query, from, state])).toEqual([
    ["up", T, "proved"],
    ["up", T + HOUR, "pending"],
  ]);
  expect(await completeness.read({ clusterId: "one", ...RANGE, query: "down" })).toEqual([]);
  expect(await completeness.read({ clusterId: "new", ...RANGE })).toEqual([]);
});

test("a cluster whose samples were not counted before an upgrade says so", async () => {
  const completeness = await collected(HOUR / 2);
  const stretches = await completeness.read({ clusterId: "one", ...RANGE });
  expect(stretches.map(({ state, reason }) => [state, reason])).toEqual(
    Array.from({ length: 4 }, () => ["unproved", "not_counted"]),
  );
});

test("an unknown cluster and an unknown query are named", async () => {
  const completeness = await collected();
  expect(await bridgeErrorOf(completeness.read({ clusterId: "two", ...RANGE }))).toMatchObject({
    code: "cluster_not_found",
  });
  const unknown = completeness.read({ clusterId: "one", ...RANGE, query: "upp" });
  expect(await bridgeErrorOf(unknown)).toMatchObject({
    code: "request_invalid",
    details: { fields: [{ field: "query", problem: expect.stringContaining("upp") }] },
  });
});

test("the number of stretches is known before they are read", async () => {
  const completeness = await collected();
  expect(completeness.countMax(RANGE)).toBe(4);
  expect(completeness.countMax({ from: T + 1, to: T + HOUR + 1 })).toBe(4);
  expect(completeness.countMax({ ...RANGE, query: "up" })).toBe(2);
  expect(completeness.countMax({ ...RANGE, query: "other" })).toBe(0);
});
