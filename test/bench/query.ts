import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openChdb, type EmbeddedDatabase } from "#allinone/chdb.ts";
import { systemClock } from "#lib/clock.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { openOldCalls, type OldCalls } from "./old-statements.ts";
import { storeClusters, storeReports, WIDE_METRIC, type StoredClusters } from "./query-world.ts";

// Latency and throughput of the query API on the embedded engine, without HTTP, beside the statements of the code before (old-statements.ts), and each as a multiple of
// SELECT 1 in the same run, so that a busy machine can judge as well. `npm run bench` runs it on 30 days of 1,082 series; BENCH_QUICK=1 on two days.

const QUICK = process.env["BENCH_QUICK"] === "1";
const RUNS = QUICK ? 20 : 100;
const WARM_UPS = 3;
const LATENCY_MS_MAX = 10_000;
const CLIENTS = [1, 8, 32];
const THROUGHPUT_MS = QUICK ? 1000 : 3000;
const DAY_MS = 86_400_000;
const MEMORY_BYTES = 2_000_000_000;
const STATEMENT_MS_MAX = 240_000;
const SELECT_1 = "SELECT 1";

interface Call {
  name: string;
  run: (cluster: string) => Promise<unknown>;
  wide?: boolean;
}

function createCalls(database: EmbeddedDatabase, { endMs }: StoredClusters): Call[] {
  // Time goes on, so that what is remembered for some seconds is read again.
  const clock = { ...createManualClock(endMs + 90_000), monotonic: () => performance.now() };
  const deps = { database, clock };
  const series = createSeriesQuery(deps, QUERY_DEFAULTS);
  const lookup = createMetricLookup(deps, QUERY_DEFAULTS);
  const state = createClusterState(deps, QUERY_DEFAULTS);
  const query =
    (metric: string, aggregation: "avg" | "rate", groupBy: string[] = []): Call["run"] =>
    (clusterId) =>
      series({
        clusterId,
        metric,
        aggregation,
        groupBy,
        startMs: endMs - DAY_MS,
        endMs,
        stepMs: 300_000,
      });
  const cpu = "node_cpu_seconds_total";
  const day = "query, 24 h at 5 min,";
  return [
    { name: SELECT_1, run: () => database.query(SELECT_1) },
    { name: `${day} avg of node_load1`, run: query("node_load1", "avg") },
    { name: `${day} rate of 32 series`, run: query(cpu, "rate") },
    { name: `${day} rate by mode, 32 series`, run: query(cpu, "rate", ["mode"]) },
    { name: `${day} rate of 500 series`, run: query(WIDE_METRIC, "rate"), wide: true },
    { name: `${day} rate by mode, 500 series`, run: query(WIDE_METRIC, "rate", ["mode"]), wide: true },
    { name: "summary, 1 h", run: (clusterId) => state.summary({ clusterId }) },
    {
      name: "summary, 30 days",
      run: (clusterId) => state.summary({ clusterId, fromMs: endMs - 30 * DAY_MS }),
    },
    { name: "nodes", run: (clusterId) => state.nodes({ clusterId }) },
    { name: "pods", run: (clusterId) => state.pods({ clusterId }) },
    { name: "gpus", run: (clusterId) => state.gpus({ clusterId }) },
    { name: "health", run: (clusterId) => state.health({ clusterId }) },
    { name: "metrics", run: (clusterId) => lookup.metrics({ clusterId }) },
    { name: "labels", run: (clusterId) => lookup.labels({ clusterId, metric: cpu }) },
  ];
}

interface Latency {
  p50: number;
  p99: number;
  calls: number;
}

async function measure(call: (i: number) => Promise<unknown>): Promise<Latency> {
  const tookMs: number[] = [];
  const began = performance.now();
  for (let i = -WARM_UPS; i < RUNS && performance.now() - began < LATENCY_MS_MAX; i++) {
    const start = performance.now();
    await call(i + WARM_UPS);
    if (i >= 0) tookMs.push(performance.now() - start);
  }
  const sorted = tookMs.toSorted((a, b) => a - b);
  const at = (q: number): number => sorted[Math.ceil(q * sorted.length) - 1] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), calls: sorted.length };
}

