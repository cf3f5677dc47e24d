import { assert, integer, property } from "fast-check";
import { expect, it } from "vitest";
import { planGrid } from "#query/grid.ts";
import { QUERY_DEFAULTS } from "../../helpers/query-defaults.ts";

const NOW_MS = Date.UTC(2026, 0, 10);

it.each([
  { start: 0, end: 60, step: 60, first: 60, last: 60, points: 1, window: 120 },
  { start: 0, end: 59, step: 59, first: 59, last: 59, points: 1, window: 120 },
  { start: 1, end: 121, step: 60, first: 60, last: 120, points: 2, window: 120 },
  { start: 60, end: 3660, step: 120, first: 120, last: 3600, points: 30, window: 120 },
  { start: 60, end: 7260, step: 3600, first: 3600, last: 7200, points: 2, window: 3600 },
])("$start to $end s by $step s", ({ start, end, step, first, last, points, window }) => {
  const request = { startMs: start * 1000, endMs: end * 1000, stepMs: step * 1000 };
  expect(planGrid(request, NOW_MS, QUERY_DEFAULTS.limits)).toEqual({
    stepMs: step * 1000,
    windowMs: window * 1000,
    firstMs: first * 1000,
    lastMs: last * 1000,
    points,
  });
});

it("has every multiple of the step after the start up to the end, and no other", () => {
  assert(
    property(
      integer({ min: 0, max: 1e9 }),
      integer({ min: 60_000, max: 1e9 }),
      integer({ min: 1, max: 60 }),
      (startMs, lengthMs, stepSeconds) => {
        const endMs = startMs + lengthMs;
        const stepMs = Math.max(stepSeconds, Math.ceil(lengthMs / 1e7)) * 1000;
        const grid = planGrid({ startMs, endMs, stepMs }, NOW_MS, QUERY_DEFAULTS.limits);
        expect([grid.firstMs % stepMs, grid.lastMs % stepMs]).toEqual([0, 0]);
        expect(grid.firstMs - stepMs).toBeLessThanOrEqual(startMs);
        expect(grid.firstMs).toBeGreaterThan(startMs);
        expect(grid.lastMs).toBeLessThanOrEqual(endMs);
        expect(grid.lastMs + stepMs).toBeGreaterThan(endMs);
        expect(grid.points).toBe((grid.lastMs - grid.firstMs) / stepMs + 1);
      },
    ),
  );
});

it("has at most 1,000 points by default, on steps of whole minutes", () => {
  assert(
    property(integer({ min: 120_000, max: QUERY_DEFAULTS.limits.rangeMaxMs }), (lengthMs) => {
      const grid = planGrid({ startMs: NOW_MS - lengthMs, endMs: NOW_MS }, NOW_MS, QUERY_DEFAULTS.limits);
      expect(grid.points).toBeLessThanOrEqual(1000);
      expect(grid.stepMs % 60_000).toBe(0);
    }),
  );
});
