import * as fc from "fast-check";
import { expect, test } from "vitest";
import { earliestStart, planReads, preparePlan, type PlanSettings } from "#collect/plan.ts";
import {
  commit,
  emptyProgress,
  fixedKind,
  watermarkOf,
  type ClusterProgress,
  type QueryProgress,
} from "#collect/progress.ts";
import { createReadPlan } from "#collect/read-plan.ts";
import { toQueries, type Query } from "#prometheus/catalogue.ts";
import { HOUR, MINUTE, START } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const SETTINGS: PlanSettings & { windowMsMax: number } = {
  initialLookbackMs: 15 * MINUTE,
  maxBackfillMs: 24 * HOUR,
  windowMsMax: HOUR,
};
const toTestQueries = (names: string[], promql = (name: string) => name): Query[] =>
  toQueries(names.map((name) => ({ name, promql: promql(name), group: "node" })));
const ONE = toTestQueries(["a"]);

/** One round's plan in the order of its windows, as [query, from, to] relative to START. All reads take no time and succeed, or so it says. */
function plan(
  progress: ClusterProgress,
  endMs: number,
  queries = ONE,
  change: Partial<typeof SETTINGS> = {},
  oldestMs?: number,
): [string, number, number][] {
  const settings = { ...SETTINGS, ...change };
  preparePlan(progress, queries, endMs, { oldestMs, isFirstSight: false }, settings);
  const boundaries = oldestMs === undefined ? [] : [oldestMs - 1];
  const { reads } = planReads(progress, queries, endMs, boundaries, settings);
  const clock = createManualClock(endMs);
  const { windowMsMax } = settings;
  const limits = { windowMsMax, freshMs: 10 * MINUTE, lanes: 1, keptBytesMax: 8 << 20 };
  const readPlan = createReadPlan({ clock }, limits, reads, endMs);
  const tasks: [string, number, number][] = [];
  for (let task = readPlan.next(); task; task = readPlan.next()) {
    tasks.push([task.query.name, task.window.fromMs - START, task.window.toMs - START]);
    clock.advance(1);
    readPlan.ended(task, "done");
  }
  for (const query of queries) progress.queries[query.name]!.attempted = endMs;
  return tasks;
}

const state = (progress: ClusterProgress, name = "a"): QueryProgress => progress.queries[name]!;

function settle(progress: ClusterProgress, from: number, to: number, name = "a"): void {
  commit(state(progress, name), [START + from, START + to], { read: 0, sent: 0 });
}

test("the first contact reads the initial lookback", () => {
  expect(plan(emptyProgress(), START)).toEqual([["a", -15 * MINUTE, 0]]);
});

test("a cluster goes on where it ended; a window that failed is read again as one with what follows", () => {
  const progress = emptyProgress();
  plan(progress, START);
  settle(progress, -15 * MINUTE, 0);
  expect(plan(progress, START + 5 * MINUTE)).toEqual([["a", 0, 5 * MINUTE]]);
  expect(plan(progress, START + 10 * MINUTE)).toEqual([["a", 0, 10 * MINUTE]]);
  settle(progress, 0, 10 * MINUTE);
  expect(plan(progress, START + 10 * MINUTE)).toEqual([]);
});

test("a clock that went back plans nothing and loses nothing", () => {
  const progress = emptyProgress();
  plan(progress, START);
  settle(progress, -15 * MINUTE, 0);
  expect(plan(progress, START - 5 * MINUTE)).toEqual([]);
  expect(plan(progress, START + MINUTE)).toEqual([["a", 0, MINUTE]]);
  expect(state(progress).gaps).toEqual([]);
});

test("after a pause: each query's newest window first, then all others from the oldest on", () => {
  const progress = emptyProgress();
  const queries = toTestQueries(["a", "b"]);
  plan(progress, START, queries);
  settle(progress, -15 * MINUTE, 0, "a");
  settle(progress, -15 * MINUTE, -10 * MINUTE, "b");
  const tasks = plan(progress, START + 150 * MINUTE, queries);
  expect(tasks).toEqual([
    ["a", 140 * MINUTE, 150 * MINUTE],
    ["b", 140 * MINUTE, 150 * MINUTE],
    ["a", 0, 60 * MINUTE],
    ["b", -10 * MINUTE, 50 * MINUTE],
    ["a", 60 * MINUTE, 120 * MINUTE],
    ["b", 50 * MINUTE, 110 * MINUTE],
    ["a", 120 * MINUTE, 140 * MINUTE],
    ["b", 110 * MINUTE, 140 * MINUTE],
  ]);
});

test("what is older than MAX_BACKFILL is a lost gap, and not read", () => {
  const progress = emptyProgress();
  plan(progress, START);
  settle(progress, -15 * MINUTE, 0);
  const tasks = plan(progress, START + 30 * HOUR, ONE, { windowMsMax: 24 * HOUR });
  expect(tasks).toEqual([
    ["a", 30 * HOUR - 10 * MINUTE, 30 * HOUR],
    ["a", 6 * HOUR, 30 * HOUR - 10 * MINUTE],
  ]);
  expect(state(progress).gaps).toEqual([
    { from: START, to: START + 6 * HOUR, state: "lost", reason: "older than MAX_BACKFILL", points: 0 },
  ]);
  expect(watermarkOf(state(progress))).toBe(START + 6 * HOUR);
});

test("windows do not reach over the time that a Pod's data begin at; the oldest sample itself belongs to that Pod", () => {
  const progress = emptyProgress();
  plan(progress, START);
  settle(progress, -15 * MINUTE, 0);
  const oldest = START + 3 * MINUTE;
  expect(plan(progress, START + 5 * MINUTE, ONE, {}, oldest)).toEqual([
    ["a", 3 * MINUTE - 1, 5 * MINUTE],
    ["a", 0, 3 * MINUTE - 1],
  ]);
  expect(state(progress).gaps).toEqual([]);
});