async function measureThroughput(call: (i: number) => Promise<unknown>, clients: number): Promise<number> {
  const began = performance.now();
  let done = 0;
  const client = async (first: number): Promise<void> => {
    for (let i = first; performance.now() - began < THROUGHPUT_MS; i++) {
      await call(i);
      done++;
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, i) => client(i)));
  return (done * 1000) / (performance.now() - began);
}

async function printCalls(calls: readonly Call[], old: OldCalls, stored: StoredClusters): Promise<void> {
  const clusterOf = (wide: boolean | undefined, i: number): string =>
    wide ? stored.wideCluster : stored.clusters[i % stored.clusters.length]!;
  const ms = (value: number): string => value.toFixed(1);
  let least: Latency = { p50: Number.NaN, p99: Number.NaN, calls: 0 };
  console.log(
    "p50 and p99 in ms at one client; x: p99 as a multiple of the p50 of SELECT 1; calls/s at 1, 8 and 32 clients",
  );
  for (const { name, run, wide } of calls) {
    const call = (i: number): Promise<unknown> => run(clusterOf(wide, i));
    const own = await measure(call);
    if (name === SELECT_1) least = own;
    const before = name === SELECT_1 ? undefined : await measure((i) => old.call(name, clusterOf(wide, i)));
    const rates: number[] = [];
    for (const clients of CLIENTS) rates.push(await measureThroughput(call, clients));
    const compared = before ? `, before ${ms(before.p50)} ${ms(before.p99)}` : "";
    console.log(
      `  ${name}: ${ms(own.p50)} ${ms(own.p99)} (${(own.p99 / least.p50).toFixed(0)} x; ${own.calls} calls)${compared}; ` +
        `${rates.map((rate) => rate.toFixed(1)).join(", ")} calls/s (8 to 1: ${(rates[1]! / rates[0]!).toFixed(2)})`,
    );
  }
}

async function printDisk(database: EmbeddedDatabase): Promise<void> {
  const rows = await database.query<{ table: string; samples: string; bytes: string; parts: string }>(
    `SELECT table, sum(rows) AS samples, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
     WHERE active AND database = 'metrics' AND table IN ('otel_metrics_gauge', 'otel_metrics_sum', 'series')
     GROUP BY table ORDER BY table`,
  );
  for (const { table, samples, bytes, parts } of rows) {
    const each = (Number(bytes) / Number(samples)).toFixed(2);
    console.log(`  ${table}: ${samples} rows of ${each} bytes, ${parts} parts`);
  }
}

async function store(database: EmbeddedDatabase, stored: StoredClusters): Promise<void> {
  const since = (startMs: number): string => `${((performance.now() - startMs) / 1000).toFixed(0)} s`;
  const start = performance.now();
  const series = await storeClusters(database, stored);
  await storeReports(database, stored);
  console.log(`Query API: ${stored.days} days of ${series} series; stored in ${since(start)}`);
  await printDisk(database);
  const rolling = performance.now();
  const { signal } = new AbortController();
  const logger = createSilentLogger();
  await refreshRollups(database, {
    databaseName: "metrics",
    settleMs: 0,
    clock: systemClock,
    logger,
    signal,
  });
  for (const table of ["rollup_gauge", "rollup_counter", "rollup_marks", "series"]) {
    await database.command(`OPTIMIZE TABLE metrics.${table} FINAL`);
  }
  console.log(`Rolled up in ${since(rolling)}`);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "budcluster-bench-"));
  const path = join(folder, "clickhouse");
  const logger = createSilentLogger();
  const database = await openChdb({
    path,
    logger,
    memoryBytesMax: MEMORY_BYTES,
    statementTimeoutMs: STATEMENT_MS_MAX,
  });
  try {
    await migrate(database, {
      parameters: { database: "metrics", retentionDays: 90 },
      clock: systemClock,
      logger,
      signal: new AbortController().signal,
    });
    const stored: StoredClusters = {
      clusters: ["bench-1", "bench-2", "bench-3"],
      wideCluster: "bench-wide",
      endMs: Math.floor(Date.now() / DAY_MS) * DAY_MS,
      days: QUICK ? 2 : 30,
      scrapeSeconds: 60,
    };
    await store(database, stored);
    const old = openOldCalls(path, stored.endMs);
    try {
      await printCalls(createCalls(database, stored), old, stored);
    } finally {
      old.close();
    }
  } finally {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
