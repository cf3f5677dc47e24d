import { beforeAll, describe, expect, test } from "vitest";
import type { QueryLimits } from "#query/limits.ts";
import { createMetricLookup } from "#query/series/lookup.ts";
import { createSeriesQuery, type SeriesRequest } from "#query/series/series.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { storeMetric } from "../helpers/stored-series.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const START_MS = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 5 * 3_600_000;
const END_MS = START_MS + 30 * MINUTE_MS;
const NOW_MS = END_MS + 10 * MINUTE_MS;
const clock = createManualClock(NOW_MS);
const iso = (minutes: number): string => new Date(START_MS + minutes * MINUTE_MS).toISOString();
const every = (minutes: number[], value: (minute: number) => number) =>
  minutes.map((minute) => [START_MS + minute * MINUTE_MS, value(minute)] as const);
const minutes = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_unused, i) => from + i);

const ask = (more: Partial<SeriesRequest>, limits: Partial<QueryLimits> = {}) =>
  createSeriesQuery(
    { database: engine.database, clock },
    { ...QUERY_DEFAULTS, limits: { ...QUERY_DEFAULTS.limits, ...limits } },
  )({
    clusterId: "prod",
    metric: "memory",
    startMs: START_MS,
    endMs: END_MS,
    aggregation: "avg",
    ...more,
  });
const lookup = () => createMetricLookup({ database: engine.database, clock }, QUERY_DEFAULTS);

const HOST_A = { label: "host", op: "=", value: "a" } as const;
const ODD_TEXT = `a'b"c\\d\te\n{}é☃`;

beforeAll(async () => {
  const prod = { clusterId: "prod", unit: "By" };
  const { database } = engine;
  const series = (labels: Record<string, string>, value: number, from = 1, to = 30) => ({
    labels,
    samples: every(minutes(from, to), () => value),
  });
  await storeMetric(database, {
    ...prod,
    metric: "memory",
    kind: "gauge",
    series: [
      series({ host: "a", zone: "1" }, 10),
      series({ host: "b", zone: "1" }, 20),
      series({ host: "c", zone: "2" }, 40, 11, 20),
      series({ host: "d" }, 80),
    ],
  });
  await storeMetric(database, {
    ...prod,
    metric: "odd",
    kind: "gauge",
    series: [series({ text: ODD_TEXT }, 1), series({ text: "plain" }, 2)],
  });
  // The node's name is found later on; the series stays the same.
  await storeMetric(database, {
    ...prod,
    metric: "named",
    kind: "gauge",
    series: [series({ host: "a" }, 1, 1, 15), series({ host: "a", "k8s.node.name": "n1" }, 3, 16, 30)],
  });
  const changed = (kind: "gauge" | "counter", from: number, to: number) =>
    storeMetric(database, {
      ...prod,
      metric: "changed",
      kind,
      series: [{ labels: { host: "a" }, samples: every(minutes(from, to), (minute) => minute * 60) }],
    });
  await changed("gauge", 1, 15);
  await changed("counter", 15, 30);
  await storeMetric(database, { clusterId: "other", metric: "mine", kind: "gauge", series: [series({}, 1)] });
});

