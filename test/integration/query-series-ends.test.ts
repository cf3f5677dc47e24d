import { array, assert, asyncProperty, constantFrom, integer, record, uniqueArray } from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { createSeriesQuery, type SeriesAnswer, type SeriesRequest } from "#query/series/series.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { differences, toPoints } from "../helpers/points.ts";
import { evaluateReference, type ReferenceSeries } from "../helpers/promql-reference.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { marker, point, storeMetrics } from "../helpers/stored-world.ts";

// `last` and `count` of gauges over at most Prometheus' lookback: a series counts until its stale marker.

const engine = useEngine({ migrated: true });
const SECOND_MS = 1000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const SCRAPE_MS = 15 * SECOND_MS;
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 6 * HOUR_MS;
const END_MS = START_MS + 2 * HOUR_MS;
/** When `ends`, `returns` and `silent` are no longer scraped. */
const GONE_MS = START_MS + 40 * MINUTE_MS;
const BACK_MS = GONE_MS + 200 * SECOND_MS;
const GONE_AGAIN_MS = START_MS + HOUR_MS;
const TIME_LIMIT_MS = 300_000;
const clock = createManualClock(END_MS + HOUR_MS);

const AGGREGATIONS = ["count", "last"] as const;
/** (fromMs, toMs) */
const scrapes = (fromMs: number, toMs: number, value: number): [number, number][] =>
  Array.from({ length: Math.ceil((toMs - fromMs) / SCRAPE_MS) - 1 }, (_, i) => [
    fromMs + (i + 1) * SCRAPE_MS,
    value + i / 7,
  ]);

const SERIES: ReferenceSeries[] = [
  { labels: { pod: "stays", node: "n1" }, samples: scrapes(START_MS, END_MS, 1) },
  { labels: { pod: "ends", node: "n1" }, samples: scrapes(START_MS, GONE_MS, 10), markers: [GONE_MS] },
  {
    labels: { pod: "returns", node: "n2" },
    samples: [...scrapes(START_MS, GONE_MS, 20), ...scrapes(BACK_MS, GONE_AGAIN_MS, 25)],
    markers: [GONE_MS, GONE_AGAIN_MS],
  },
  { labels: { pod: "silent", node: "n2" }, samples: scrapes(START_MS, GONE_MS, 30) },
  // A sample counts, whatever else was sent for its time.
  {
    labels: { pod: "both", node: "n2" },
    samples: [...scrapes(START_MS, GONE_MS, 40), [GONE_MS, 49]],
    markers: [GONE_MS],
  },
  { labels: { pod: "never", node: "n3" }, samples: [], markers: [GONE_MS] },
];

async function store(metric: string, series: readonly ReferenceSeries[]): Promise<void> {
  const points = series.flatMap(({ labels, samples, markers = [] }) => [
    ...samples.map(([ms, value]) => point(labels, ms, value)),
    ...markers.map((ms) => marker(labels, ms)),
  ]);
  await storeMetrics(engine.database, "prod", [{ name: metric, kind: "gauge", points }]);
}

const unmarked = SERIES.map(({ labels, samples }) => ({ labels, samples }));

beforeAll(async () => {
  const { database } = engine;
  for (const table of ["otel_metrics_gauge", "otel_metrics_sum"]) {
    await database.command(`SYSTEM STOP MERGES metrics.${table}`);
  }
  await store("pods", SERIES);
  // Markers that were sent twice.
  await store(
    "pods",
    SERIES.map((each) => ({ ...each, samples: [] })),
  );
  await store("unmarked", unmarked);
  await store(
    "gone",
    SERIES.filter(({ labels }) => labels["pod"] === "ends"),
  );
  const asSum = (metric: string, where: string): Promise<void> =>
    database.command(`INSERT INTO metrics.otel_metrics_sum
      (ResourceAttributes, ScopeAttributes, MetricName, Attributes, TimeUnix, Value, Flags, IsMonotonic, AggregationTemporality)
      SELECT ResourceAttributes, ScopeAttributes, '${metric}', Attributes, TimeUnix, Value, Flags, false, 2
      FROM metrics.otel_metrics_gauge WHERE MetricName = 'pods' AND ${where}`);
  await asSum("sums", "true");
  // Its type changed between the last samples of `ends` and its marker.
  await asSum("changed", `TimeUnix < fromUnixTimestamp64Milli(${GONE_MS})`);
  const after = ({ samples, markers = [], labels }: ReferenceSeries): ReferenceSeries => ({
    labels,
    samples: samples.filter(([ms]) => ms >= GONE_MS),
    markers,
  });
  await store("changed", SERIES.map(after));
}, TIME_LIMIT_MS);

