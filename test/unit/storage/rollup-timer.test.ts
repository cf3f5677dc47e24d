import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import type { Database } from "#storage/database.ts";
import { createRollupTimer } from "#storage/rollup-timer.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";

/** Answers every question with no row, or fails; `passes` counts those for dirty hours. */
function createDatabase(isBroken: () => boolean): Database & { passes: number } {
  const database = {
    passes: 0,
    command: () => Promise.reject(new Error("nothing was dirty")),
    query: <Row>(sql: string, _parameters?: unknown, signal?: AbortSignal): Promise<Row[]> => {
      signal?.throwIfAborted();
      if (sql.includes("now64")) return Promise.resolve([{ now: "1000000" } as Row]);
      if (sql.includes("rollup_marks")) database.passes++;
      return isBroken()
        ? Promise.reject(new BridgeError("storage_unavailable", "gone"))
        : Promise.resolve([]);
    },
    queryNative: () => Promise.reject(new Error("nothing asks for columns")),
    close: () => Promise.resolve(),
  };
  return database;
}

test("rolls up at once and in intervals, also after a failure, until it is stopped", async () => {
  let isBroken = true;
  const database = createDatabase(() => isBroken);
  const clock = createManualClock();
  const timer = createRollupTimer(
    { database, clock, logger: createSilentLogger() },
    { databaseName: "metrics", intervalMs: 300_000 },
  );
  timer.start();
  timer.start();
  await expect.poll(() => clock.pending()).toBe(1);
  expect(database.passes).toBe(1);
  isBroken = false;
  clock.advance(299_999);
  expect(clock.pending()).toBe(1);
  clock.advance(1);
  await expect.poll(() => clock.pending()).toBe(1);
  expect(database.passes).toBe(2);
  await timer.stop();
  expect([database.passes, clock.pending()]).toEqual([2, 0]);
});

test("a stop before the start starts nothing", async () => {
  const database = createDatabase(() => false);
  const clock = createManualClock();
  const timer = createRollupTimer(
    { database, clock, logger: createSilentLogger() },
    { databaseName: "metrics", intervalMs: 1000 },
  );
  await timer.stop();
  timer.start();
  await timer.stop();
  expect(database.passes).toBe(0);
});
