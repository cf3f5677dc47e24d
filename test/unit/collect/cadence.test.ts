import { expect, test } from "vitest";
import { withCadence } from "#collect/cadence.ts";
import type { Collection, CollectionStatus, RoundStart, RoundTrigger } from "#collect/status.ts";
import { createLogger } from "#telemetry/logger.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const INTERVAL = 300;

function createBench(intervalSeconds = INTERVAL) {
  const clock = createManualClock();
  const lines: string[] = [];
  const logger = createLogger({ level: "warn", destination: { write: (line) => void lines.push(line) } });
  const collection: Collection = {
    start: () => Promise.resolve({} as RoundStart),
    status: () => Promise.resolve({ warnings: ["another"] } as unknown as CollectionStatus),
  };
  const watched = withCadence(collection, { clock, logger }, { intervalMs: intervalSeconds * 1000 });
  const call = async (afterSeconds: number, trigger: RoundTrigger = "dapr"): Promise<void> => {
    clock.advance(afterSeconds * 1000);
    await watched.start(trigger);
  };
  const warnings = async (): Promise<string[]> => (await watched.status()).warnings.slice(1);
  return { call, warnings, lines };
}

test.each([
  ["more often", 60],
  ["more rarely", 900],
  ["a little more rarely", 400],
])("a schedule that calls %s is warned of, in the status and once in the log", async (_how, seconds) => {
  const { call, warnings, lines } = createBench();
  for (let i = 0; i < 3; i++) await call(seconds);
  expect(await warnings()).toEqual([]);
  for (let i = 0; i < 3; i++) await call(seconds);
  expect(await warnings()).toEqual([
    expect.stringMatching(
      new RegExp(
        `^Dapr starts a round every ${seconds} s, but COLLECTION_INTERVAL is 300 s: .*cron schedule`,
      ),
    ),
  ]);
  expect(lines).toHaveLength(1);
});

test.each([
  ["as it should be", [300, 300, 300, 300]],
  ["a little late and early", [330, 270, 345, 260]],
  ["with one call missed", [300, 600, 300, 600, 300]],
  ["after a restart of the sidecar", [300, 20, 280, 300]],
])("%s is no reason", async (_what, gaps) => {
  const { call, warnings, lines } = createBench();
  await call(0);
  for (const gap of gaps) {
    await call(gap);
    expect(await warnings()).toEqual([]);
  }
  expect(lines).toEqual([]);
});

test("calls by hand and by the timer do not count, and the warning ends with the disagreement", async () => {
  const { call, warnings } = createBench();
  for (let i = 0; i < 6; i++) await call(60, i % 2 === 0 ? "request" : "ticker");
  expect(await warnings()).toEqual([]);
  for (let i = 0; i < 4; i++) await call(60);
  expect(await warnings()).toHaveLength(1);
  await call(300);
  expect(await warnings()).toEqual([]);
});