const ask = async (
  request: Partial<SeriesRequest>,
): Promise<{ answer: SeriesAnswer; statements: string[] }> => {
  const statements: string[] = [];
  const database = {
    ...engine.database,
    query: <Row>(...[sql, ...rest]: Parameters<typeof engine.database.query>) => {
      statements.push(sql);
      return engine.database.query<Row>(sql, ...rest);
    },
  };
  const answer = await createSeriesQuery(
    { database, clock },
    QUERY_DEFAULTS,
  )({
    clusterId: "prod",
    metric: "pods",
    aggregation: "count",
    startMs: START_MS,
    endMs: END_MS,
    stepMs: MINUTE_MS,
    ...request,
  });
  return { answer, statements };
};

/** Without the table `series`. */
async function bySamples<T>(run: () => Promise<T>): Promise<T> {
  await engine.database.command("TRUNCATE TABLE metrics.series_days");
  try {
    return await run();
  } finally {
    await engine.database.command("INSERT INTO metrics.series_days (day) VALUES (toDate(0))");
  }
}

function evaluate(
  answer: SeriesAnswer,
  groupBy: readonly string[],
  series: readonly ReferenceSeries[],
): ReturnType<typeof evaluateReference> {
  return evaluateReference(series, {
    aggregation: answer.aggregation,
    counter: false,
    groupBy,
    firstMs: Date.parse(answer.first_point),
    lastMs: Date.parse(answer.last_point),
    stepMs: answer.step_seconds * 1000,
    windowMs: answer.window_seconds * 1000,
  });
}

const after = (answer: SeriesAnswer, ms: number): number | undefined => {
  const found = answer.series[0]!.points.find(({ timestamp }) => Date.parse(timestamp) === GONE_MS + ms);
  return found === undefined ? undefined : Number(found.value);
};

test("count before, at and after the end of series", async () => {
  const { answer } = await ask({ stepMs: SCRAPE_MS });
  expect(answer.promql).toBe("count(last_over_time(pods[120s]) and pods)");
  expect(after(answer, -SCRAPE_MS)).toBe(5);
  // `silent` has no marker; `both` has a sample.
  expect(after(answer, 0)).toBe(3);
  expect(after(answer, 90 * SECOND_MS)).toBe(3);
  expect(after(answer, 105 * SECOND_MS)).toBe(2);
  expect(after(answer, 120 * SECOND_MS)).toBe(1);
  expect(after(answer, 225 * SECOND_MS)).toBe(2);
  expect(after(answer, 20 * MINUTE_MS - SCRAPE_MS)).toBe(2);
  expect(after(answer, 20 * MINUTE_MS)).toBe(1);
});

test("over five minutes it is the count of the instant selector, over an hour of last_over_time", async () => {
  const { answer: short } = await ask({ stepMs: 5 * MINUTE_MS });
  expect(short.promql).toBe("count(pods)");
  expect([-5, 0, 5].map((minutes) => after(short, minutes * MINUTE_MS))).toEqual([5, 3, 2]);
  const { answer: long } = await ask({ stepMs: HOUR_MS });
  expect(long.promql).toBe("count(last_over_time(pods[3600s]))");
  expect([20, 80].map((minutes) => after(long, minutes * MINUTE_MS))).toEqual([5, 1]);
});

const STEPS = [SCRAPE_MS, MINUTE_MS, 5 * MINUTE_MS, 7 * MINUTE_MS, HOUR_MS];
const SHAPES: Pick<SeriesRequest, "groupBy" | "filters">[] = [
  { groupBy: [] },
  { groupBy: ["node"] },
  { groupBy: ["*"] },
  { groupBy: [], filters: [{ label: "node", op: "=", value: "n2" }] },
  { groupBy: ["pod"], filters: [{ label: "pod", op: "!=", value: "stays" }] },
];

const isRead = ({ labels }: ReferenceSeries, { filters = [] }: Pick<SeriesRequest, "filters">): boolean =>
  filters.every(({ label, op, value }) => (labels[label] === value) === (op === "="));

