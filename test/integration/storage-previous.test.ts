import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createWorld } from "#simulator/world.ts";
import { migrate } from "#storage/migrate.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeRecord, storeWorld } from "../helpers/stored-world.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// While an upgrade goes on, the previous query role, bridge and Collector work with the new tables: `migrate` runs first. The statements are those that the role sent before
// 0005_series.sql and later (the benchmark keeps them); the INSERTs name the columns that the Collector's exporter names.

type Value = string | number | string[] | { end: number } | { cluster: true };
interface OldStatements {
  statements: string[];
  calls: Record<string, { statement: number; parameters: Record<string, Value> }[]>;
}

const BENCH = join(import.meta.dirname, "../bench/old-statements.json");
const MIGRATIONS = join(import.meta.dirname, "../../src/storage/migrations");
/** The newest one that these statements knew. */
const VERSION = 4;
const engine = useEngine({ migrated: false });
const old = JSON.parse(readFileSync(BENCH, "utf8")) as OldStatements;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const CLUSTER = "sim-1";
const END_MS = Math.floor(Date.now() / (6 * HOUR_MS)) * 6 * HOUR_MS - 6 * HOUR_MS;

const migrateWith = async (directory?: string): Promise<string[]> => {
  const result = await migrate(engine.database, {
    parameters: { database: "metrics", retentionDays: 90 },
    ...(directory === undefined ? {} : { directory }),
    clock: systemClock,
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  return result.applied;
};

/** What an older bridge sent up to the upgrade and a newer one after it, and the reports of the collection. */
async function store(upgradedMs: number): Promise<void> {
  const clock = createManualClock(END_MS + 10 * MINUTE_MS);
  const shape = { pods: 3, cpus: 2, gpus: 2, scrapeIntervalMs: 60_000 };
  const world = createWorld({ clock }, { shape }).cluster(CLUSTER);
  const metrics = world.metrics
    .map(({ name }) => name)
    .filter((name) => /^(node|kube|container|DCGM)_/.test(name));
  const window = { fromMs: END_MS - 1.5 * HOUR_MS, toMs: END_MS + MINUTE_MS, metrics, upgradedMs };
  await storeWorld(engine.database, world, window);
  for (const atMs of [END_MS - 25 * HOUR_MS, END_MS - 70 * MINUTE_MS, END_MS - 15 * MINUTE_MS, END_MS]) {
    await storeRecord(engine.database, CLUSTER, { atMs, queries: metrics, read: 100 + atMs / 1e9 });
  }
}

/** The rows of each statement of each call, in any order. */
async function askAll(): Promise<Record<string, string[][]>> {
  const toParameter = (value: Value): string | number | string[] => {
    // The benchmark's own wide metric is not in this world.
    if (value === "wide_seconds_total") return "container_cpu_usage_seconds_total";
    if (typeof value !== "object" || Array.isArray(value)) return value;
    return "cluster" in value ? CLUSTER : String(END_MS + value.end);
  };
  const answers: Record<string, string[][]> = {};
  for (const [name, calls] of Object.entries(old.calls)) {
    answers[name] = [];
    for (const { statement, parameters } of calls) {
      const bound = Object.fromEntries(
        Object.entries(parameters).map(([key, value]) => [key, toParameter(value)]),
      );
      const rows = await engine.database.query(old.statements[statement]!, bound);
      answers[name].push(rows.map((row) => JSON.stringify(row)).toSorted());
    }
  }
  return answers;
}

let before: Record<string, string[][]> = {};

beforeAll(async () => {
  const directory = join(createTemporaryFolder(), "previous");
  mkdirSync(directory);
  for (const name of readdirSync(MIGRATIONS).slice(0, VERSION))
    cpSync(join(MIGRATIONS, name), join(directory, name));
  await migrateWith(directory);
  await store(END_MS - 30 * MINUTE_MS);
  before = await askAll();
}, 300_000);

test("the previous version's statements find something to answer", () => {
  for (const [name, rows] of Object.entries(before)) {
    expect([name, rows.flat().length > 0]).toEqual([name, true]);
  }
});

test(
  "they answer the same from the new tables, and when the same is sent once more by either bridge",
  { timeout: 300_000 },
  async () => {
    expect((await migrateWith()).length).toBeGreaterThan(0);
    expect(await askAll()).toEqual(before);
    await store(END_MS - 30 * MINUTE_MS);
    expect(await askAll()).toEqual(before);
    // An older bridge that was not stopped yet sends the same samples with the label that it adds: they replace themselves.
    const samples = (): Promise<unknown[]> =>
      engine.database.query(
        "SELECT count() AS n, sum(cityHash64(metric_name, series_id, time, value)) AS hash FROM metrics.samples",
      );
    const stored = await samples();
    await store(END_MS + HOUR_MS);
    expect(await samples()).toEqual(stored);
    const answers = await askAll();
    // A newer bridge sends a stale marker for every series, in the middle of its samples and after them: the statements see none.
    for (const table of ["gauge", "sum"]) {
      const monotonic = table === "gauge" ? "" : ", IsMonotonic";
      await engine.database.command(
        `INSERT INTO metrics.otel_metrics_${table} (ResourceAttributes, ScopeAttributes, MetricName, MetricUnit, Attributes, TimeUnix, Value, Flags${monotonic})
         SELECT any(ResourceAttributes), any(ScopeAttributes), MetricName, any(MetricUnit), any(Attributes),
           arrayJoin([min(TimeUnix) + INTERVAL 30 SECOND, max(TimeUnix) + INTERVAL 1 SECOND]), reinterpretAsFloat64(toUInt64(9218868437227405314)), 1${monotonic === "" ? "" : ", any(IsMonotonic)"}
         FROM metrics.otel_metrics_${table} WHERE NOT startsWith(cluster_id, 'stale/') GROUP BY MetricName, series_id`,
      );
    }
    const [markers] = await engine.database.query<{ n: string }>(
      "SELECT count() AS n FROM metrics.stale_markers",
    );
    expect(Number(markers?.n)).toBeGreaterThan(1000);
    expect(await askAll()).toEqual(answers);
    expect(await samples()).toEqual(stored);
  },
);
