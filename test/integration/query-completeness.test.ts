import { beforeAll, expect, test } from "vitest";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesAnswer } from "#query/series/series.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { storeMetric } from "../helpers/stored-series.ts";
import { storeRecord } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const NOW_MS = Math.floor(Date.now() / 3_600_000) * 3_600_000;
const STORED_MS = NOW_MS - 2 * MINUTE_MS;
const FROM_MS = NOW_MS - 60 * MINUTE_MS;
const QUERIES = ["node_load1", "node_memory_MemTotal_bytes"];
const iso = (ms: number): string => new Date(ms).toISOString();
const settings = QUERY_DEFAULTS;
const deps = () => ({ database: engine.database, clock: createManualClock(NOW_MS) });

const series = (clusterId: string, metric: string, endMs = NOW_MS): Promise<SeriesAnswer> =>
  createSeriesQuery(deps(), settings)({ clusterId, metric, startMs: FROM_MS, endMs, aggregation: "avg" });

beforeAll(async () => {
  for (const clusterId of ["whole", "behind", "new", "foreign"]) {
    for (const metric of [...QUERIES, "recorded"]) {
      await storeMetric(engine.database, {
        clusterId,
        metric,
        kind: "gauge",
        series: [{ labels: {}, samples: [[STORED_MS - MINUTE_MS, 1]] }],
      });
    }
  }
  const { database } = engine;
  const began = { atMs: FROM_MS - MINUTE_MS, queries: QUERIES, read: 100 };
  await storeRecord(database, "whole", began);
  const latest = { atMs: NOW_MS - MINUTE_MS, queries: QUERIES, watermarkMs: STORED_MS, read: 160 };
  await storeRecord(database, "whole", latest);
  await storeRecord(database, "new", latest);
  await storeRecord(database, "behind", began);
  await storeRecord(database, "behind", { ...latest, queries: ["node_load1"] });
  const stuck = { ...latest, queries: ["node_memory_MemTotal_bytes"], lostGaps: 2, sent: 140 };
  await storeRecord(database, "behind", { ...stuck, watermarkMs: NOW_MS - 40 * MINUTE_MS });
});

test("an answer about a metric is as complete as the query that collects it", async () => {
  const answer = await series("whole", "node_load1");
  expect(answer.completeness).toEqual({
    complete: true,
    watermark: iso(STORED_MS),
    lag_seconds: 120,
    collected_since: null,
    cluster_up: true,
    cluster_up_at: iso(NOW_MS - MINUTE_MS),
    queries: 1,
    behind: [],
    not_collected: [],
    open_gaps: 0,
    lost_gaps: 0,
    samples_read: 60,
    samples_sent: 60,
  });
  expect((await series("behind", "node_load1")).completeness).toMatchObject({ complete: true, lost_gaps: 0 });
  expect((await series("behind", "node_memory_MemTotal_bytes")).completeness).toMatchObject({
    complete: false,
    watermark: iso(NOW_MS - 40 * MINUTE_MS),
    queries: 1,
    lost_gaps: 2,
    samples_read: 60,
    samples_sent: 40,
  });
});

test("a metric that no query is named for is as complete as the whole cluster", async () => {
  expect((await series("whole", "recorded")).completeness).toMatchObject({ complete: true, queries: 2 });
  expect((await series("behind", "recorded")).completeness).toMatchObject({
    complete: false,
    queries: 2,
    behind: [{ query: "node_memory_MemTotal_bytes", watermark: iso(NOW_MS - 40 * MINUTE_MS) }],
    not_collected: [],
  });
});

test("a cluster that is collected only since the range began is not complete", async () => {
  const { completeness } = await series("new", "node_load1");
  expect(completeness).toMatchObject({ complete: false, collected_since: iso(NOW_MS - MINUTE_MS) });
});

test("samples that no collection of ours reports about: null", async () => {
  expect((await series("foreign", "node_load1")).completeness).toBeNull();
  const { completeness } = await createMetricLookup(deps(), settings).metrics({ clusterId: "foreign" });
  expect(completeness).toBeNull();
});

test("the lists of metrics and labels say it too", async () => {
  const lookup = createMetricLookup(deps(), settings);
  const range = { clusterId: "behind", fromMs: FROM_MS, toMs: NOW_MS };
  const metrics = await lookup.metrics(range);
  expect(metrics.completeness).toMatchObject({ complete: false, queries: 2, lost_gaps: 2 });
  const labels = await lookup.labels({ ...range, metric: "node_load1" });
  expect(labels.completeness).toMatchObject({ complete: true, queries: 1 });
});