describe("an answer", () => {
  test("of the least request is the whole cluster at 1 min", async () => {
    const answer = await ask({});
    expect(answer).toMatchObject({
      cluster_id: "prod",
      metric_name: "memory",
      type: "gauge",
      unit: "By",
      step_seconds: 60,
      window_seconds: 120,
      promql: "avg(avg_over_time(memory[120s]))",
      start_time: iso(0),
      end_time: iso(30),
      first_point: iso(1),
      last_point: iso(30),
      as_of: iso(30),
      storage: "raw",
      series_total: 1,
    });
    expect(answer.series[0]!.labels).toEqual({});
    expect(answer.series[0]!.points).toHaveLength(30);
    expect(answer.series[0]!.points[11]).toEqual({ timestamp: iso(12), value: 150 / 4 });
  });

  test("sorts groups by labels, leaves empty labels out, and ends a series where its window does", async () => {
    const answer = await ask({ groupBy: ["zone"], aggregation: "sum" });
    expect(answer.promql).toBe("sum by (zone) (avg_over_time(memory[120s]))");
    expect(answer.series.map(({ labels }) => labels)).toEqual([{}, { zone: "1" }, { zone: "2" }]);
    const times = answer.series[2]!.points.map(({ timestamp }) => timestamp);
    expect([times[0], times.at(-1), times.length]).toEqual([iso(11), iso(21), 11]);
  });

  test.each([
    [{ label: "host", op: "=", value: "a" }, ["a"], 'memory{host="a"}'],
    [{ label: "host", op: "!=", value: "a" }, ["b", "c", "d"], 'memory{host!="a"}'],
    [{ label: "host", op: "=~", value: "a|b" }, ["a", "b"], 'memory{host=~"a|b"}'],
    [{ label: "host", op: "=~", value: "" }, [], 'memory{host=~""}'],
    [{ label: "host", op: "!~", value: "[ab]" }, ["c", "d"], 'memory{host!~"[ab]"}'],
    [{ label: "zone", op: "=", value: "" }, ["d"], 'memory{zone=""}'],
    [{ label: "zone", op: "!~", value: ".+" }, ["d"], 'memory{zone!~".+"}'],
  ] as const)("with the filter %j", async (filter, hosts, selector) => {
    const answer = await ask({ groupBy: ["*"], filters: [filter] });
    expect(answer.series.map(({ labels }) => labels["host"])).toEqual(hosts);
    expect(answer.promql).toBe(`avg without () (avg_over_time(${selector}[120s]))`);
  });

  // Each matches a host when its parenthesis closes the group that anchors it.
  test.each(["nope)|(?:a", "nope)|a|(b", ")|(", "x)$|^(?:.*", "(?i)x)|(?-i:a", "x\\Q)\\E)|(?:a"])(
    "refuses the filter %j, which escapes its anchors",
    async (value) => {
      for (const op of ["=~", "!~"] as const) {
        const error = await bridgeErrorOf(ask({ groupBy: ["*"], filters: [{ label: "host", op, value }] }));
        expect([error.code, error.details?.["fields"]]).toMatchObject([
          "request_invalid",
          [{ field: "filters.0.value" }],
        ]);
        expect(error.message).toMatch(/unexpected \) at character \d+$/);
      }
    },
  );

  test("takes parentheses that are characters", async () => {
    for (const value of ["(a)|[)]", "a|\\)", "a|\\Q)|(\\E", "(?i)A", "[[:alpha:]]|[]a)]"]) {
      const answer = await ask({ groupBy: ["*"], filters: [{ ...HOST_A, op: "=~", value }, HOST_A] });
      expect(answer.series.map(({ labels }) => labels["host"])).toEqual(["a"]);
    }
  });

  test.each(["=", "=~"] as const)("takes any text as a value: %s", async (op) => {
    const value = op === "=" ? ODD_TEXT : `a'b"c\\\\d\te\n\\{\\}é.`;
    const answer = await ask({ metric: "odd", filters: [{ label: "text", op, value }], groupBy: ["text"] });
    expect(answer.series.map(({ labels }) => labels)).toEqual([{ text: ODD_TEXT }]);
    expect(answer.promql).toContain(`text${op}${JSON.stringify(value)}`);
  });

  test("has the first series by labels up to the limit, and says how many there are", async () => {
    const answer = await ask({ groupBy: ["host"], limit: 2 });
    expect(answer.series.map(({ labels }) => labels["host"])).toEqual(["a", "b"]);
    expect(answer.series_total).toBe(4);
  });

  test("takes a series for one when its node's name is found later", async () => {
    const answer = await ask({ metric: "named", groupBy: ["*"], stepMs: 30 * MINUTE_MS });
    expect(answer.series).toEqual([
      { labels: { host: "a", "k8s.node.name": "n1" }, points: [{ timestamp: iso(30), value: 2 }] },
    ]);
    const byNode = await ask({ metric: "named", groupBy: ["k8s.node.name"] });
    expect(byNode.promql).toBe('avg by ("k8s.node.name") (avg_over_time(named[120s]))');
  });

  test("puts both tables together when the metric's type changed", async () => {
    const answer = await ask({ metric: "changed", aggregation: "rate" });
    expect(answer).toMatchObject({ type: "counter", unit: "By/s", series_total: 1 });
    const values = answer.series[0]!.points.map(({ value }) => value);
    expect(values).toHaveLength(29);
    for (const value of values.slice(1)) expect(value).toBeCloseTo(1, 12);
    const earlier = await ask({ metric: "changed", endMs: START_MS + 10 * MINUTE_MS });
    expect(earlier.type).toBe("gauge");
  });

  test("of a past range without data has no series", async () => {
    const answer = await ask({ startMs: START_MS - 90 * MINUTE_MS, endMs: START_MS - 30 * MINUTE_MS });
    expect(answer).toMatchObject({ type: "gauge", unit: "By", as_of: null, series_total: 0, series: [] });
  });

  test("has at most 1,000 points when no step is given", async () => {
    const steps = [1, 17, 24, 7 * 24, 90 * 24].map(async (hours) => {
      const { step_seconds } = await ask({ startMs: NOW_MS - hours * 3_600_000, endMs: NOW_MS });
      return step_seconds / 60;
    });
    expect(await Promise.all(steps)).toEqual([1, 2, 2, 15, 180]);
  });
});