test("a new query reads its whole lookback; of the time before Prometheus' oldest sample nothing is promised", () => {
  const progress = emptyProgress();
  const oldest = START - 3 * MINUTE;
  expect(plan(progress, START, ONE, {}, oldest)).toEqual([
    ["a", -3 * MINUTE - 1, 0],
    ["a", -15 * MINUTE, -3 * MINUTE - 1],
  ]);
  expect(state(progress)).toMatchObject({ from: START - 15 * MINUTE, promised_from: oldest - 1 });
  expect(state(progress).gaps).toEqual([]);
});

test("a query whose PromQL changed goes on where the old one ended; what that had not read is lost, and counts stay", () => {
  const progress = emptyProgress();
  plan(progress, START);
  commit(state(progress), [START - 15 * MINUTE, START - 5 * MINUTE], { read: 7, sent: 6 });
  fixedKind(state(progress), "a", "counter", START);
  const changed = toTestQueries(["a"], (name) => `rate(${name}[5m])`);
  expect(earliestStart(progress, changed, START + 3 * HOUR, SETTINGS)).toBe(START);
  const tasks = plan(progress, START + 3 * HOUR, changed, { windowMsMax: 24 * HOUR });
  expect(tasks).toEqual([
    ["a", 3 * HOUR - 10 * MINUTE, 3 * HOUR],
    ["a", 0, 3 * HOUR - 10 * MINUTE],
  ]);
  expect(state(progress)).toMatchObject({
    from: START,
    samples_read: 7,
    samples_sent: 6,
    types: {},
    gaps: [
      {
        from: START - 5 * MINUTE,
        to: START,
        state: "lost",
        reason: "the query's PromQL was changed before this was read",
      },
    ],
  });
  expect(plan(progress, START + 3 * HOUR, changed, { windowMsMax: 24 * HOUR })).toEqual(tasks);
});

test("a query that left the catalogue is not read, and goes on when it comes back", () => {
  const progress = emptyProgress();
  const both = toTestQueries(["a", "b"]);
  plan(progress, START, both);
  settle(progress, -15 * MINUTE, 0, "a");
  settle(progress, -15 * MINUTE, 0, "b");
  expect(plan(progress, START + MINUTE).map(([name]) => name)).toEqual(["a"]);
  expect(plan(progress, START + 2 * MINUTE, both)).toContainEqual(["b", 0, 2 * MINUTE]);
});

test("the earliest start: the lowest watermark, or the lookback of a query that is new", () => {
  const progress = emptyProgress();
  expect(earliestStart(progress, ONE, START, SETTINGS)).toBe(START - 15 * MINUTE);
  plan(progress, START);
  settle(progress, -15 * MINUTE, 0);
  expect(earliestStart(progress, ONE, START + MINUTE, SETTINGS)).toBe(START);
  const more = toTestQueries(["a", "new"]);
  expect(earliestStart(progress, more, START + MINUTE, SETTINGS)).toBe(START - 14 * MINUTE);
});

test("windows do not reach over a change of a metric's type", () => {
  const progress = emptyProgress();
  plan(progress, START);
  fixedKind(state(progress), "a", "gauge", START);
  plan(progress, START + 5 * MINUTE);
  fixedKind(state(progress), "a", "counter", START + 5 * MINUTE);
  const tasks = plan(progress, START + 10 * MINUTE);
  expect(tasks).toEqual([
    ["a", 5 * MINUTE, 10 * MINUTE],
    ["a", 0, 5 * MINUTE],
    ["a", -15 * MINUTE, 0],
  ]);
});

test("every plan covers exactly what is open, in windows that are short enough and do not overlap", () => {
  const stretch = fc.tuple(fc.integer({ min: -900, max: 600 }), fc.integer({ min: 1, max: 300 }));
  fc.assert(
    fc.property(
      fc.array(stretch, { maxLength: 8 }),
      fc.integer({ min: 10, max: 700 }),
      fc.option(fc.integer({ min: -900, max: 900 }), { nil: undefined }),
      (committed, windowSeconds, oldest) => {
        const progress = emptyProgress();
        plan(progress, START);
        for (const [from, seconds] of committed) {
          settle(progress, from * 1000, Math.min(from + seconds, 600) * 1000);
        }
        const end = START + 600_000;
        const oldestMs = oldest === undefined ? undefined : START + oldest * 1000;
        const tasks = plan(progress, end, ONE, { windowMsMax: windowSeconds * 1000 }, oldestMs);
        for (const [, from, to] of tasks) {
          const edge = oldestMs === undefined ? from : oldestMs - 1 - START;
          expect(from < edge && edge < to).toBe(false);
        }
        for (const [, from, to] of tasks) {
          expect(to - from).toBeLessThanOrEqual(windowSeconds * 1000);
          expect(to).toBeGreaterThan(from);
        }
        const planned = tasks.reduce((sum, [, from, to]) => sum + to - from, 0);
        const settled = (): number => {
          const { committed: done, gaps } = state(progress);
          const all = [...done, ...gaps.map((gap) => [gap.from, gap.to] as const)];
          return all.reduce(
            (sum, [from, to]) => sum + Math.min(to, end) - Math.max(from, START - 900_000),
            0,
          );
        };
        expect(planned + settled()).toBe(1500_000);
        for (const [, from, to] of tasks) settle(progress, from, to);
        expect(settled()).toBe(1500_000);
        expect(watermarkOf(state(progress))).toBe(end);
      },
    ),
  );
});
