import { expect, test } from "vitest";
import { newQueryProgress } from "#collect/progress.ts";
import { createReadPlan } from "#collect/read-plan.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import { HOUR, MINUTE, START } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const SETTINGS = { windowMsMax: HOUR, freshMs: 10 * MINUTE, lanes: 1, keptBytesMax: 8 << 20 };

/** A plan of queries that were last read at these times by the bridge's clock, which says START. */
function planOf(readAt: Readonly<Record<string, number | undefined>>) {
  const queries = toQueries(Object.keys(readAt).map((name) => ({ name, promql: name, group: "node" })));
  const reads = queries.map((query) => {
    const progress = newQueryProgress(query.promql, START - HOUR);
    const at = readAt[query.name];
    if (at !== undefined) progress.read_at = at;
    return { query, progress, open: [[START - HOUR, START] as const], boundaries: [] };
  });
  return createReadPlan({ clock: createManualClock(START) }, SETTINGS, reads, START);
}

test("a plan knows the windows under way and the queries that are not done", () => {
  const plan = planOf({ a: undefined, b: undefined });
  expect([plan.unfinished(), plan.reading()]).toEqual([2, []]);
  const [first, second] = [plan.next()!, plan.next()!];
  expect(plan.reading()).toEqual([first, second]);
  plan.ended(first, "done");
  expect(plan.reading()).toEqual([second]);
  let last = second;
  for (let task = plan.next(); task; task = plan.next()) {
    plan.ended(last, "done");
    last = task;
  }
  // Nothing is left to read, but one window is under way.
  expect([plan.unfinished(), plan.reading()]).toEqual([1, [last]]);
  plan.ended(last, "failed");
  expect([plan.unfinished(), plan.reading()]).toEqual([0, []]);
});

test.each([
  ["never read", undefined],
  ["read longest ago", START - HOUR],
  ["read in the future, by a clock that was set back since", START + 24 * HOUR],
])("a query that was %s comes first", (_, at) => {
  const plan = planOf({ a: START - MINUTE, b: at, c: START - 2 * MINUTE });
  expect(plan.next()?.query.name).toBe("b");
});
