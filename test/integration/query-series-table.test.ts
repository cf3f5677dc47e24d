import { beforeAll, expect, test } from "vitest";
import type { QueryLimits } from "#query/limits.ts";
import { AGGREGATIONS } from "#query/series/aggregations.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesAnswer, type SeriesRequest } from "#query/series/series.ts";
import type { Database } from "#storage/database.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeRecord } from "../helpers/stored-world.ts";
import { storeMetric, type Sample, type StoredMetric } from "../helpers/stored-series.ts";

// Names, kinds and labels come from the table `series`, values from the samples.

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const END_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 2 * HOUR_MS;
const START_MS = END_MS - HOUR_MS;
/** Many statements. */
const TIME_LIMIT_MS = 300_000;
const clock = createManualClock(END_MS + MINUTE_MS);

const samples = (value: (i: number) => number, from = START_MS, everyMs = 30_000): Sample[] =>
  Array.from({ length: (END_MS - from) / everyMs }, (_, i) => [from + (i + 1) * everyMs, value(i)] as const);

const metric = (name: string, kind: "gauge" | "counter", value: (host: number) => (i: number) => number) =>
  ({
    clusterId: "prod",
    metric: name,
    kind,
    unit: "By",
    series: ["a", "b", "c"].map((host, n) => ({
      labels: { host, zone: n < 2 ? "1" : "2" },
      samples: samples(value(n)),
    })),
  }) satisfies StoredMetric;

const GAUGE = metric("level", "gauge", (host) => (i) => Math.sin(i / 7 + host) * 100);
const COUNTER = metric("total", "counter", (host) => (i) => i * (host + 1.5) + 1e6);

interface Changes {
  database?: Database;
  limits?: Partial<QueryLimits>;
}

const ask = (request: Partial<SeriesRequest>, { database = engine.database, limits = {} }: Changes = {}) =>
  createSeriesQuery(
    { database, clock },
    { ...QUERY_DEFAULTS, limits: { ...QUERY_DEFAULTS.limits, ...limits } },
  )({
    clusterId: "prod",
    metric: "level",
    aggregation: "avg",
    startMs: START_MS,
    endMs: END_MS,
    stepMs: 5 * MINUTE_MS,
    ...request,
  });

const lists = async () => {
  const lookup = createMetricLookup({ database: engine.database, clock }, QUERY_DEFAULTS);
  const ranges = [{}, { fromMs: START_MS + 10_000 }, { toMs: END_MS - 10 * MINUTE_MS }, { fromMs: END_MS }];
  return await Promise.all(
    ranges.flatMap((range) => [
      lookup.metrics({ clusterId: "prod", ...range }),
      lookup.labels({ clusterId: "prod", metric: "total", ...range }),
    ]),
  );
};

const REQUESTS: Partial<SeriesRequest>[] = (["level", "total"] as const).flatMap((name) => [
  { metric: name, aggregation: "avg" },
  ...AGGREGATIONS.filter(
    (aggregation) => name === "total" || !["rate", "increase"].includes(aggregation),
  ).map((aggregation) => ({
    metric: name,
    aggregation,
    groupBy: ["zone"],
    filters: [{ label: "host", op: "!=", value: "a" } as const],
  })),
]);

const askAll = async (requests = REQUESTS): Promise<SeriesAnswer[]> => {
  const answers: SeriesAnswer[] = [];
  for (const request of requests) answers.push(await ask(request));
  return answers;
};

let before: SeriesAnswer[] = [];

beforeAll(async () => {
  const { database } = engine;
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum"]) {
    await database.command(`SYSTEM STOP MERGES metrics.${table}`);
  }
  for (const each of [GAUGE, COUNTER]) await storeMetric(database, each);
  for (const atMs of [START_MS - 10 * MINUTE_MS, END_MS - MINUTE_MS]) {
    await storeRecord(database, "prod", { atMs, queries: ["level", "total"], watermarkMs: atMs, read: 100 });
  }
  before = await askAll();
}, TIME_LIMIT_MS);

test(
  "copies of samples in parts that are not merged change no answer",
  { timeout: TIME_LIMIT_MS },
  async () => {
    for (const each of [GAUGE, COUNTER]) {
      const series = each.series.map(({ labels, samples: all }, n) => ({
        labels,
        samples: all.slice(n * 30),
      }));
      await storeMetric(engine.database, { ...each, series });
      await storeMetric(engine.database, { ...each, series: series.slice(1) });
    }
    const [counted] = await engine.database.query(
      "SELECT count() > uniqExact(series_id, TimeUnix) AS has_copies FROM metrics.otel_metrics_sum",
    );
    expect(counted).toEqual({ has_copies: 1 });
    expect(before.every(({ series }) => series.length > 0)).toBe(true);
    expect(await askAll()).toEqual(before);
  },
);

