import { beforeAll, expect, test } from "vitest";
import { createMetricLookup } from "#query/series/lookup.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { marker, point, storeMetrics } from "../helpers/stored-world.ts";

const engine = useEngine({ migrated: true });
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const ago = (seconds: number): number => NOW_MS - seconds * 1000;
const iso = (seconds: number): string => new Date(ago(seconds)).toISOString();
const latest = (metric: string) =>
  createMetricLookup({ database: engine.database, clock: createManualClock(NOW_MS) }, QUERY_DEFAULTS).latest({
    clusterId: "c",
    metric,
  });

beforeAll(async () => {
  const of = (host: string, seconds: number, value: number) => point({ host }, ago(seconds), value);
  const ended = (host: string, seconds: number) => marker({ host }, ago(seconds));
  await storeMetrics(engine.database, "c", [
    {
      name: "load",
      kind: "gauge",
      points: [
        of("again", 90, 1),
        ended("again", 60),
        of("again", 30, 2),
        of("gone", 90, 3),
        ended("gone", 60),
        ended("gone", 60),
        of("lives", 30, 4),
        // Nothing of the last day but its end.
        of("old", 90_000, 5),
        ended("old", 20),
      ],
    },
    { name: "seen_total", kind: "sum", points: [of("gone", 90, 7), ended("gone", 30)] },
    { name: "only_ends", kind: "gauge", points: [ended("gone", 30)] },
  ]);
});

const series = [
  { labels: { host: "again" }, timestamp: iso(30), value: 2 },
  { labels: { host: "gone" }, timestamp: iso(90), value: 3, ended: iso(60) },
  { labels: { host: "lives" }, timestamp: iso(30), value: 4 },
];

test("the newest sample of each series, and when it has ended since", async () => {
  expect(await latest("load")).toMatchObject({ as_of: iso(30), series_total: 3, series });
  expect(await latest("seen_total")).toMatchObject({
    type: "counter",
    as_of: iso(90),
    series: [{ labels: { host: "gone" }, value: 7, ended: iso(30) }],
  });
});

test("a metric of which only ends are stored is unknown", async () => {
  await expect(latest("only_ends")).rejects.toMatchObject({ code: "metric_not_found" });
});

test("the same from the samples alone, as before the table series is filled", async () => {
  await engine.database.command("TRUNCATE TABLE metrics.series_days");
  expect(await latest("load")).toMatchObject({ as_of: iso(30), series_total: 3, series });
});
