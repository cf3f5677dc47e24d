import * as fc from "fast-check";
import { expect, test } from "vitest";
import { missingIn } from "#collect/intervals.ts";
import {
  addGap,
  commit,
  fixedKind,
  forgetBefore,
  newQueryProgress,
  settledIntervals,
  watermarkOf,
  type Gap,
  type QueryProgress,
} from "#collect/progress.ts";

const gap = (from: number, to: number, change: Partial<Gap> = {}): Gap => ({
  from,
  to,
  state: "lost",
  reason: "gone",
  points: 0,
  ...change,
});
const saved = (query: QueryProgress): QueryProgress => JSON.parse(JSON.stringify(query)) as QueryProgress;

test("commits move the watermark only over what is whole", () => {
  const query = newQueryProgress("up", 100);
  expect(watermarkOf(query)).toBe(100);
  commit(query, [150, 200], { read: 3, sent: 3 });
  expect(watermarkOf(query)).toBe(100);
  commit(query, [100, 150], { read: 2, sent: 1 });
  expect(watermarkOf(query)).toBe(200);
  expect(query).toMatchObject({ committed: [[100, 200]], samples_read: 5, samples_sent: 4 });
});

test("a lost stretch lets the watermark pass, a refused one is already in a committed window", () => {
  const query = newQueryProgress("up", 100);
  addGap(query, gap(100, 150));
  expect(watermarkOf(query)).toBe(150);
  addGap(query, gap(150, 200, { state: "refused", points: 4 }));
  expect(watermarkOf(query)).toBe(150);
});

test("gaps that touch are one when state and reason are the same", () => {
  const query = newQueryProgress("up", 0);
  addGap(query, gap(10, 20, { state: "refused", points: 1 }));
  addGap(query, gap(20, 30, { state: "refused", points: 2 }));
  addGap(query, gap(30, 40, { state: "refused", reason: "other", points: 4 }));
  addGap(query, gap(30, 40));
  expect(query.gaps).toEqual([
    gap(10, 30, { state: "refused", points: 3 }),
    gap(30, 40, { state: "refused", reason: "other", points: 4 }),
    gap(30, 40),
  ]);
});

test("at most 50 gaps are kept, and what was lost in a forgotten one is not read again", () => {
  const query = newQueryProgress("up", 0);
  for (let i = 0; i < 80; i++) addGap(query, gap(i * 10, i * 10 + 5));
  expect(query.gaps).toHaveLength(50);
  expect(query.gaps[0]!.from).toBe(300);
  expect(missingIn([0, 800], settledIntervals(query))).toEqual(
    Array.from({ length: 80 }, (_, i) => [i * 10 + 5, i * 10 + 10]),
  );
});

test("a lost stretch whose gap is no longer kept is neither open nor committed, until it is out of reach", () => {
  const query = newQueryProgress("up", 0);
  for (let i = 0; i < 80; i++) {
    commit(query, [i * 10 + 5, i * 10 + 10], { read: 0, sent: 0 });
    addGap(query, gap(i * 10, i * 10 + 5));
  }
  expect(query.gaps).toHaveLength(50);
  expect(query.committed).toEqual(Array.from({ length: 80 }, (_, i) => [i * 10 + 5, i * 10 + 10]));
  expect(query.unlisted_lost).toEqual(Array.from({ length: 30 }, (_, i) => [i * 10, i * 10 + 5]));
  expect(watermarkOf(query)).toBe(800);
  forgetBefore(query, 292);
  expect(query.unlisted_lost).toEqual([[292, 295]]);
  forgetBefore(query, 300);
  expect(query.unlisted_lost).toBeUndefined();
});

test("what lies before the backfill is forgotten, once nothing of it is open", () => {
  const query = newQueryProgress("up", 0);
  commit(query, [0, 50], { read: 0, sent: 0 });
  commit(query, [60, 100], { read: 0, sent: 0 });
  forgetBefore(query, 70);
  expect(query).toMatchObject({
    from: 0,
    committed: [
      [0, 50],
      [60, 100],
    ],
  });
  commit(query, [50, 60], { read: 0, sent: 0 });
  forgetBefore(query, 70);
  expect(query).toMatchObject({ from: 70, committed: [[70, 100]] });
  expect(watermarkOf(query)).toBe(100);
  forgetBefore(query, 40);
  expect(query.from).toBe(70);
});

test("a gap stays in the record for a week after it is out of reach", () => {
  const week = 7 * 86_400_000;
  const query = newQueryProgress("up", 0);
  addGap(query, gap(0, 50));
  commit(query, [50, 2 * week], { read: 0, sent: 0 });
  forgetBefore(query, 49 + week);
  expect(query.gaps).toHaveLength(1);
  forgetBefore(query, 50 + week);
  expect(query.gaps).toEqual([]);
});

test("the first kind of a metric is kept; another one counts for windows beyond everything that may have been sent", () => {
  const query = newQueryProgress("up", 0);
  query.attempted = 100;
  expect(fixedKind(query, "m", "gauge", 100)).toBe("gauge");
  expect(fixedKind(query, "m", "counter", 100)).toBe("gauge");
  query.attempted = 200;
  expect(fixedKind(query, "m", "counter", 200)).toBe("counter");
  expect(fixedKind(query, "m", "counter", 101)).toBe("counter");
  expect(fixedKind(query, "m", "counter", 100)).toBe("gauge");
  expect(query.types["m"]).toEqual([
    { kind: "gauge", since: 0 },
    { kind: "counter", since: 100 },
  ]);
});

test("names that every object has are metrics like others", () => {
  const query = newQueryProgress("up", 0);
  for (const name of ["constructor", "toString", "__proto__"]) {
    expect(fixedKind(query, name, "counter", 100)).toBe("counter");
  }
  expect(({} as Record<string, unknown>)["kind"]).toBeUndefined();
});

test("kinds that are out of reach are forgotten", () => {
  const query = newQueryProgress("up", 0);
  query.attempted = 100;
  fixedKind(query, "m", "gauge", 100);
  fixedKind(query, "m", "counter", 100);
  commit(query, [0, 300], { read: 0, sent: 0 });
  forgetBefore(query, 99);
  expect(query.types["m"]).toHaveLength(2);
  forgetBefore(query, 100);
  expect(query.types["m"]).toEqual([{ kind: "counter", since: 100 }]);
  expect(fixedKind(query, "m", "counter", 150)).toBe("counter");
});

test("however often the source changes its mind, across restarts, a window never has two kinds", () => {
  const round = fc.record({
    kind: fc.constantFrom("counter" as const, "gauge" as const),
    steps: fc.integer({ min: 0, max: 3 }),
    isSaved: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(round, { maxLength: 15 }), (rounds) => {
      let query = newQueryProgress("up", 0);
      let end = 0;
      const given = new Map<number, string>();
      for (const { kind, steps, isSaved } of rounds) {
        end += steps * 10;
        query.attempted = Math.max(query.attempted, end);
        const before = saved(query);
        for (let toMs = 10; toMs <= end; toMs += 10) {
          const fixed = fixedKind(query, "m", kind, toMs);
          expect(given.get(toMs) ?? fixed).toBe(fixed);
          given.set(toMs, fixed);
        }
        // The first kind is saved before anything leaves; a change may get lost with the process.
        query = isSaved || before.types["m"] === undefined ? saved(query) : before;
      }
    }),
  );
});
