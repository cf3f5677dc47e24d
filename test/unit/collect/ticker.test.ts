import { expect, test } from "vitest";
import type { RoundStart, RoundTrigger } from "#collect/status.ts";
import { createTicker } from "#collect/ticker.ts";
import { BridgeError } from "#errors/error.ts";
import { MINUTE, SECOND } from "../../helpers/collection.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

const INTERVAL = 5 * MINUTE;
/** A multiple of the interval. */
const MULTIPLE = 1_700_000_100_000;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function createBench(startMs: number) {
  const clock = createManualClock(startMs);
  const starts: [RoundTrigger, number][] = [];
  const bench = { failure: undefined as BridgeError | undefined };
  const collection = {
    start: async (trigger: RoundTrigger): Promise<RoundStart> => {
      starts.push([trigger, clock.now() - MULTIPLE]);
      await Promise.resolve();
      if (bench.failure) throw bench.failure;
      return {} as RoundStart;
    },
  };
  const ticker = createTicker({ collection, clock, logger: createSilentLogger() }, { intervalMs: INTERVAL });
  const advance = async (ms: number): Promise<void> => {
    await settled();
    clock.advance(ms);
    await settled();
  };
  return { bench, ticker, starts, clock, advance, times: () => starts.map(([, at]) => at) };
}

test("a round at once, then one at every multiple of the interval", async () => {
  const { ticker, starts, advance, times } = createBench(MULTIPLE + 70 * SECOND);
  ticker.start();
  ticker.start();
  await advance(230 * SECOND - 1);
  expect(starts).toEqual([["ticker", 70 * SECOND]]);
  await advance(1);
  await advance(INTERVAL);
  await advance(INTERVAL);
  expect(times()).toEqual([70 * SECOND, INTERVAL, 2 * INTERVAL, 3 * INTERVAL]);
  await ticker.stop();
});

test("a start at a multiple does not start twice", async () => {
  const { ticker, advance, times } = createBench(MULTIPLE);
  ticker.start();
  await advance(INTERVAL);
  expect(times()).toEqual([0, INTERVAL]);
  await ticker.stop();
});

test("a timer that fires a little early counts as its multiple", async () => {
  const { ticker, advance, times } = createBench(MULTIPLE - 4);
  ticker.start();
  await advance(4 + INTERVAL - 1);
  expect(times()).toEqual([-4]);
  await advance(1);
  expect(times()).toEqual([-4, INTERVAL]);
  await ticker.stop();
});

test("after a time in which the process slept, the next multiple comes next", async () => {
  const { ticker, advance, times } = createBench(MULTIPLE);
  ticker.start();
  await advance(3 * INTERVAL + 10 * SECOND);
  await advance(INTERVAL - 10 * SECOND);
  expect(times().at(-1)).toBe(4 * INTERVAL);
  await ticker.stop();
});

test("a round that can't be started does not end the ticker", async () => {
  const { bench, ticker, advance, times } = createBench(MULTIPLE);
  bench.failure = new BridgeError("state_unavailable", "disk full");
  ticker.start();
  await advance(INTERVAL);
  bench.failure = undefined;
  await advance(INTERVAL);
  expect(times()).toEqual([0, INTERVAL, 2 * INTERVAL]);
  await ticker.stop();
});

test("a stop ends the wait and leaves no timer", async () => {
  const { ticker, advance, clock, times } = createBench(MULTIPLE);
  ticker.start();
  await advance(SECOND);
  await ticker.stop();
  expect(clock.pending()).toBe(0);
  await advance(INTERVAL);
  expect(times()).toEqual([0]);
});
