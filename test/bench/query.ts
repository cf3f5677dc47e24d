import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { migrate } from "#storage/migrate.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { storeClusters, storeReports, type StoredClusters } from "./query-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// Latency and throughput of the query API on the embedded engine, without HTTP, and what a sample takes on disk. `npm run bench` runs it on
// 30 days of 1,000 series of the simulator; BENCH_QUICK=1 on two days.

const QUICK = process.env["BENCH_QUICK"] === "1";
const DAYS = QUICK ? 2 : 30;
const CLUSTERS = QUICK ? 2 : 5;
const RUNS = QUICK ? 20 : 100;
const WARM_UPS = 5;
const LATENCY_MS_MAX = 25_000;
const CLIENTS = 8;
const THROUGHPUT_MS = QUICK ? 2000 : 10_000;
const DAY_MS = 86_400_000;
const MEMORY_BYTES = 2_000_000_000;
const STATEMENT_MS_MAX = 240_000;

type Call = (cluster: string) => Promise<unknown>;

function createCalls(database: EmbeddedDatabase, stored: StoredClusters): Record<string, Call> {
  const deps = { database, clock: createManualClock(stored.endMs + 90_000) };
  const series = createSeriesQuery(deps, QUERY_DEFAULTS);
  const state = createClusterState(deps, QUERY_DEFAULTS);
  const query =
    (metric: string, aggregation: "avg" | "rate", groupBy: string[] = []): Call =>
    (clusterId) =>
      series({
        clusterId,
        metric,
        aggregation,
        groupBy,
        startMs: stored.endMs - DAY_MS,
        endMs: stored.endMs,
        stepMs: 300_000,
      });
  const summary =
    (days: number): Call =>
    (clusterId) =>
      state.summary({ clusterId, fromMs: stored.endMs - days * DAY_MS });
  const cpu = "node_cpu_seconds_total";
  return {
    "query, 24 h at 5 min, avg of node_load1 (4 series)": query("node_load1", "avg"),
    [`query, 24 h at 5 min, rate of ${cpu} (32 series)`]: query(cpu, "rate"),
    [`query, 24 h at 5 min, rate of ${cpu} by mode`]: query(cpu, "rate", ["mode"]),
    "summary, 1 h": (clusterId) => state.summary({ clusterId }),
    [`summary, ${DAYS} days`]: summary(DAYS),
    "health, 15 min": (clusterId) => state.health({ clusterId }),
    "nodes, 15 min": (clusterId) => state.nodes({ clusterId }),
  };
}

async function printLatency(calls: Record<string, Call>, clusters: readonly string[]): Promise<void> {
  console.log("Latency at 1 client, each call for the next cluster:");
  for (const [name, call] of Object.entries(calls)) {
    const tookMs: number[] = [];
    const began = performance.now();
    let cpu = process.cpuUsage();
    for (let i = -WARM_UPS; i < RUNS && performance.now() - began < LATENCY_MS_MAX; i++) {
      if (i === 0) cpu = process.cpuUsage();
      const start = performance.now();
      await call(clusters[(i + WARM_UPS) % clusters.length]!);
      if (i >= 0) tookMs.push(performance.now() - start);
    }
    const sorted = tookMs.toSorted((a, b) => a - b);
    const at = (q: number): string => `${(sorted[Math.ceil(q * sorted.length) - 1] ?? NaN).toFixed(1)} ms`;
    const { user, system } = process.cpuUsage(cpu);
    const cpuMs = (user + system) / 1000 / tookMs.length;
    console.log(
      `  ${name}: p50 ${at(0.5)}, p99 ${at(0.99)}, CPU ${cpuMs.toFixed(1)} ms a call (${sorted.length} calls)`,
    );
  }
}

async function printThroughput(calls: Record<string, Call>, clusters: readonly string[]): Promise<void> {
  console.log(`Throughput at ${CLIENTS} clients (the embedded engine works on 3 statements at a time):`);
  for (const [name, call] of Object.entries(calls)) {
    const began = performance.now();
    let done = 0;
    const client = async (first: number): Promise<void> => {
      for (let i = first; performance.now() - began < THROUGHPUT_MS; i++) {
        await call(clusters[i % clusters.length]!);
        done++;
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, (_, i) => client(i)));
    const seconds = (performance.now() - began) / 1000;
    console.log(`  ${name}: ${(done / seconds).toFixed(1)} calls/s`);
  }
}

async function printDisk(database: EmbeddedDatabase): Promise<void> {
  const rows = await database.query<{ table: string; samples: string; bytes: string; parts: string }>(
    `SELECT table, sum(rows) AS samples, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
     WHERE active AND database = 'metrics' AND table IN ('otel_metrics_gauge', 'otel_metrics_sum')
     GROUP BY table ORDER BY table`,
  );
  const total = { table: "both", samples: 0, bytes: 0, parts: 0 };
  console.log("On disk, merged:");
  const print = (row: { table: string; samples: number; bytes: number; parts: number }): void =>
    console.log(
      `  ${row.table}: ${(row.bytes / row.samples).toFixed(2)} bytes a sample (${row.samples} samples, ${(row.bytes / 1e6).toFixed(1)} MB, ${row.parts} parts)`,
    );
  for (const row of rows) {
    const counted = {
      table: row.table,
      samples: Number(row.samples),
      bytes: Number(row.bytes),
      parts: Number(row.parts),
    };
    print(counted);
    total.samples += counted.samples;
    total.bytes += counted.bytes;
    total.parts += counted.parts;
  }
  print(total);
}

async function merge(database: EmbeddedDatabase): Promise<void> {
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum", "rollup_gauge", "rollup_counter"]) {
    await database.command(`OPTIMIZE TABLE metrics.${table} FINAL`);
  }
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "budcluster-bench-"));
  const logger = createSilentLogger();
  const database = await openChdb({
    path: join(folder, "clickhouse"),
    logger,
    memoryBytesMax: MEMORY_BYTES,
    statementTimeoutMs: STATEMENT_MS_MAX,
  });
  const since = (startMs: number): string => `${((performance.now() - startMs) / 1000).toFixed(0)} s`;
  try {
    await migrate(database, {
      parameters: { database: "metrics", retentionDays: 90 },
      clock: systemClock,
      logger,
      signal: new AbortController().signal,
    });
    const stored: StoredClusters = {
      clusters: Array.from({ length: CLUSTERS }, (_, i) => `bench-${i + 1}`),
      endMs: Math.floor(Date.now() / DAY_MS) * DAY_MS,
      days: DAYS,
      scrapeSeconds: 60,
    };
    const start = performance.now();
    const { series, constant } = await storeClusters(database, stored);
    console.log(
      `Query API: ${DAYS} days of ${series} series of ${CLUSTERS} clusters at ${stored.scrapeSeconds} s, ${((100 * constant) / series).toFixed(0)} % constant; made in ${since(start)}`,
    );
    const merging = performance.now();
    await merge(database);
    console.log(`Merged in ${since(merging)}`);
    await printDisk(database);
    await storeReports(database, stored);
    const rolling = performance.now();
    const { signal } = new AbortController();
    await refreshRollups(database, {
      databaseName: "metrics",
      settleMs: 0,
      clock: systemClock,
      logger,
      signal,
    });
    await merge(database);
    console.log(`Rolled up and merged in ${since(rolling)}`);
    const calls = createCalls(database, stored);
    await printLatency(calls, stored.clusters);
    await printThroughput(calls, stored.clusters);
  } finally {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
