import * as fc from "fast-check";
import { expect, test } from "vitest";
import { KINDS, nameOf, planFaults } from "../../soak/plan.ts";

const MINUTE_MS = 60_000;

test("there are three kinds of faults of each of six parts", () => {
  expect(new Set(KINDS.map(nameOf)).size).toBe(18);
});

test("three minutes have each kind once, ten minutes three times", () => {
  const counts = (minutes: number): number[] => {
    const plan = planFaults(7, minutes * MINUTE_MS).map(nameOf);
    return KINDS.map((kind) => plan.filter((name) => name === nameOf(kind)).length);
  };
  expect(new Set(counts(3))).toEqual(new Set([1]));
  expect(new Set(counts(10))).toEqual(new Set([3]));
});

test("faults begin in order and are over before the end, whatever the seed", () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 3, max: 60 }), (seed, minutes) => {
      const plan = planFaults(seed, minutes * MINUTE_MS);
      expect(plan.map(({ atMs }) => atMs)).toEqual(plan.map(({ atMs }) => atMs).toSorted((a, b) => a - b));
      for (const { forMs } of plan) expect(forMs).toBeGreaterThanOrEqual(1000);
      expect(Math.max(...plan.map(({ atMs, forMs }) => atMs + forMs))).toBeLessThanOrEqual(
        minutes * MINUTE_MS + 1,
      );
    }),
  );
});

test("a seed plans the same faults again, another seed others", () => {
  expect(planFaults(1, 3 * MINUTE_MS)).toEqual(planFaults(1, 3 * MINUTE_MS));
  expect(planFaults(1, 3 * MINUTE_MS)).not.toEqual(planFaults(2, 3 * MINUTE_MS));
});
