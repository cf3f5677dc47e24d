import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { Quarantine } from "#workers/quarantine.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const MINUTE = 60_000;
const SETTINGS = { firstMs: 5 * MINUTE, maxMs: 60 * MINUTE };

function untilOf(quarantine: Quarantine): string {
  try {
    quarantine.check("a");
  } catch (thrown) {
    return (thrown as BridgeError).details?.["retry_at"] as string;
  }
  return "now";
}

test("a cluster whose worker ended is tried alone, and put aside only when it was alone; each time for twice as long, at most an hour", () => {
  const clock = createManualClock(0);
  const quarantine = new Quarantine(clock, SETTINGS);
  expect(quarantine.suspicion("a")).toBe("no");
  const minutes: number[] = [];
  for (let i = 0; i < 6; i++) {
    quarantine.ended("a", "it looped", false);
    expect(quarantine.suspicion("a")).toBe(i === 0 ? "trial" : "alone");
    expect(untilOf(quarantine)).toBe("now");
    const before = clock.now();
    quarantine.ended("a", "it looped", true);
    const until = Date.parse(untilOf(quarantine));
    minutes.push((until - before) / MINUTE);
    expect(quarantine.count()).toBe(1);
    clock.advance(until - before);
    // It may work beside others again.
    expect(untilOf(quarantine)).toBe("now");
    expect(quarantine.suspicion("a")).toBe("no");
    expect(quarantine.count()).toBe(0);
  }
  expect(minutes).toEqual([5, 10, 20, 40, 60, 60]);
});

test("the error says what the cluster did and when it is tried again; a call that ends clears it", () => {
  const quarantine = new Quarantine(createManualClock(0), SETTINGS);
  quarantine.ended("a", "it used 700 MiB", true);
  expect(() => quarantine.check("a")).toThrow(
    /it used 700 MiB; it is tried again after 1970-01-01T00:05:00.000Z/,
  );
  expect(() => quarantine.check("b")).not.toThrow();
  quarantine.clear("a");
  quarantine.check("a");
  quarantine.ended("a", "it used 700 MiB", true);
  expect(untilOf(quarantine)).toBe("1970-01-01T00:05:00.000Z");
});

test("no more clusters are remembered than can be", () => {
  const quarantine = new Quarantine(createManualClock(0), SETTINGS);
  for (let i = 0; i < 10_001; i++) quarantine.ended(`c${i}`, "x", true);
  expect(quarantine.count()).toBe(10_000);
  quarantine.check("c0");
  expect(() => quarantine.check("c10000")).toThrow(BridgeError);
});
