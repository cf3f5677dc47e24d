import { expect, test } from "vitest";
import { chooseStorage } from "#storage/choose-storage.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

test.each([
  [{ rangeMs: 30 * DAY, stepMs: HOUR, needsEverySample: false }, "hours"],
  [{ rangeMs: 30 * DAY, stepMs: 6 * HOUR, needsEverySample: false }, "hours"],
  [{ rangeMs: 7 * DAY + 1, stepMs: HOUR, needsEverySample: false }, "hours"],
  [{ rangeMs: 7 * DAY, stepMs: HOUR, needsEverySample: false }, "samples"],
  [{ rangeMs: 30 * DAY, stepMs: 90 * 60_000, needsEverySample: false }, "samples"],
  [{ rangeMs: 30 * DAY, stepMs: HOUR, needsEverySample: true }, "samples"],
  [{ rangeMs: 30 * DAY, stepMs: 0, needsEverySample: false }, "samples"],
] as const)("%j reads %s", (need, storage) => {
  expect(chooseStorage(need)).toBe(storage);
});
