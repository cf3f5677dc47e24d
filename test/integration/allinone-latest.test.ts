import { beforeAll, expect, test } from "vitest";
import { COLUMNS } from "#allinone/otlp-tables.ts";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { toRows } from "#allinone/otlp-rows.ts";
import type { LatestAnswer, LatestRequest } from "#query/series/latest.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import type { Database, QueryParameters } from "#storage/database.ts";
import { systemClock } from "#lib/clock.ts";
import type { QueryLimits } from "#query/limits.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { bitsOf, toOtlpRequest, type TestMetric } from "../helpers/otlp-request.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const codec = createOtlpCodec();
const latestWithin = (
  limits: Partial<QueryLimits>,
  database: Database = engine.database,
  clock = systemClock,
) =>
  createMetricLookup(
    { database, clock },
    { ...QUERY_DEFAULTS, limits: { ...QUERY_DEFAULTS.limits, ...limits } },
  ).latest;
const latest = (request: LatestRequest): Promise<LatestAnswer> => latestWithin({})(request);
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const at = (secondsAgo: number): bigint => BigInt(NOW_MS - secondsAgo * 1000 + 7) * 1_000_000n;
const iso = (secondsAgo: number): string => new Date(NOW_MS - secondsAgo * 1000 + 7).toISOString();

async function store(clusterId: string, metrics: TestMetric[]): Promise<void> {
  const { tables } = toRows(codec.decodeRequest(toOtlpRequest({ cluster_id: clusterId }, metrics)), 1e8);
  for (const { kind, bytes } of tables) {
    await engine.database.insertRowBinary(`metrics.otel_metrics_${kind}`, COLUMNS[kind], bytes);
  }
}

beforeAll(async () => {
  const gauge = (name: string, points: TestMetric["points"]): TestMetric => ({
    name,
    unit: "s",
    kind: "gauge",
    points,
  });
  const load = (host: string, secondsAgo: number, value: number) => ({
    labels: { host },
    time: at(secondsAgo),
    bits: bitsOf(value),
  });
  await store("prod", [
    gauge("node_load1", [
      load("b", 60, 1),
      load("b", 30, 2.5),
      load("a", 90, Number.NaN),
      load("c", 40, -Infinity),
    ]),
    gauge("node_load1", [load("d", 50, Infinity), load("old", 25 * 3600, 1)]),
    gauge("node_load5", [load("a", 60, 1)]),
    gauge("changed", [load("a", 60, 1)]),
    { name: "changed", unit: "1", kind: "sum", points: [load("a", 30, 2)] },
    gauge("future", [load("a", -60, 1)]),
  ]);
  // Sent again with another value: the newer insert counts, once.
  await store("prod", [gauge("node_load1", [load("b", 30, 3.5)])]);
  await store("other", [gauge("only_here", [load("a", 60, 1)])]);
});

test("answers with the newest sample of each series, sorted by labels", async () => {
  expect(await latest({ clusterId: "prod", metric: "node_load1" })).toEqual({
    cluster_id: "prod",
    metric: "node_load1",
    as_of: iso(30),
    unit: "s",
    type: "gauge",
    series_total: 4,
    series: [
      { labels: { host: "a" }, timestamp: iso(90), value: "NaN" },
      { labels: { host: "b" }, timestamp: iso(30), value: 3.5 },
      { labels: { host: "c" }, timestamp: iso(40), value: "-Inf" },
      { labels: { host: "d" }, timestamp: iso(50), value: "+Inf" },
    ],
  });
});

test("a limit cuts the list, and says how many there are", async () => {
  const answer = await latest({ clusterId: "prod", metric: "node_load1", limit: 1 });
  expect([answer.series.length, answer.series_total, answer.as_of]).toEqual([1, 4, iso(30)]);
});

test("a metric whose type changed is the newer one", async () => {
  const answer = await latest({ clusterId: "prod", metric: "changed" });
  expect(answer).toMatchObject({ type: "counter", unit: "1", series: [{ value: 2 }] });
});

test("samples of a clock that runs ahead are there", async () => {
  expect((await latest({ clusterId: "prod", metric: "future" })).as_of).toBe(iso(-60));
});

test("an unknown metric gets the names like it, of this cluster only", async () => {
  const error = await bridgeErrorOf(latest({ clusterId: "prod", metric: "node_lod1" }));
  expect(error.code).toBe("metric_not_found");
  const similar = error.details?.["similar"] as string[];
  expect(similar.slice(0, 2).sort()).toEqual(["node_load1", "node_load5"]);
  expect(similar).not.toContain("only_here");
});

test("an unknown cluster, also one that looks like SQL, is cluster_not_found or refused", async () => {
  expect((await bridgeErrorOf(latest({ clusterId: "nobody", metric: "node_load1" }))).code).toBe(
    "cluster_not_found",
  );
  expect((await bridgeErrorOf(latest({ clusterId: "' OR 1=1", metric: "x" }))).code).toBe("request_invalid");
  expect((await bridgeErrorOf(latest({ clusterId: "prod", metric: "' OR 1=1 --\\" }))).code).toBe(
    "metric_not_found",
  );
});

test.each([{ limit: 0 }, { limit: 10_001 }, { limit: 1.5 }, { metric: "" }, { metric: "x".repeat(513) }])(
  "refuses %j",
  async (more) => {
    const error = await bridgeErrorOf(latest({ clusterId: "prod", metric: "node_load1", ...more }));
    expect(error.code).toBe("request_invalid");
  },
);

test.each<[string, Partial<QueryLimits>, string, string]>([
  ["QUERY_SERIES_MAX", { seriesMax: 3 }, "query_too_large", "series"],
  ["QUERY_ROWS_READ_MAX", { rowsReadMax: 1 }, "query_too_large", "rows_read"],
  ["QUERY_MEMORY_MAX", { memoryBytesMax: 1 }, "query_too_large", "memory"],
])("obeys %s", async (_variable, limits, code, limit) => {
  const error = await bridgeErrorOf(latestWithin(limits)({ clusterId: "prod", metric: "node_load1" }));
  expect([error.code, error.details]).toEqual([code, { limit }]);
});

test("obeys QUERY_POINTS_MAX and QUERY_TIMEOUT", async () => {
  const statements: string[] = [];
  const fromMs: number[] = [];
  const database = {
    command: () => Promise.resolve(),
    close: () => Promise.resolve(),
    queryNative: () => Promise.reject(new Error("nothing asks for columns")),
    query: async (sql: string, parameters: QueryParameters = {}) => {
      statements.push(sql);
      if ("from" in parameters) fromMs.push(Number(parameters["from"]));
      return [];
    },
  };
  const limited = latestWithin(
    { pointsMax: 10, timeoutMs: 3000, rangeMaxMs: 2 * 3_600_000 },
    database,
    createManualClock(NOW_MS),
  );
  const tooMany = await bridgeErrorOf(limited({ clusterId: "prod", metric: "up", limit: 11 }));
  expect(tooMany.message).toContain("limit: is not a whole number from 1 to 10");
  expect((await bridgeErrorOf(limited({ clusterId: "prod", metric: "up" }))).code).toBe("cluster_not_found");
  expect(statements.length).toBeGreaterThan(1);
  for (const sql of statements) expect(sql).toContain("SETTINGS max_execution_time = 3, ");
  expect(fromMs).toEqual([NOW_MS - 2 * 3_600_000]);
});
