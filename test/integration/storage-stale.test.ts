import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { migrate } from "#storage/migrate.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { fillSeries } from "#storage/series-fill.ts";
import { useEngine } from "../helpers/engine.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { marker, point, storeMetrics } from "../helpers/stored-world.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Stale markers are rows with the flag NO_RECORDED_VALUE, as the receiver and the Collector's exporter insert them. Nothing that reads samples may see one.

const MIGRATIONS = join(import.meta.dirname, "../../src/storage/migrations");
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const FIRST_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 5 * HOUR_MS;
/** The series that end do so here; the marker is one scrape later. */
const END_MS = FIRST_MS + 90 * MINUTE_MS;
const STALE_NAN = "9218868437227405314";
const TABLES = ["gauge", "sum", "histogram", "exponential_histogram", "summary"] as const;
const VIEWS = [
  "samples",
  "samples_gauge",
  "samples_sum",
  "histograms",
  "exponential_histograms",
  "summaries",
];
const engine = useEngine({ migrated: false });
const signal = new AbortController().signal;
const base = { clock: systemClock, logger: createSilentLogger(), signal };

async function migrateFrom(directory?: string): Promise<string[]> {
  const parameters = { database: "metrics", retentionDays: 90 };
  const more = directory === undefined ? {} : { directory };
  return (await migrate(engine.database, { parameters, ...base, ...more })).applied;
}

/** One row of a kind that the Collector has no test form for, as its exporter inserts it. */
async function insert(table: string, resource: string, timeMs: number, flags: number): Promise<void> {
  await engine.database.command(
    `INSERT INTO metrics.otel_metrics_${table} (ResourceAttributes, MetricName, Attributes, TimeUnix, Flags)
     SELECT ${resource}, 'm_${table}', map('a', 'b'), fromUnixTimestamp64Milli(toInt64(${timeMs}), 'UTC'), ${flags}`,
  );
}

async function storeSamples(): Promise<void> {
  const steps = Array.from({ length: 91 }, (_, n) => n);
  const at = (n: number): number => FIRST_MS + n * MINUTE_MS;
  for (const cluster of ["c1", "c2"]) {
    await storeMetrics(engine.database, cluster, [
      { name: "m_gauge", kind: "gauge", points: steps.map((n) => point({ a: "b" }, at(n), n)) },
      { name: "m_total", kind: "sum", points: steps.map((n) => point({ a: "b" }, at(n), n * 2)) },
    ]);
    for (const table of TABLES.slice(2)) await insert(table, `map('cluster_id', '${cluster}')`, END_MS, 0);
  }
  await insert("gauge", "map('service.name', 'foreign')", END_MS, 0);
}

/** Of the series of c1, and of rows that have no cluster. */
async function storeMarkers(): Promise<void> {
  const ends = [marker({ a: "b" }, END_MS + MINUTE_MS)];
  await storeMetrics(engine.database, "c1", [
    { name: "m_gauge", kind: "gauge", points: ends },
    { name: "m_total", kind: "sum", points: ends },
  ]);
  for (const table of TABLES.slice(2)) {
    await insert(table, "map('cluster_id', 'c1')", END_MS + MINUTE_MS, 1);
  }
  await insert("gauge", "map('service.name', 'foreign')", END_MS + MINUTE_MS, 1);
}

/** All that is said about samples, after what is left to do has been done. */
async function everything(): Promise<Record<string, unknown[]>> {
  const impatient = { ...base, clock: { ...systemClock, sleep: async () => {} }, databaseName: "metrics" };
  await refreshRollups(engine.database, { ...impatient, settleMs: -1000 });
  await engine.database.command("TRUNCATE TABLE metrics.series_days");
  const filled = await fillSeries(engine.database, { ...impatient, settleMs: -1000, budgetMs: 60_000 });
  expect(filled.isComplete).toBe(true);
  const found: Record<string, unknown[]> = {};
  for (const name of [...VIEWS, "hourly_gauge", "hourly_counter", "series FINAL"]) {
    found[name] = await engine.database.query(`SELECT * FROM metrics.${name} ORDER BY ALL`);
  }
  const marks = "cluster_id, metric_name, hour_end, max(marked_at) > max(rolled_at) AS is_dirty";
  found["marks"] = await engine.database.query(
    `SELECT ${marks} FROM metrics.rollup_marks GROUP BY ALL ORDER BY ALL`,
  );
  for (const table of TABLES) {
    const from = `metrics.otel_metrics_${table} FINAL WHERE cluster_id IN ('c1', 'c2')`;
    found[table] = await engine.database.query(`SELECT * FROM ${from} ORDER BY ALL`);
  }
  return found;
}

let before: Record<string, unknown[]> = {};

beforeAll(async () => {
  const directory = join(createTemporaryFolder(), "previous");
  mkdirSync(directory);
  for (const name of readdirSync(MIGRATIONS).slice(0, 6))
    cpSync(join(MIGRATIONS, name), join(directory, name));
  await migrateFrom(directory);
  await storeSamples();
  before = await everything();
  await migrateFrom();
}, 120_000);