describe.each([
  { metric: "pods", isMarked: true, type: "gauge" },
  { metric: "sums", isMarked: true, type: "sum" },
  { metric: "changed", isMarked: true, type: "gauge" },
  { metric: "unmarked", isMarked: false, type: "gauge" },
])("$metric equals its PromQL", ({ metric, isMarked, type }) => {
  const compare = async (isInTable: boolean, steps: readonly number[]): Promise<number> => {
    let points = 0;
    for (const stepMs of steps) {
      for (const aggregation of AGGREGATIONS) {
        for (const shape of SHAPES) {
          const { answer, statements } = await ask({ metric, aggregation, stepMs, ...shape });
          const series = (isMarked ? SERIES : unmarked).filter((each) => isRead(each, shape));
          const expected = evaluate(answer, shape.groupBy!, series);
          expect([answer.promql, ...differences(expected, toPoints(answer))]).toEqual([answer.promql]);
          expect([answer.series_total, answer.type]).toEqual([expected.size, type]);
          // Of the whole metric, up to the last point.
          const untilMs = Math.min(Date.parse(answer.last_point), END_MS - SCRAPE_MS);
          expect(Date.parse(answer.as_of!)).toBe(untilMs);
          const isTable = statements.some((sql) => sql.includes("AS newest_ms, 1 AS safe"));
          expect(isTable).toBe(isInTable);
          points += answer.series.reduce((total, each) => total + each.points.length, 0);
          expect(statements.some((sql) => sql.includes("stale/"))).toBe(stepMs <= 5 * MINUTE_MS);
        }
      }
    }
    return points;
  };
  test("by the table series", { timeout: TIME_LIMIT_MS }, async () => {
    expect(await compare(metric !== "changed", STEPS)).toBeGreaterThan(1000);
  });
  test("by the samples", { timeout: TIME_LIMIT_MS }, async () => {
    const steps = [MINUTE_MS, 5 * MINUTE_MS];
    expect(await bySamples(() => compare(false, steps))).toBeGreaterThan(1000);
  });
});

test("as_of is the time of the newest sample, though its series ended", async () => {
  const asked = { metric: "gone", endMs: GONE_MS + 10 * MINUTE_MS };
  for (const shape of SHAPES.slice(0, 3)) {
    const { answer } = await ask({ ...asked, ...shape });
    expect(answer.as_of).toBe(new Date(GONE_MS - SCRAPE_MS).toISOString());
    expect(Date.parse(answer.series[0]!.points.at(-1)!.timestamp)).toBe(GONE_MS - MINUTE_MS);
    const { answer: ended } = await ask({ ...asked, ...shape, startMs: GONE_MS - SECOND_MS });
    expect(ended).toMatchObject({ as_of: answer.as_of, series: [], series_total: 0 });
  }
});

test("any samples and markers, in any window", { timeout: TIME_LIMIT_MS }, async () => {
  const times = uniqueArray(integer({ min: 0, max: 300 }), { maxLength: 20 });
  let count = 0;
  await assert(
    asyncProperty(
      array(record({ samples: times, markers: times }), { minLength: 1, maxLength: 5 }),
      constantFrom(...AGGREGATIONS),
      record({
        step: constantFrom(1, 37, 60, 150, 299, 300, 301, 400),
        range: integer({ min: 400, max: 900 }),
      }),
      constantFrom([], ["odd"], ["*"]),
      async (drawn, aggregation, { step, range }, groupBy) => {
        const metric = `any_${++count}`;
        // Some are in the same window, some at the same time.
        const toMs = (time: number): number => START_MS + time * 3 * SECOND_MS + 1;
        const series = drawn.map(({ samples, markers }, i) => ({
          labels: { id: String(i), odd: String(i % 2) },
          samples: samples
            .toSorted((a, b) => a - b)
            .map((time): [number, number] => [toMs(time), time * (i + 1)]),
          markers: markers.map(toMs),
        }));
        if (series.every(({ samples }) => samples.length === 0)) return;
        await store(metric, series);
        const startMs = Math.floor(START_MS / (step * 1000)) * step * 1000;
        const asked = { metric, aggregation, startMs, endMs: startMs + range * 1000, stepMs: step * 1000 };
        const compare = async (): Promise<void> => {
          const { answer } = await ask({ ...asked, groupBy });
          expect(differences(evaluate(answer, groupBy, series), toPoints(answer))).toEqual([]);
        };
        await compare();
        await bySamples(compare);
      },
    ),
    { numRuns: 30, seed: 20 },
  );
});
