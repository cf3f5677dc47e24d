import { expect, test } from "vitest";
import { addGap, commit, lose, newQueryProgress } from "#collect/progress.ts";
import { openProof, readProof } from "#collect/proof-store.ts";
import { countReread, countWindow, emptyProof, stretchAt, stretchStart } from "#collect/proof.ts";
import type { ClusterProof, QueryProof } from "#collect/proof.ts";
import { stretchesOf } from "#collect/stretches.ts";
import { STRETCH_REASONS } from "#lib/stretch-states.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { BridgeError } from "#errors/error.ts";
import { createMemoryStore } from "../../helpers/memory-store.ts";

const HOUR = 3_600_000;
const T = 480_000 * HOUR;
const [UP, RATE] = toQueries([
  { name: "up", promql: "up", group: "test" },
  { name: "cpu", promql: "sum(rate(cpu[5m]))", group: "test" },
]) as [ReturnType<typeof toQueries>[number], ReturnType<typeof toQueries>[number]];

const counts = (acknowledged: number, refused = 0) => ({ acknowledged, refused, histograms: 0 });

/** Progress of `up` from T on, read for three hours, and what is counted of it. */
function scene() {
  const progress = newQueryProgress(UP.promql, T);
  progress.attempted = T + 3 * HOUR;
  const proof: ClusterProof = emptyProof(HOUR);
  const query: QueryProof = { promqlHash: progress.promql_hash, from: T, lateTotal: 0, stretches: [] };
  proof.queries["up"] = query;
  for (const i of [0, 1, 2]) {
    const window = [T + i * HOUR, T + (i + 1) * HOUR] as const;
    commit(progress, window, { read: 10, sent: 10 });
    countWindow(stretchAt(query, window[0]), window, counts(10), "prometheus-0");
  }
  const compared = (i: number, source: number) =>
    Object.assign(query.stretches[i]!, { source, comparedAt: T + 4 * HOUR, comparisons: 1 });
  const states = () =>
    stretchesOf(UP, progress, proof, { from: 0, to: T + 4 * HOUR }).map(({ state }) => state);
  return { progress, proof, query, compared, states };
}

test("a window's end decides to which stretch it belongs: stretches are left-open", () => {
  expect(stretchStart(T, HOUR)).toBe(T - HOUR);
  expect(stretchStart(T + 1, HOUR)).toBe(T);
  expect(stretchStart(T + HOUR, HOUR)).toBe(T);
});

test("a stretch is pending until it ends and is compared, then proved", () => {
  const { states, compared } = scene();
  expect(states()).toEqual(["pending", "pending", "pending", "pending"]);
  compared(0, 10);
  expect(states()).toEqual(["proved", "pending", "pending", "pending"]);
});

test("lost, open, refused and unproved stretches say so, with the reason", () => {
  const { progress, proof, query, compared } = scene();
  compared(0, 10).counts = counts(9, 1);
  addGap(progress, { from: T, to: T + HOUR, state: "refused", reason: "too large", points: 1 });
  compared(1, 9).unproved = "source_has_fewer";
  compared(2, 11).reread = { settled: [], counts: counts(0) };
  progress.attempted = T + 5 * HOUR;
  lose("up", progress, [T + 4 * HOUR, T + 5 * HOUR], "no_pod_has_it");
  const stretches = stretchesOf(UP, progress, proof, { from: T, to: T + 5 * HOUR });
  expect(stretches.map(({ state, reason }) => [state, reason])).toEqual([
    ["refused", "refused"],
    ["unproved", "source_has_fewer"],
    ["open", "read_again"],
    ["open", "not_read"],
    ["lost", "no_pod_has_it"],
  ]);
  expect(stretches[0]).toMatchObject({ detail: "too large" });
  expect(stretches[0]).toMatchObject({ source: 10, read: 10, acknowledged: 9, refused: 1, late: 0 });
  expect(query.stretches).toHaveLength(3);
});

test("an expression has no proof", () => {
  const progress = { ...newQueryProgress(RATE.promql, T), attempted: T + HOUR };
  commit(progress, [T, T + HOUR], { read: 60, sent: 60 });
  const [stretch] = stretchesOf(RATE, progress, emptyProof(HOUR), { from: T, to: T + HOUR });
  expect(stretch).toMatchObject({ state: "unproved", reason: "expression" });
});

test("time that was read before counting began, or that left MAX_BACKFILL uncompared, is not proved", () => {
  const { progress, proof, query } = scene();
  query.from = T + HOUR;
  progress.from = T + 3 * HOUR;
  progress.committed = [];
  const stretches = stretchesOf(UP, progress, proof, { from: T, to: T + 3 * HOUR });
  expect(stretches.map(({ reason }) => reason)).toEqual(["not_counted", "not_compared", "not_compared"]);
});

test("counts survive in their record, and go when PROOF_STRETCH changes", async () => {
  const store = createMemoryStore();
  const file = await openProof(store, "one", HOUR);
  const { query, compared, proof } = scene();
  compared(0, 10);
  const late = Object.assign(compared(1, 12), { late: 2, rereads: 1, unproved: "differs_again" });
  late.reread = { settled: [], counts: counts(0) };
  countReread(late.reread, [T + HOUR, T + 1.5 * HOUR], counts(6, 1));
  countWindow(stretchAt(query, T + 3 * HOUR), [T + 3 * HOUR, T + 3.5 * HOUR], counts(5), "prometheus-1");
  Object.assign(file.proof, proof);
  await file.save();
  await file.save();
  expect(await readProof(store, "one", HOUR)).toEqual(proof);
  expect((await openProof(store, "one", HOUR)).restart).toBeUndefined();
  const other = await openProof(store, "one", HOUR / 2);
  expect(other).toMatchObject({ proof: emptyProof(HOUR / 2), restart: "PROOF_STRETCH was changed" });
  await other.save();
  expect((await readProof(store, "one", HOUR / 2)).queries).toEqual({});
});

test.each([[null], [1], [{ version: 2 }], [{ version: 1, pods: [], queries: { up: null } }]])(
  "a record with %j is replaced by an empty one, and the log can say so",
  async (value) => {
    const store = createMemoryStore();
    await store.put("proof:one", value, undefined);
    const file = await openProof(store, "one", HOUR);
    expect(file).toMatchObject({ proof: emptyProof(HOUR), restart: "the record of its counts is damaged" });
    await file.save();
    expect((await openProof(store, "one", HOUR)).restart).toBeUndefined();
  },
);

test("a record that the store can't read is deleted and replaced", async () => {
  const store = createMemoryStore();
  await store.put("proof:one", {}, undefined);
  const damaged = {
    ...store,
    get: () => Promise.reject(new BridgeError("state_record_damaged", "not JSON")),
  };
  const file = await openProof(damaged, "one", HOUR);
  await file.save();
  expect((await openProof(store, "one", HOUR)).restart).toBeUndefined();
});

test("each reason has a number of its own, and a lost gap of another version still has a reason", () => {
  const numbers = Object.values(STRETCH_REASONS).map(({ number }) => number);
  expect(new Set(numbers).size).toBe(numbers.length);
  const progress = { ...newQueryProgress(UP.promql, T), attempted: T + HOUR };
  addGap(progress, { from: T, to: T + HOUR, state: "lost", reason: "an older text", points: 0 });
  const [stretch] = stretchesOf(UP, progress, emptyProof(HOUR), { from: T, to: T + HOUR });
  expect(stretch).toMatchObject({ state: "lost", reason: "lost" });
});
