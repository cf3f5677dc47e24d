import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeClusters } from "./query-world.ts";

// What a sample takes on disk, by column, with today's codec of TimeUnix beside the one before 0006_time_codec.sql: on time stamps alone, on the simulator's clusters and, when
// the folder BENCH_SAMPLES (default ../shared/data) is there, on samples of a real Prometheus. `npm run bench` runs it.

const QUICK = process.env["BENCH_QUICK"] === "1";
const SAMPLES_FOLDER = resolve(process.env["BENCH_SAMPLES"] ?? "../shared/data");
const CODEC = { old: "GCD, Delta, ZSTD(1)", new: "GCD, Delta, ZSTD(1, 20)" } as const;
const BLOCK_BYTES = { old: 65_536, new: 262_144 } as const;
const AGES = ["old", "new"] as const;
const STAMPS = QUICK ? 100_000 : 400_000;
const STAMP_SERIES = 400;
const TARGET_SERIES = 40;
const DAY_MS = 86_400_000;
const RUNS = 5;
const MEMORY_BYTES = 2_000_000_000;
const STATEMENT_MS_MAX = 600_000;

/** Ms that a stamp of series `s` in scrape `k` is late. */
const LATENESS: Record<string, string> = {
  "all series at the same grid": "0",
  "a target's series share times, up to 12 ms late": `cityHash64(intDiv(s, ${TARGET_SERIES}), k) % 12`,
  "a target's series share times, up to 400 ms late": `cityHash64(intDiv(s, ${TARGET_SERIES}), k) % 400`,
  "each series by itself up to 12 ms late": "cityHash64(s, k) % 12",
  "each series by itself up to 400 ms late": "cityHash64(s, k) % 400",
};

async function cpuOf(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function measureStamps(database: EmbeddedDatabase, lateness: string, seconds: number): Promise<string> {
  const start = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS;
  await database.command("CREATE DATABASE stamps");
  await database.command("CREATE TABLE stamps.source (s UInt64, time DateTime64(9, 'UTC')) ENGINE = Memory");
  await database.command(
    `INSERT INTO stamps.source SELECT cityHash64(s), fromUnixTimestamp64Milli(toInt64(${start} + k * ${seconds * 1000} + ${lateness}), 'UTC')
     FROM (SELECT number % ${STAMP_SERIES} AS s, intDiv(number, ${STAMP_SERIES}) AS k FROM numbers(${STAMPS}))`,
  );
  const found: string[] = [];
  for (const age of AGES) {
    const table = `stamps.${age}`;
    await database.command(
      `CREATE TABLE ${table} (s UInt64 CODEC(ZSTD(1)), time DateTime64(9, 'UTC') CODEC(${CODEC[age]}) SETTINGS (min_compress_block_size = ${BLOCK_BYTES[age]}))
       ENGINE = MergeTree PRIMARY KEY (toStartOfHour(time), s) ORDER BY (toStartOfHour(time), s, time)
       SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0`,
    );
    const insert = await cpuOf(() => database.command(`INSERT INTO ${table} SELECT * FROM stamps.source`));
    const merge = await cpuOf(() => database.command(`OPTIMIZE TABLE ${table} FINAL`));
    const reads: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      const sql = `SELECT sum(toUnixTimestamp64Milli(time)) FROM ${table} SETTINGS max_threads = 1`;
      reads.push(await cpuOf(() => database.query(sql)));
    }
    const [column] = await database.query<{ bytes: string }>(
      `SELECT data_compressed_bytes AS bytes FROM system.columns WHERE database = 'stamps' AND table = '${age}' AND name = 'time'`,
    );
    const perMillion = (ms: number): string => ((ms * 1e6) / STAMPS).toFixed(0);
    found.push(
      `${age} ${(Number(column?.bytes) / STAMPS).toFixed(4)} B (CPU ms a million: INSERT ${perMillion(insert)}, merge ${perMillion(merge)}, read ${perMillion(Math.min(...reads))})`,
    );
  }
  await database.command("DROP DATABASE stamps SYNC");
  return found.join("; ");
}