test("samples, series and hours are the same with markers as without, also when a marker is sent twice", async () => {
  for (const name of Object.keys(before)) expect([name, before[name]!.length > 0]).toEqual([name, true]);
  expect(await everything()).toEqual(before);
  await storeMarkers();
  expect(await everything()).toEqual(before);
  await storeMarkers();
  expect(await everything()).toEqual(before);
  await storeSamples();
  expect(await everything()).toEqual(before);
});

test("each marker is in stale_markers once, with the series_id of its series, under the id of its cluster", async () => {
  const read = (columns: string) =>
    engine.database.query(
      `SELECT ${columns} FROM metrics.stale_markers WHERE cluster_id = 'c1' ORDER BY ALL`,
    );
  const time = new Date(END_MS + MINUTE_MS).toISOString().slice(0, 19).replace("T", " ");
  expect(await read("kind, metric_name, labels, toString(toDateTime(time, 'UTC')) AS time")).toEqual(
    [
      ["counter", "m_total"],
      ["exponential_histogram", "m_exponential_histogram"],
      ["gauge", "m_gauge"],
      ["histogram", "m_histogram"],
      ["summary", "m_summary"],
    ].map(([kind, metric_name]) => ({ kind, metric_name, labels: { a: "b" }, time })),
  );
  const ended = await engine.database.query(
    `SELECT metric_name, count() AS samples, max(samples.time) < any(markers.time) AS is_before
     FROM metrics.samples AS samples INNER JOIN metrics.stale_markers AS markers USING (cluster_id, metric_name, series_id)
     WHERE cluster_id = 'c1'
     GROUP BY metric_name ORDER BY metric_name`,
  );
  expect(ended).toEqual([
    { metric_name: "m_gauge", samples: "91", is_before: 1 },
    { metric_name: "m_total", samples: "91", is_before: 1 },
  ]);
  // Of the row without a cluster as well.
  expect(
    await engine.database.query("SELECT count() AS n FROM metrics.stale_markers WHERE cluster_id = ''"),
  ).toEqual([{ n: "1" }]);
});

test("stale_markers reads the granules of markers only", async () => {
  const plan = await engine.database.query<{ explain: string }>(
    "EXPLAIN indexes = 1 SELECT time FROM metrics.stale_markers WHERE cluster_id = 'c1' AND metric_name = 'm_gauge'",
  );
  const text = plan.map(({ explain }) => explain).join("\n");
  expect(text).toContain("(cluster_id in ['stale/', 'stale0'))");
});

test("a marker keeps its bits beside the flag", async () => {
  const rows = await engine.database.query(
    `SELECT DISTINCT cluster_id, Flags, toString(reinterpretAsUInt64(Value)) AS bits FROM metrics.otel_metrics_gauge
     WHERE cluster_id = 'stale/c1'`,
  );
  expect(rows).toEqual([{ cluster_id: "stale/c1", Flags: 1, bits: STALE_NAN }]);
});

test("docs/clickhouse.md reads ends, and what an instant selector shows", async () => {
  const [, section = ""] =
    /^### Stale markers\n([\s\S]*?)^### /m.exec(readFileSync("docs/clickhouse.md", "utf8")) ?? [];
  const [ends = "", shown = ""] = [...section.matchAll(/(?:^ {4}.*\n)+/gm)].map(([block]) =>
    block.replaceAll("prod-1", "docs"),
  );
  const now = Date.now();
  const pod = { namespace: "a", pod: "b" };
  const at = (pod: string, ageMs: number, value: number) => point({ pod }, now - ageMs, value);
  await storeMetrics(engine.database, "docs", [
    { name: "kube_pod_info", kind: "gauge", points: [marker(pod, now - 60 * MINUTE_MS)] },
    { name: "kube_pod_info", kind: "gauge", points: [marker(pod, now - 30 * MINUTE_MS)] },
    {
      name: "node_load1",
      kind: "gauge",
      points: [
        at("runs", 120_000, 1),
        at("runs", 60_000, 2),
        at("ended", 120_000, 3),
        marker({ pod: "ended" }, now - 60_000),
        marker({ pod: "again" }, now - 120_000),
        at("again", 60_000, 4),
        at("old", 6 * MINUTE_MS, 5),
      ],
    },
  ]);
  const [row, ...others] = await engine.database.query<{ pod: string; ended: string }>(ends);
  expect(others).toEqual([]);
  expect(row).toMatchObject(pod);
  expect(Date.parse(`${row?.ended.replace(" ", "T").slice(0, 23)}Z`)).toBe(now - 30 * MINUTE_MS);
  const series = await engine.database.query<{ labels: { pod: string }; value: number }>(shown);
  expect(series.map(({ labels, value }) => `${labels.pod} ${value}`).toSorted()).toEqual([
    "again 4",
    "runs 2",
  ]);
});
