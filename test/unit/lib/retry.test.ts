import * as fc from "fast-check";
import { expect, test } from "vitest";
import { backoffMs } from "#lib/retry.ts";

const BACKOFF = { initialMs: 1000, multiplier: 2, maxMs: 15_000 };

test("the delay doubles up to its limit", () => {
  const most = [0, 1, 2, 3, 4, 5, 1000].map((attempt) => backoffMs(BACKOFF, attempt, () => 1));
  expect(most).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test("the jitter leaves at least half of it, and never more than the whole", () => {
  fc.assert(
    fc.property(fc.nat(2000), fc.double({ min: 0, max: 1, noNaN: true }), (attempt, random) => {
      const step = backoffMs(BACKOFF, attempt, () => 1);
      const delay = backoffMs(BACKOFF, attempt, () => random);
      expect(delay).toBeGreaterThanOrEqual(step / 2);
      expect(delay).toBeLessThanOrEqual(step);
    }),
  );
});
