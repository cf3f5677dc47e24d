import * as fc from "fast-check";
import { expect, test } from "vitest";
import { addInterval, coveredUntil, dropBefore, missingIn, type Interval } from "#collect/intervals.ts";

const END = 60;
const interval = fc
  .tuple(fc.integer({ min: 0, max: END }), fc.integer({ min: 0, max: END }))
  .map(([a, b]): Interval => [a, b]);
const intervals = fc.array(interval, { maxLength: 12 });

/** The milliseconds in (from, to]. */
function msOf(list: readonly Interval[]): number[] {
  const all = new Set<number>();
  for (const [from, to] of list) for (let ms = from + 1; ms <= to; ms++) all.add(ms);
  return [...all].sort((a, b) => a - b);
}

const add = (list: readonly Interval[]): Interval[] => list.reduce<Interval[]>(addInterval, []);

function isNormal(list: readonly Interval[]): boolean {
  return list.every(([from, to], i) => from < to && (i === 0 || list[i - 1]![1] < from));
}

test("added intervals hold exactly the milliseconds that were added, sorted and merged", () => {
  fc.assert(
    fc.property(intervals, (list) => {
      const before = structuredClone(list);
      const merged = add(list);
      expect(msOf(merged)).toEqual(msOf(list));
      expect(isNormal(merged)).toBe(true);
      expect(list).toEqual(before);
    }),
  );
});

test("what is missing and what is covered make up the range, without overlap", () => {
  fc.assert(
    fc.property(intervals, interval, (list, range) => {
      const covered = add(list);
      const missing = missingIn(range, covered);
      const inRange = new Set(msOf([range]));
      const taken = new Set(msOf(covered));
      expect(msOf(missing)).toEqual([...inRange].filter((ms) => !taken.has(ms)));
      expect(isNormal(missing)).toBe(true);
    }),
  );
});

test("covered until: the last millisecond before the first that is missing", () => {
  fc.assert(
    fc.property(intervals, fc.integer({ min: 0, max: END }), (list, from) => {
      const covered = add(list);
      const taken = new Set(msOf(covered));
      let until = from;
      while (taken.has(until + 1)) until++;
      expect(coveredUntil(from, covered)).toBe(until);
    }),
  );
});

test("dropping before a time keeps exactly what is after it", () => {
  fc.assert(
    fc.property(intervals, fc.integer({ min: 0, max: END }), (list, at) => {
      const kept = dropBefore(at, add(list));
      expect(msOf(kept)).toEqual(msOf(list).filter((ms) => ms > at));
      expect(isNormal(kept)).toBe(true);
    }),
  );
});
