import * as fc from "fast-check";
import { expect, test } from "vitest";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { HOUR, LAG, MINUTE, SECOND, START } from "../../helpers/collection.ts";
import { createVirtualCluster, type VirtualCluster } from "../../helpers/virtual-cluster.ts";

// 500 rounds of random answer times, sizes, errors and deadlines, in virtual time.

const RUNS = 25;
const ROUNDS = 20;
const INTERVAL = 5 * MINUTE;
const NAMES = ["a", "b", "c", "d", "e", "f"];
/** Time for a minute of a window, ms. With the last one not even a minute is answered within the time-out of 30 s. */
const SPEEDS = [0, 100, 1000, 5000, 12_000, 100_000];
const ANSWERABLE_MS = 12_000;
const ERRORS: ErrorCode[] = [
  "prometheus_query_failed",
  "prometheus_answer_truncated",
  "prometheus_overloaded",
];

/** How one query fares for some rounds. */
const weather = fc.record({
  rounds: fc.integer({ min: 1, max: 8 }),
  speed: fc.constantFrom(...SPEEDS),
  error: fc.option(fc.constantFrom(...ERRORS), { nil: undefined, freq: 4 }),
});

const scenario = fc.record({
  series: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: NAMES.length, maxLength: NAMES.length }),
  weathers: fc.array(fc.array(weather, { minLength: ROUNDS, maxLength: ROUNDS }), {
    minLength: NAMES.length,
    maxLength: NAMES.length,
  }),
  pauses: fc.array(fc.constantFrom(0, 0, 0, 0, 0, HOUR, 3 * HOUR), { minLength: ROUNDS, maxLength: ROUNDS }),
  deadlines: fc.array(fc.integer({ min: 110, max: 240 }), { minLength: ROUNDS, maxLength: ROUNDS }),
});

type Weather = { speed: number; error: ErrorCode | undefined };

/** The weather of each round. */
function forecast(
  weathers: readonly { rounds: number; speed: number; error: ErrorCode | undefined }[],
): Weather[] {
  return weathers
    .flatMap(({ rounds, ...each }) => Array.from({ length: rounds }, () => each))
    .slice(0, ROUNDS);
}

async function committedMs(cluster: VirtualCluster): Promise<Map<string, number>> {
  const { queries } = await cluster.progress();
  return new Map(
    Object.entries(queries).map(([name, { committed }]) => [
      name,
      committed.reduce((sum, [from, to]) => sum + to - from, 0),
    ]),
  );
}

test("every query that can be answered progresses every three rounds, and nothing is lost", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ series, weathers, pauses, deadlines }) => {
      const cluster = createVirtualCluster(NAMES.map((name, i) => ({ name, series: series[i]! })));
      await cluster.collect(4 * MINUTE);
      const forecasts = weathers.map(forecast);
      const history = [await committedMs(cluster)];
      for (let round = 0; round < ROUNDS; round++) {
        cluster.time.clock.advance(INTERVAL + pauses[round]!);
        cluster.costs = (query) => {
          const { speed, error } = forecasts[NAMES.indexOf(query)]![round]!;
          const failure = error && new BridgeError(error, "random");
          return {
            bytesPerSecond: Infinity,
            roundTripMs: 50,
            msPerMinute: speed,
            ...(failure ? { failure } : {}),
          };
        };
        await cluster.collect(deadlines[round]! * SECOND);
        history.push(await committedMs(cluster));
        for (const [i, name] of NAMES.entries()) {
          const three = forecasts[i]!.slice(Math.max(0, round - 2), round + 1);
          const isAnswerable = three.every(({ speed, error }) => speed <= ANSWERABLE_MS && !error);
          if (round < 2 || !isAnswerable) continue;
          expect(history[round + 1]!.get(name)!, `${name} in round ${round}`).toBeGreaterThan(
            history[round - 2]!.get(name)!,
          );
        }
      }
      cluster.costs = () => ({ bytesPerSecond: Infinity, roundTripMs: 1, msPerMinute: 0 });
      for (let round = 0; round < 3; round++) {
        cluster.time.clock.advance(INTERVAL);
        await cluster.collect(4 * MINUTE);
      }
      const { queries } = await cluster.progress();
      for (const name of NAMES) {
        const { committed, gaps, attempted } = queries[name]!;
        expect(gaps).toEqual([]);
        expect(committed).toEqual([[START - LAG - 15 * MINUTE, attempted]]);
        expect(cluster.missing(name, { fromMs: committed[0]![0], toMs: attempted })).toBe(0);
      }
    }),
    { numRuns: RUNS },
  );
}, 120_000);