/** Copies the samples of the database `metrics` to tables with the codec from before, and prints bytes a sample of both by column. */
async function compareColumns(database: EmbeddedDatabase, title: string): Promise<void> {
  await migrateDatabase(database, "before");
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum"]) {
    const column = `ALTER TABLE before.${table} MODIFY COLUMN TimeUnix`;
    await database.command(`${column} DateTime64(9, 'UTC') CODEC(${CODEC.old})`);
    await database.command(`${column} RESET SETTING min_compress_block_size`);
    await database.command(`INSERT INTO before.${table} SELECT * FROM metrics.${table}`);
    for (const name of ["metrics", "before"]) {
      // Compact parts don't tell their columns apart.
      await database.command(`ALTER TABLE ${name}.${table} MODIFY SETTING min_bytes_for_wide_part = 0`);
      await database.command(`OPTIMIZE TABLE ${name}.${table} FINAL`);
    }
  }
  const rows = await database.query<{ column: string; before: number; now: number }>(
    `SELECT if(name IN ('TimeUnix', 'Value', 'Attributes', 'series_id'), name, 'the others') AS column,
       sumIf(data_compressed_bytes, database = 'before') / samples AS before, sumIf(data_compressed_bytes, database = 'metrics') / samples AS now,
       (SELECT sum(rows) FROM system.parts WHERE database = 'metrics' AND active AND startsWith(table, 'otel_metrics_')) AS samples
     FROM system.columns WHERE database IN ('before', 'metrics') AND table IN ('otel_metrics_gauge', 'otel_metrics_sum')
     GROUP BY ROLLUP(column) ORDER BY before`,
  );
  const [series] = await database.query<{ bytes: number; rows: string }>(
    "SELECT sum(bytes_on_disk) AS bytes, sum(rows) AS rows FROM system.parts WHERE database = 'metrics' AND active AND table = 'series'",
  );
  console.log(`${title}: bytes a sample, the codec from before beside today's`);
  for (const { column, before, now } of rows) {
    console.log(`  ${(column === "" ? "all" : column).padEnd(12)} ${before.toFixed(3)} ${now.toFixed(3)}`);
  }
  console.log(
    `  The table series has ${series?.rows} rows in ${(Number(series?.bytes) / 1e3).toFixed(0)} kB`,
  );
  for (const name of ["before", "metrics"]) await database.command(`DROP DATABASE ${name} SYNC`);
}

async function migrateDatabase(database: EmbeddedDatabase, name: string): Promise<void> {
  await migrate(database, {
    parameters: { database: name, retentionDays: 3650 },
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
}

/** Rows of the folder's two files, as the bridge would have sent them. */
async function storeRealSamples(database: EmbeddedDatabase): Promise<void> {
  const series = `file('${join(SAMPLES_FOLDER, "real-series.sql")}', 'Values', 'number UInt32, is_counter Bool, job String, metric String, labels Map(String, String)')`;
  const samples = `file('${join(SAMPLES_FOLDER, "real-samples.bin.xz")}', 'RowBinary', 'number UInt32, at_ms Int64, value Float64', 'xz')`;
  for (const [table, isCounter, own] of [
    ["gauge", "NOT is_counter", ""],
    ["sum", "is_counter", ", IsMonotonic"],
  ] as const) {
    await database.command(
      `INSERT INTO metrics.otel_metrics_${table} (ResourceAttributes, ScopeAttributes, MetricName, Attributes, TimeUnix, Value${own})
       SELECT map('cluster_id', 'real', 'cluster_name', 'Real'), map('budcluster.schema_version', '2'), metric, labels, fromUnixTimestamp64Milli(at_ms, 'UTC'), value${own === "" ? "" : ", true"}
       FROM ${samples} AS samples INNER JOIN ${series} AS series USING (number) WHERE ${isCounter}`,
    );
  }
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-bytes-"));
  const database = await openChdb({
    path: join(folder, "clickhouse"),
    logger: createSilentLogger(),
    memoryBytesMax: MEMORY_BYTES,
    statementTimeoutMs: STATEMENT_MS_MAX,
  });
  try {
    for (const seconds of [5, 15, 30]) {
      for (const [name, lateness] of Object.entries(LATENESS)) {
        console.log(`TimeUnix at ${seconds} s, ${name}: ${await measureStamps(database, lateness, seconds)}`);
      }
    }
    await migrateDatabase(database, "metrics");
    const endMs = Math.floor(Date.now() / DAY_MS) * DAY_MS;
    await storeClusters(database, {
      clusters: ["sim-1", "sim-2"],
      wideCluster: "wide",
      endMs,
      days: 1,
      scrapeSeconds: 30,
    });
    await compareColumns(database, "Simulator, 2 clusters and one of 500 counters, a day at 30 s");
    if (!existsSync(join(SAMPLES_FOLDER, "real-samples.bin.xz"))) {
      console.log(`Real samples: skipped, there are none in ${SAMPLES_FOLDER}`);
      return;
    }
    await migrateDatabase(database, "metrics");
    await storeRealSamples(database);
    await compareColumns(database, "Real samples");
  } finally {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