test("the table gives what the samples give", { timeout: TIME_LIMIT_MS }, async () => {
  const known = await lists();
  await engine.database.command("TRUNCATE TABLE metrics.series_days");
  try {
    expect(await askAll()).toEqual(
      before.map((answer) => expect.toSatisfy((read: SeriesAnswer) => isClose(read, answer))),
    );
    expect(await lists()).toEqual(known);
  } finally {
    await engine.database.command("INSERT INTO metrics.series_days (day) VALUES (toDate(0))");
  }
});

/** Other statements add the same numbers in another order. */
function isClose(read: SeriesAnswer, expected: SeriesAnswer): boolean {
  const numbers = (answer: SeriesAnswer): number[] =>
    answer.series.flatMap(({ points }) => points.map(({ value }) => Number(value)));
  const [own, others] = [numbers(read), numbers(expected)];
  const close = own.every((value, i) => Math.abs(value - others[i]!) <= 1e-12 * Math.max(1, Math.abs(value)));
  const shapes = [read, expected].map((answer) => ({
    ...answer,
    series: answer.series.map(({ labels, points }) => [labels, points.map(({ timestamp }) => timestamp)]),
  }));
  return close && JSON.stringify(shapes[0]) === JSON.stringify(shapes[1]);
}

test(
  "a list of metrics is not refused for the number of their samples",
  { timeout: TIME_LIMIT_MS },
  async () => {
    const [series, each] = [500, 400];
    await engine.database.command(
      `INSERT INTO metrics.otel_metrics_gauge (ResourceAttributes, MetricName, Attributes, TimeUnix, Value)
     SELECT map('cluster_id', 'large'), concat('m_', number % 10), map('n', toString(number % {series:UInt32})),
       fromUnixTimestamp64Milli({from:Int64} + intDiv(number, {series:UInt32}) * 5000), number
     FROM numbers({count:UInt32})`,
      { series, from: START_MS, count: series * each },
    );
    const limits = { ...QUERY_DEFAULTS.limits, rowsReadMax: 100_000 };
    const metrics = (request: { fromMs?: number }) =>
      createMetricLookup({ database: engine.database, clock }, { ...QUERY_DEFAULTS, limits }).metrics({
        clusterId: "large",
        ...request,
      });
    const listed = (await metrics({})).metrics;
    expect(listed).toHaveLength(10);
    expect(listed[0]).toEqual({
      metric_name: "m_0",
      type: "gauge",
      unit: "",
      series: series / 10,
      first_sample: new Date(START_MS).toISOString(),
      last_sample: new Date(START_MS + (each - 1) * 5000).toISOString(),
    });
    await engine.database.command("TRUNCATE TABLE metrics.series_days");
    try {
      expect((await bridgeErrorOf(metrics({}))).details).toEqual({ limit: "rows_read" });
    } finally {
      await engine.database.command("INSERT INTO metrics.series_days (day) VALUES (toDate(0))");
    }
  },
);

test("100,000 series are listed, whatever their samples", { timeout: TIME_LIMIT_MS }, async () => {
  const [series, names, each] = [100_000, 200, 2];
  // A day of samples every 15 s is 576,000,000 rows, far over the limit of 100,000,000. Here both are smaller.
  await engine.database.command(
    `INSERT INTO metrics.otel_metrics_gauge (ResourceAttributes, MetricName, Attributes, TimeUnix, Value)
     SELECT map('cluster_id', 'huge'), concat('m_', leftPad(toString(number % {names:UInt32}), 3, '0')), map('n', toString(number % {series:UInt32})),
       fromUnixTimestamp64Milli({from:Int64} + intDiv(number, {series:UInt32}) * 15000), number
     FROM numbers({count:UInt32})`,
    { series, names, from: END_MS, count: series * each },
  );
  const limits = { ...QUERY_DEFAULTS.limits, rowsReadMax: series * 1.5 };
  const settings = { ...QUERY_DEFAULTS, limits };
  const lookup = createMetricLookup({ database: engine.database, clock }, settings);
  const { metrics, as_of } = await lookup.metrics({ clusterId: "huge" });
  expect(metrics).toHaveLength(names);
  expect(new Set(metrics.map((found) => found.series))).toEqual(new Set([series / names]));
  expect(as_of).toBe(new Date(END_MS + (each - 1) * 15_000).toISOString());
});

test(
  "a server without timeSeriesGroupArray computes rates exactly, and is not asked again",
  { timeout: TIME_LIMIT_MS },
  async () => {
    const asked: string[] = [];
    const database: Database = {
      ...engine.database,
      query: (sql, parameters, signal) => {
        asked.push(sql);
        // As ClickHouse 25.8 answers, by another unknown name.
        const known = sql.replaceAll("timeSeriesGroupArray", "timeSeriesUnknownArray");
        return engine.database.query(known, parameters, signal);
      },
    };
    const query = createSeriesQuery({ database, clock }, QUERY_DEFAULTS);
    const request = { clusterId: "prod", metric: "total", aggregation: "rate" } as const;
    const range = { startMs: START_MS, endMs: END_MS, stepMs: 5 * MINUTE_MS };
    const expected = await ask(request);
    for (const _ of [1, 2]) expect(isClose(await query({ ...request, ...range }), expected)).toBe(true);
    expect(asked.filter((sql) => sql.includes("timeSeriesGroupArray"))).toHaveLength(1);
  },
);

