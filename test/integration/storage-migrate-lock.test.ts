import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Database } from "#storage/database.ts";
import { migrate } from "#storage/migrate.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const engine = useEngine({ migrated: false });
const directory = createTemporaryFolder();
const LONG = "INSERT INTO {{db}}.a SELECT 1";

/** A migration of three statements whose second one takes until it is let go. */
function startLong(databaseName: string, failures: { renewals: number } = { renewals: 0 }) {
  const folder = join(directory, databaseName);
  mkdirSync(folder);
  const create = "CREATE TABLE IF NOT EXISTS {{db}}.a (x Int8) ENGINE = MergeTree ORDER BY x";
  const last = "CREATE TABLE IF NOT EXISTS {{db}}.last (x Int8) ENGINE = Memory";
  writeFileSync(join(folder, "0001_a.sql"), `${create};\n${LONG};\n${last};`);
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const database: Database = {
    ...engine.database,
    command: async (sql, parameters, signal) => {
      if (sql.startsWith("INSERT INTO") && sql.endsWith("SELECT 1")) {
        started.resolve();
        await gate.promise;
      }
      if (sql.includes("MODIFY COMMENT") && failures.renewals-- > 0) throw new Error("connection lost");
      await engine.database.command(sql, parameters, signal);
    },
  };
  const clock = createManualClock();
  const parameters = { database: databaseName, retentionDays: 30 };
  const signal = new AbortController().signal;
  const done = migrate(database, {
    parameters,
    directory: folder,
    clock,
    logger: createSilentLogger(),
    signal,
  });
  return { clock, done, started: started.promise, letGo: gate.resolve };
}

async function locks(databaseName: string): Promise<{ name: string; comment: string }[]> {
  return await engine.database.query(
    `SELECT name, comment FROM system.tables WHERE database = {name:String} AND startsWith(name, 'migration_lock_') ORDER BY name`,
    { name: databaseName },
  );
}

const untilOf = async (databaseName: string): Promise<number> =>
  Number((await locks(databaseName))[0]?.comment.split(" ")[1]);

test.each([
  ["", 0],
  [" although a renewal failed", 1],
])("the lock is renewed while a statement takes long%s", async (_name, renewals) => {
  const name = `renewed_${renewals}`;
  const failures = { renewals };
  const { clock, done, started, letGo } = startLong(name, failures);
  await started;
  const first = await untilOf(name);
  for (let failed = 0; failed < renewals; failed++) {
    clock.advance(15_000);
    await expect.poll(() => failures.renewals).toBe(renewals - failed - 1);
    await expect.poll(() => clock.pending()).toBe(1);
  }
  clock.advance(15_000);
  await expect.poll(() => untilOf(name)).toBeGreaterThan(first);
  const second = await untilOf(name);
  await expect.poll(() => clock.pending()).toBe(1);
  clock.advance(15_000);
  await expect.poll(() => untilOf(name)).toBeGreaterThan(second);
  letGo();
  expect((await done).applied).toEqual(["0001_a.sql"]);
  expect(await untilOf(name)).toBe(0);
  expect(clock.pending()).toBe(0);
});

test("a process that loses the lock in the middle stops before the next statement and records nothing", async () => {
  const { clock, done, started, letGo } = startLong("lost");
  await started;
  // Another process, after this one stood still for longer than its lease.
  await engine.database.command(
    "CREATE TABLE lost.migration_lock_000002 (nothing UInt8) ENGINE = MergeTree ORDER BY tuple() COMMENT 'other 99999999999999'",
  );
  await engine.database.command("DROP TABLE lost.migration_lock_000001 SYNC");
  letGo();
  const error = await bridgeErrorOf(done);
  expect([error.code, error.message]).toEqual([
    "migration_failed",
    "another process took the migration lock over",
  ]);
  expect(await engine.database.query("SELECT * FROM lost.migrations")).toEqual([]);
  const tables = await engine.database.query(
    "SELECT name FROM system.tables WHERE database = 'lost' AND name = 'last'",
  );
  expect(tables).toEqual([]);
  expect((await locks("lost")).map((lock) => lock.comment)).toEqual(["other 99999999999999"]);
  expect(clock.pending()).toBe(0);
});

test("a process that owns its database makes no lock table, and is asked before each statement that changes tables", async () => {
  const directory = createTemporaryFolder();
  writeFileSync(join(directory, "0001_a.sql"), "CREATE TABLE {{db}}.a (x Int8) ENGINE = Memory");
  let isFull = true;
  const start = async () =>
    await migrate(engine.database, {
      parameters: { database: "owned", retentionDays: 30 },
      directory,
      clock: createManualClock(),
      logger: createSilentLogger(),
      lock: {
        assertHeld: async () => {
          if (isFull) throw new Error("the disk is full");
        },
        release: async () => {},
      },
      signal: new AbortController().signal,
    });
  const tables = async () =>
    await engine.database.query("SELECT name FROM system.tables WHERE database = 'owned' ORDER BY name");
  await expect(start()).rejects.toThrow("the disk is full");
  expect(await engine.database.query("SELECT 1 FROM system.databases WHERE name = 'owned'")).toEqual([]);
  isFull = false;
  expect((await start()).applied).toEqual(["0001_a.sql"]);
  expect(await tables()).toEqual([{ name: "a" }, { name: "migrations" }]);
  // With nothing to do, a full disk does not matter.
  isFull = true;
  expect((await start()).applied).toEqual([]);
});
