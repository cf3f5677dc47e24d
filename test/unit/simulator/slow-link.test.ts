import { expect, test } from "vitest";
import { createSlowLink } from "#simulator/slow-link.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

test("bytes arrive in order, at the speed of the link, half a round trip later", () => {
  const clock = createManualClock();
  const link = createSlowLink(clock, { bytesPerSecond: 1000, roundTripMs: 80 });
  const arrived: [string, number][] = [];
  const pass = (name: string, bytes: number): void =>
    link.pass(bytes, () => void arrived.push([name, clock.monotonic()]));
  pass("a", 500);
  pass("b", 1);
  pass("c", 0);
  expect(link.waitingBytes()).toBe(501);
  clock.advance(539);
  expect(arrived).toEqual([]);
  clock.advance(2);
  expect(arrived).toEqual([
    ["a", 540],
    ["b", 541],
    ["c", 541],
  ]);
  expect(link.waitingBytes()).toBe(0);
  clock.advance(10_000);
  pass("d", 1000);
  clock.advance(1040);
  expect(arrived.at(-1)).toEqual(["d", 11_581]);
});
