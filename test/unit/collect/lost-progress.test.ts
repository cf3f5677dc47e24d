import { expect, test } from "vitest";
import { planReads, preparePlan } from "#collect/plan.ts";
import { deleteProgress, openProgress } from "#collect/progress-store.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { createMemoryStore, type MemoryStore } from "../../helpers/memory-store.ts";

const MINUTE = 60_000;
const START = 1_700_000_040_000;
const SETTINGS = { initialLookbackMs: 2 * MINUTE, maxBackfillMs: 10 * MINUTE };
const QUERIES = toQueries([
  { name: "up", promql: "up", group: "test" },
  { name: "constructor", promql: "sum(up)", group: "test" },
]);
/** Prometheus has data from the beginning on. */
const UNKNOWN = { oldestMs: undefined, isFirstSight: false };
const OURS = { id: "ours", isNew: false };

/** One round up to `endMs` that commits everything. */
async function round(store: MemoryStore, endMs: number, target?: { id: string; isNew: boolean }) {
  const file = await openProgress(store, "edge", target);
  preparePlan(file.progress, QUERIES, endMs, UNKNOWN, SETTINGS);
  const { reads } = planReads(file.progress, QUERIES, endMs, [], SETTINGS);
  const open = reads.map((read) => read.open);
  for (const { progress } of reads) {
    progress.committed = [[progress.from, endMs]];
    progress.attempted = endMs;
  }
  await file.save();
  return {
    open,
    restart: file.restart,
    gaps: reads.map(({ progress }) => progress.gaps.map(({ from, to, state }) => [from, to, state])),
  };
}

const loseRecord = async (store: MemoryStore): Promise<void> => await store.delete("progress:edge");

test.each<[string, (store: MemoryStore) => Promise<void>, { id: string; isNew: boolean } | undefined]>([
  ["the progress is lost", loseRecord, undefined],
  ["the progress is lost, in all-in-one", loseRecord, OURS],
  ["the database is another one", async () => {}, { id: "another", isNew: true }],
])(
  "when %s, everything back to MAX_BACKFILL is read again, and the time before is lost",
  async (_what, lose, after) => {
    const store = createMemoryStore();
    const before = after && OURS;
    const first = START - SETTINGS.initialLookbackMs;
    expect((await round(store, START, before)).open).toEqual([[[first, START]], [[first, START]]]);
    for (let minute = 5; minute <= 30; minute += 5) await round(store, START + minute * MINUTE, before);
    await lose(store);

    const end = START + 35 * MINUTE;
    const floor = end - SETTINGS.maxBackfillMs;
    const { open, gaps, restart } = await round(store, end, after);
    expect(restart).toBeDefined();
    expect(open).toEqual([[[floor, end]], [[floor, end]]]);
    expect(gaps).toEqual([[[first, floor, "lost"]], [[first, floor, "lost"]]]);
    // Only once.
    const next = await round(store, end + 5 * MINUTE, after);
    expect([next.restart, next.open]).toEqual([
      undefined,
      [[[end, end + 5 * MINUTE]], [[end, end + 5 * MINUTE]]],
    ]);
  },
);

test.each([
  ["never collected", async () => {}],
  [
    "deleted and registered again",
    async (store: MemoryStore) => {
      await round(store, START - 60 * MINUTE);
      await deleteProgress(store, "edge");
    },
  ],
])("a cluster that was %s begins INITIAL_LOOKBACK ago", async (_what, prepare) => {
  const store = createMemoryStore();
  await prepare(store);
  const { open, gaps, restart } = await round(store, START);
  expect([open[0], gaps[0], restart]).toEqual([[[START - SETTINGS.initialLookbackMs, START]], [], undefined]);
});

test.each([
  ["of the same database", { id: "ours", isNew: false }, undefined],
  ["of a database that was emptied meanwhile", { id: "ours", isNew: true }, expect.any(String)],
])("a progress of an earlier version, %s", async (_what, target, restart) => {
  const store = createMemoryStore();
  await round(store, START);
  await store.delete("collected:edge");
  expect((await round(store, START + 5 * MINUTE, target)).restart).toEqual(restart);
});

test("a query that is added later begins INITIAL_LOOKBACK ago, also after a restart", async () => {
  const store = createMemoryStore();
  await round(store, START);
  await loseRecord(store);
  await round(store, START + 30 * MINUTE);
  const file = await openProgress(store, "edge");
  const end = START + 40 * MINUTE;
  preparePlan(
    file.progress,
    toQueries([{ name: "new", promql: "new", group: "test" }]),
    end,
    UNKNOWN,
    SETTINGS,
  );
  expect(file.progress.queries["new"]?.from).toBe(end - SETTINGS.initialLookbackMs);
});
