import { execFile } from "node:child_process";
import { cpSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { fillSeries } from "#storage/series-fill.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const run = promisify(execFile);
const MIGRATIONS = join(import.meta.dirname, "../../src/storage/migrations");
const CHILD = join(import.meta.dirname, "../helpers/killed-migration.ts");
const folder = createTemporaryFolder();
const DAY_MS = 86_400_000;
const FIRST_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS - 3 * DAY_MS;

/** Migrates in a process of its own, which may be killed at a statement. Returns its statements; none if it was killed. */
async function migrateIn(path: string, fatal = "", when = "", directory = ""): Promise<string[] | undefined> {
  try {
    return JSON.parse(
      (await run(process.execPath, [CHILD, path, directory, fatal, when])).stdout,
    ) as string[];
  } catch (error) {
    if (error instanceof Error && "signal" in error && error.signal === "SIGKILL") return undefined;
    throw error;
  }
}

async function withEngine<T>(path: string, work: (database: EmbeddedDatabase) => Promise<T>): Promise<T> {
  const database = await openChdb({ path, logger: createSilentLogger(), memoryBytesMax: 1_000_000_000 });
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

/** Samples of three days in the tables of the first version. */
async function store(database: EmbeddedDatabase): Promise<void> {
  for (const [table, more, values] of [
    ["gauge", "", ""],
    ["sum", ", IsMonotonic", ", number % 2 = 0"],
  ]) {
    await database.command(
      `INSERT INTO metrics.otel_metrics_${table} (ResourceAttributes, MetricName, MetricUnit, Attributes, TimeUnix, Value${more})
       SELECT map('cluster_id', 'c' || toString(number % 2)), 'm_${table}', 'By', map('instance', toString(number % 3), 'k8s.node.name', 'n'),
         fromUnixTimestamp64Milli(${FIRST_MS} + toInt64(number) * 1000 * 700, 'UTC'), number % 40${values} FROM numbers(300)`,
    );
  }
}

/** Definitions of all objects, and all that readers see once what is left to do has been done. */
async function everything(database: EmbeddedDatabase): Promise<Record<string, unknown>> {
  const settings = {
    databaseName: "metrics",
    settleMs: -1000,
    clock: { ...systemClock, sleep: async () => {} },
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  };
  await refreshRollups(database, settings);
  const filled = await fillSeries(database, { ...settings, budgetMs: 60_000 });
  const read = (sql: string): Promise<unknown[]> => database.query(sql);
  return {
    filled: filled.isComplete,
    objects: await read(
      "SELECT name, replaceRegexpAll(create_table_query, 'UUID \\\\S+', '') AS sql FROM system.tables WHERE database = 'metrics' ORDER BY name",
    ),
    migrations: await read("SELECT version, name, checksum FROM metrics.migrations FINAL ORDER BY version"),
    samples: await read("SELECT * FROM metrics.samples ORDER BY ALL"),
    series: await read("SELECT * FROM metrics.series FINAL ORDER BY ALL"),
    gauges: await read("SELECT * FROM metrics.hourly_gauge ORDER BY ALL"),
    counters: await read("SELECT * FROM metrics.hourly_counter ORDER BY ALL"),
    marks: await read(
      "SELECT cluster_id, metric_name, hour_end, max(marked_at) > max(rolled_at) AS is_dirty FROM metrics.rollup_marks GROUP BY ALL ORDER BY ALL",
    ),
  };
}

test(
  "a migration of stored data that is killed at each of its statements ends as one that is not",
  { timeout: 600_000 },
  async () => {
    const first = join(folder, "first");
    mkdirSync(first);
    for (const name of readdirSync(MIGRATIONS).slice(0, 2)) cpSync(join(MIGRATIONS, name), join(first, name));
    const old = join(folder, "old");
    await migrateIn(old, "", "", first);
    await withEngine(old, store);

    const whole = join(folder, "whole");
    cpSync(old, whole, { recursive: true });
    const statements = (await migrateIn(whole)) ?? [];
    // Database, list, 39 of the files 3 to 7, a record of each, and the retention of `series`.
    expect(statements).toHaveLength(2 + 39 + 5 + 2);
    const expected = await withEngine(whole, everything);
    expect(expected["samples"]).toHaveLength(600);
    expect(expected["filled"]).toBe(true);

    const killed = join(folder, "killed");
    cpSync(old, killed, { recursive: true });
    // Each process begins its file again and comes one statement further than the one before.
    let deaths = 0;
    for (const [n, statement] of statements.entries()) {
      if ((await migrateIn(killed, statement, n % 2 === 0 ? "sent" : "done")) === undefined) deaths++;
    }
    expect(deaths).toBe(statements.length);
    expect(await withEngine(killed, everything)).toEqual(expected);
  },
);