test(
  "an answer takes one statement when its collection and its metric are known",
  { timeout: TIME_LIMIT_MS },
  async () => {
    const statements: string[] = [];
    const database: Database = {
      ...engine.database,
      query: (sql, parameters, signal) => {
        statements.push(sql);
        return engine.database.query(sql, parameters, signal);
      },
    };
    const moving = { ...clock, monotonic: () => nowMs };
    let nowMs = 0;
    const query = createSeriesQuery({ database, clock: moving }, QUERY_DEFAULTS);
    const request = { clusterId: "prod", metric: "total", startMs: START_MS, endMs: END_MS } as const;
    await query({ ...request, aggregation: "rate" });
    expect(statements.length).toBeGreaterThan(3);
    statements.length = 0;
    await query({ ...request, aggregation: "sum", groupBy: ["zone"] });
    expect(statements).toHaveLength(1);
    // Both are read again, and the collection's record first.
    nowMs = 5000;
    statements.length = 0;
    await query({ ...request, aggregation: "rate" });
    expect(statements.some((sql) => sql.includes("metrics.series WHERE"))).toBe(true);
    expect(statements.length).toBeGreaterThan(2);
  },
);

test("a series that is new since its metric was described is in the answer", async () => {
  const query = createSeriesQuery({ database: engine.database, clock }, QUERY_DEFAULTS);
  const request = {
    clusterId: "prod",
    metric: "growing",
    aggregation: "sum",
    startMs: START_MS,
    endMs: END_MS,
    groupBy: ["host"],
  } as const;
  const hosts = async () => (await query(request)).series.map(({ labels }) => labels["host"]);
  const [one, two] = ["a", "b"].map((host) => ({
    clusterId: "prod",
    metric: "growing",
    kind: "gauge" as const,
    series: [{ labels: { host }, samples: samples((i) => i) }],
  }));
  await storeMetric(engine.database, one!);
  expect(await hosts()).toEqual(["a"]);
  await storeMetric(engine.database, two!);
  expect(await hosts()).toEqual(["a", "b"]);
});

test("a row that is missing in the table hides no sample", { timeout: TIME_LIMIT_MS }, async () => {
  await engine.database.command(
    "ALTER TABLE metrics.series DELETE WHERE labels['host'] = 'a' SETTINGS mutations_sync = 2",
  );
  for (const name of ["level", "total"]) {
    const { series } = await ask({ metric: name, groupBy: ["host"] });
    expect(series.map(({ labels }) => labels)).toEqual([{ host: "a" }, { host: "b" }, { host: "c" }]);
    const only = await ask({ metric: name, filters: [{ label: "host", op: "=", value: "a" }] });
    expect(only.series).toHaveLength(1);
  }
});

test("a metric of which only the other type is in the table has its samples", async () => {
  await engine.database.command(
    "ALTER TABLE metrics.series DELETE WHERE kind = 'gauge' SETTINGS mutations_sync = 2",
  );
  expect(await ask({ metric: "level" })).toEqual(before[0]);
});

test(
  "very many samples of a week are read from hours, if the step may be one of hours",
  { timeout: TIME_LIMIT_MS },
  async () => {
    const from = END_MS - 3 * 24 * HOUR_MS;
    const series = Array.from({ length: 10 }, (_, n) => ({
      labels: { host: String(n) },
      samples: samples((i) => i * (n + 1), from, 2 * MINUTE_MS),
    }));
    await storeMetric(engine.database, { clusterId: "prod", metric: "much_total", kind: "counter", series });
    await refreshRollups(engine.database, {
      databaseName: "metrics",
      settleMs: 0,
      clock: { ...createManualClock(Date.now()), sleep: () => Promise.resolve() },
      logger: createSilentLogger(),
      signal: new AbortController().signal,
    });
    const much = { metric: "much_total", aggregation: "rate", startMs: from } as const;
    const limits = { rowsReadMax: 15_000 };
    const hourly = await ask({ ...much, stepMs: HOUR_MS });
    expect(hourly.storage).toBe("raw");
    const open = await createSeriesQuery(
      { database: engine.database, clock },
      { ...QUERY_DEFAULTS, limits: { ...QUERY_DEFAULTS.limits, ...limits } },
    )({ clusterId: "prod", ...much, endMs: END_MS });
    expect(open).toMatchObject({ storage: "hours", step_seconds: 3600 });
    expect(isClose({ ...open, storage: "raw" }, hourly)).toBe(true);
    expect((await ask({ ...much, stepMs: HOUR_MS }, { limits })).storage).toBe("hours");
    const error = await bridgeErrorOf(ask({ ...much, stepMs: 5 * MINUTE_MS }, { limits }));
    expect(error).toMatchObject({ code: "query_too_large", details: { limit: "rows_read" } });
  },
);