describe("a refusal names the field and the remedy", () => {
  test.each<[string, Partial<SeriesRequest>]>([
    ["cluster_id", { clusterId: "' OR 1=1" }],
    ["metric_name", { metric: "" }],
    ["metric_name", { metric: "x".repeat(513) }],
    ["start_time", { startMs: END_MS }],
    ["start_time", { startMs: NOW_MS + 1000, endMs: NOW_MS + 60_000 }],
    ["end_time", { endMs: NOW_MS + 3_600_000 }],
    ["step", { stepMs: 500 }],
    ["step", { stepMs: 1500 }],
    ["step", { stepMs: 3_600_000, startMs: START_MS + 1, endMs: START_MS + 60_000 }],
    ["step", { startMs: START_MS - 20 * 3_600_000, stepMs: 1000 }],
    ["aggregation", { aggregation: "rate" }],
    ["group_by", { groupBy: ["*", "host"] }],
    ["group_by", { groupBy: Array.from({ length: 21 }, () => "host") }],
    ["group_by.1", { groupBy: ["host", "hots"] }],
    ["group_by.0", { groupBy: ["constructor"] }],
    ["group_by.0", { groupBy: ["toString", "host"] }],
    ["filters.0.label", { filters: [{ label: "hots", op: "=", value: "a" }] }],
    ["filters.0.value", { filters: [{ label: "host", op: "=~", value: "(" }] }],
    ["filters.1.value", { filters: [HOST_A, { label: "host", op: "!~", value: "nope)|(?:a" }] }],
    ["limit", { limit: 0 }],
  ])("%s of %j", async (field, more) => {
    const error = await bridgeErrorOf(ask(more));
    expect([error.code, error.httpStatus]).toEqual(["request_invalid", 400]);
    expect(error.details).toMatchObject({ fields: [{ field }] });
    expect(error.message).toContain(field);
    expect(error.hint).toMatch(/Send|Use|one of/);
  });

  test("an unknown label: with those that there are", async () => {
    expect((await bridgeErrorOf(ask({ groupBy: ["hots"] }))).hint).toContain("host, zone");
  });

  test("an unknown metric: with the names like it, of this cluster only", async () => {
    const error = await bridgeErrorOf(ask({ metric: "memroy" }));
    expect([error.code, error.httpStatus]).toEqual(["metric_not_found", 404]);
    const similar = error.details?.["similar"] as string[];
    expect(similar[0]).toBe("memory");
    expect(similar).not.toContain("mine");
  });

  test("an unknown cluster", async () => {
    expect((await bridgeErrorOf(ask({ clusterId: "nobody" }))).code).toBe("cluster_not_found");
  });

  test.each<[string, Partial<QueryLimits>, Partial<SeriesRequest>]>([
    ["range", { rangeMaxMs: MINUTE_MS }, {}],
    ["series", { seriesMax: 3 }, {}],
    ["points", { pointsMax: 100 }, { limit: 4 }],
    ["rows_read", { rowsReadMax: 10 }, {}],
    ["memory", { memoryBytesMax: 1000 }, {}],
  ])("more than the limit: %s", async (limit, limits, more) => {
    const error = await bridgeErrorOf(ask(more, limits));
    expect([error.code, error.httpStatus]).toEqual(["query_too_large", 400]);
    expect(error.details).toMatchObject({ limit });
  });

  test("fewer series are answered by default when they would be too many points", async () => {
    const answer = await ask({ groupBy: ["*"] }, { pointsMax: 60 });
    expect([answer.series.length, answer.series_total]).toEqual([2, 4]);
  });

  test("nobody waits any more", async () => {
    const gone = new AbortController();
    gone.abort(new Error("gone"));
    await expect(ask({ signal: gone.signal })).rejects.toThrow("gone");
  });
});

