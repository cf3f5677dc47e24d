import { expect, test } from "vitest";
import { createCompression } from "#prometheus/compression.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const MIB = 1 << 20;
const HOUR = 3_600_000;

test("gzip is wanted over a slow link only, as a large answer shows it", () => {
  const compression = createCompression(createManualClock(1_700_000_000_000), undefined);
  expect(compression.isWanted()).toBe(false);
  expect(compression.link()).toBeUndefined();
  // Small: whatever its speed, it shows nothing.
  compression.measure(10_000, 10_000);
  expect(compression.isWanted()).toBe(false);
  compression.measure(MIB, 1000);
  expect(compression.isWanted()).toBe(true);
  expect(compression.link()).toEqual({ bytes_per_second: MIB, measured_at: 1_700_000_000_000 });
  compression.measure(10 * MIB, 1000);
  expect(compression.isWanted()).toBe(false);
});

test("bytes that never had to be waited for are a fast link, and a number that JSON can hold", () => {
  const compression = createCompression(createManualClock(0), undefined);
  compression.measure(MIB, 0);
  expect(compression.isWanted()).toBe(false);
  expect(compression.link()).toEqual({ bytes_per_second: 1e9, measured_at: 0 });
});

test("a slow link is measured again after six hours, or when the clock was set back", () => {
  const clock = createManualClock(1_700_000_000_000);
  const known = { bytes_per_second: 64_000, measured_at: clock.now() };
  expect(createCompression(clock, known).isWanted()).toBe(true);
  expect(createCompression(clock, { ...known, measured_at: clock.now() + 24 * HOUR }).isWanted()).toBe(false);
  clock.advance(6 * HOUR);
  expect(createCompression(clock, known).isWanted()).toBe(false);
});