describe("what is stored", () => {
  test("metrics with their type, unit, series and times", async () => {
    const answer = await lookup().metrics({ clusterId: "prod" });
    expect(answer.metrics.map((metric) => metric.metric_name)).toEqual(["changed", "memory", "named", "odd"]);
    expect(answer.metrics.slice(0, 2)).toEqual([
      {
        metric_name: "changed",
        type: "counter",
        unit: "By",
        series: 1,
        first_sample: iso(1),
        last_sample: iso(30),
      },
      {
        metric_name: "memory",
        type: "gauge",
        unit: "By",
        series: 4,
        first_sample: iso(1),
        last_sample: iso(30),
      },
    ]);
    expect(answer.as_of).toBe(iso(30));
  });

  test("labels with their values", async () => {
    const answer = await lookup().labels({ clusterId: "prod", metric: "memory" });
    expect(answer.series).toBe(4);
    expect(answer.labels).toEqual([
      { label: "host", series: 4, values_total: 4, values: ["a", "b", "c", "d"] },
      { label: "zone", series: 3, values_total: 2, values: ["1", "2"] },
    ]);
    const mine = await lookup().labels({ clusterId: "other", metric: "mine" });
    expect(mine).toMatchObject({ series: 1, labels: [] });
  });

  test("nothing in a past range is no error, an unknown name is", async () => {
    const past = { fromMs: START_MS - 2 * 3_600_000, toMs: START_MS - 3_600_000 };
    expect(await lookup().metrics({ clusterId: "prod", ...past })).toMatchObject({
      as_of: null,
      metrics: [],
    });
    expect(await lookup().labels({ clusterId: "prod", metric: "memory", ...past })).toMatchObject({
      series: 0,
      labels: [],
    });
    expect((await bridgeErrorOf(lookup().metrics({ clusterId: "nobody" }))).code).toBe("cluster_not_found");
    expect((await bridgeErrorOf(lookup().labels({ clusterId: "prod", metric: "memo" }))).code).toBe(
      "metric_not_found",
    );
    expect((await bridgeErrorOf(lookup().metrics({ clusterId: "prod", fromMs: 2, toMs: 1 }))).code).toBe(
      "request_invalid",
    );
  });
});
