import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import type { Matcher } from "#promql/ast.ts";
import { Labels } from "#promql/labels.ts";
import type { QueryBudget } from "#promql/budget.ts";
import { createEngine, type QueryResult } from "#promql/engine.ts";
import { parseExpr } from "#promql/parse.ts";
import type { GridRequest, SampleSource, Series } from "#promql/source.ts";
import { createPromqlSource, type PromqlSourceSettings } from "#query/promql/source.ts";
import { systemClock, type Clock } from "#lib/clock.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createScenario } from "../helpers/series-scenario.ts";
import { marker, point, storeOfResource } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

const engine = useEngine({ migrated: true });
const HOUR_MS = 3_600_000;
/** Samples that are older than the retention are dropped. */
const MIDNIGHT = Math.floor(Date.now() / (24 * HOUR_MS)) * 24 * HOUR_MS - 48 * HOUR_MS;
const T = MIDNIGHT + 600_000;
const CLUSTERS = { "edge-1": "Edge 1", "edge-2": "Edge 2", plain: "" };
const NOTHING: QueryBudget = { add: () => {}, release: () => {}, addSeries: () => {} };

type Stored = Record<string, string>;
const MEMORY: Stored[] = [
  { job: "node", instance: "a:9100" },
  { job: "node", instance: "b:9100", zone: "z1" },
  { job: "node\nexporter", instance: "a:9100", zone: "z2" },
  { job: "own", cluster: "prod", cluster_id: "p1" },
  { job: "own", cluster: "Edge 1", cluster_id: "edge-1" },
  { job: "own", cluster: "prod", exported_cluster: "older" },
  { job: "utf8", "label.with dot": "ä 'x' \\" },
];

beforeAll(async () => {
  for (const [id, name] of Object.entries(CLUSTERS)) {
    const resource = { cluster_id: id, ...(name && { cluster_name: name }) };
    const of = (value: number) => MEMORY.map((labels) => point(labels, T, value));
    await storeOfResource(engine.database, resource, [
      { name: "memory_bytes", kind: "gauge", points: of(1) },
      { name: "requests_total", kind: "sum", points: [point({ job: "node" }, T, 2)] },
      { name: "odd.name", kind: "gauge", points: [point({ job: "node" }, T, 3)] },
    ]);
  }
});

function createSource(settings: Partial<PromqlSourceSettings> = {}, database = engine.database) {
  const { databaseName, limits } = QUERY_DEFAULTS;
  const deps = { database, clock: systemClock };
  return createPromqlSource(deps, {
    databaseName,
    limits,
    seriesMax: 1000,
    samplesMax: 100_000,
    ...settings,
  });
}

async function select(
  matchers: Matcher[],
  {
    sees = () => true,
    fromMs = T - 300_000,
    toMs = T,
    settings = {},
  }: {
    sees?: (id: string) => boolean;
    fromMs?: number;
    toMs?: number;
    settings?: Partial<PromqlSourceSettings>;
  } = {},
): Promise<Series[]> {
  const source = createSource(settings).sourceFor(sees);
  const batches = source.select({ matchers, fromMs, toMs }, NOTHING, new AbortController().signal);
  const found: Series[] = [];
  for await (const batch of batches) found.push(...batch);
  return found.sort((a, b) => Labels.compare(a.labels, b.labels));
}

const plain = (labels: Labels): Stored => Object.fromEntries(labels.entries());
const is = (name: string, value: string): Matcher => ({ name, type: "=", value });
const not = (name: string, value: string): Matcher => ({ name, type: "!=", value });
const like = (name: string, value: string): Matcher => ({ name, type: "=~", value });
const unlike = (name: string, value: string): Matcher => ({ name, type: "!~", value });
const NAME = "__name__";

describe("labels", () => {
  it("has the cluster's name and id, and keeps what the source itself says", async () => {
    const found = await select([is(NAME, "memory_bytes"), is("cluster_id", "edge-1")]);
    expect(found.map(({ labels }) => plain(labels))).toEqual(
      expect.arrayContaining([
        {
          __name__: "memory_bytes",
          cluster: "Edge 1",
          cluster_id: "edge-1",
          instance: "a:9100",
          job: "node",
        },
        {
          __name__: "memory_bytes",
          cluster: "Edge 1",
          cluster_id: "edge-1",
          exported_cluster: "prod",
          exported_cluster_id: "p1",
          job: "own",
        },
        { __name__: "memory_bytes", cluster: "Edge 1", cluster_id: "edge-1", job: "own" },
        {
          __name__: "memory_bytes",
          cluster: "Edge 1",
          cluster_id: "edge-1",
          exported_cluster: "older",
          exported_exported_cluster: "prod",
          job: "own",
        },
      ]),
    );
    expect(found).toHaveLength(MEMORY.length);
  });

  it("names a cluster without a name by its id", async () => {
    const [series] = await select([is(NAME, "requests_total"), is("cluster", "plain")]);
    expect(plain(series!.labels)).toMatchObject({ cluster: "plain", cluster_id: "plain" });
  });
});

const ALL = await import("#query/promql/cluster-labels.ts").then(({ toSeriesLabels }) =>
  Object.entries(CLUSTERS).flatMap(([id, name]) => {
    const cluster = { id, name: name || id };
    return [
      ...MEMORY.map((labels) => toSeriesLabels("memory_bytes", labels, cluster)),
      toSeriesLabels("requests_total", { job: "node" }, cluster),
      toSeriesLabels("odd.name", { job: "node" }, cluster),
    ];
  }),
);

/** JavaScript's expressions are enough for those of this test. */
function matches(labels: Labels, { name, type, value }: Matcher): boolean {
  const text = labels.get(name);
  const isPattern = type === "=~" || type === "!~";
  const found = isPattern ? new RegExp(`^(?:${value})$`, "s").test(text) : text === value;
  return found === (type === "=" || type === "=~");
}

/** Every form of a selector, with the name, without it, and with other types of matchers for it. */
const SELECTORS: Matcher[][] = [
  [is(NAME, "memory_bytes")],
  [not(NAME, "memory_bytes")],
  [like(NAME, "mem.*|odd.name")],
  [unlike(NAME, "mem.*")],
  [like(NAME, ".+")],
  [is("job", "node")],
  [is(NAME, "memory_bytes"), is("zone", "")],
  [is(NAME, "memory_bytes"), not("zone", "")],
  [is(NAME, "memory_bytes"), not("zone", "z1")],
  [is(NAME, "memory_bytes"), like("zone", "z1|")],
  [is(NAME, "memory_bytes"), like("zone", "z.*"), unlike("zone", "z2")],
  [is(NAME, "memory_bytes"), unlike("zone", ".+")],
  [is(NAME, "memory_bytes"), like("job", "node.exporter")],
  [is(NAME, "memory_bytes"), is("label.with dot", "ä 'x' \\")],
  [is(NAME, "memory_bytes"), is("cluster", "Edge 1")],
  [is("cluster", "Edge 1")],
  [is("cluster_id", "edge-1")],
  [like("cluster", "Edge .*")],
  [like("cluster", "Edge .*"), unlike("cluster_id", ".*-1")],
  [not("cluster", "Edge 1"), like(NAME, ".+")],
  [is("cluster", ""), like(NAME, ".+")],
  [is("cluster", "prod"), like(NAME, ".+")],
  [is(NAME, "memory_bytes"), is("exported_cluster", "")],
  [is(NAME, "memory_bytes"), is("exported_cluster", "prod")],
  [is("exported_cluster", "older")],
  [like("exported_exported_cluster", "p.*")],
  [is("exported_cluster_id", "p1")],
  [is(NAME, "memory_bytes"), unlike("exported_cluster", "prod|older")],
  [is(NAME, "odd.name")],
  [is(NAME, "nothing")],
  [is(NAME, "")],
  [is(NAME, "memory_bytes"), not(NAME, "memory_bytes")],
];

describe("matchers", () => {
  const shown = (selector: Matcher[]): string =>
    `{${selector.map(({ name, type, value }) => `${name}${type}${JSON.stringify(value)}`).join(",")}}`;

  it.each(SELECTORS.map((selector) => [shown(selector), selector] as const))(
    "%s",
    async (_text, selector) => {
      const expected = ALL.filter((labels) => selector.every((matcher) => matches(labels, matcher)));
      const keys = (list: readonly Labels[]): string[] => list.map(({ key }) => key).sort();
      expect(keys((await select(selector)).map(({ labels }) => labels))).toEqual(keys(expected));
      const few = await select(selector, { sees: (id) => id === "edge-2" });
      expect(keys(few.map(({ labels }) => labels))).toEqual(
        keys(expected.filter((labels) => labels.get("cluster_id") === "edge-2")),
      );
      expect(await select(selector, { sees: () => false })).toEqual([]);
    },
  );

  it.each(
    [...SELECTORS.map((selector) => [selector]), []].map((list) => [list.map(shown).join(), list] as const),
  )("lists %s", async (_text, selectors) => {
    for (const sees of [() => true, (id: string) => id === "edge-2"]) {
      const { lookup } = createSource().sourceFor(sees);
      const signal = new AbortController().signal;
      const request = { selectors, range: { fromMs: T - 300_000, toMs: T }, limit: 1000, signal };
      const expected = ALL.filter(
        (labels) =>
          sees(labels.get("cluster_id")) &&
          (selectors.length === 0 ||
            selectors.some((selector) => selector.every((matcher) => matches(labels, matcher)))),
      );
      const unique = (texts: readonly string[]): string[] => [...new Set(texts)].sort();
      const series = (await lookup.series(request)).found.map(({ key }) => key);
      expect(series).toEqual(expected.sort((a, b) => Labels.compare(a, b)).map(({ key }) => key));
      const names = expected.flatMap((labels) => Object.keys(plain(labels)));
      expect((await lookup.labelNames(request)).found).toEqual(unique(names));
      for (const name of [NAME, "job", "cluster", "cluster_id", "exported_cluster", "zone", "none"]) {
        const values = expected.map((labels) => labels.get(name)).filter((value) => value !== "");
        expect([name, (await lookup.labelValues(name, request)).found]).toEqual([name, unique(values)]);
      }
    }
  });

  it("cuts long lists", async () => {
    const { lookup } = createSource().sourceFor(() => true);
    const signal = new AbortController().signal;
    const request = { selectors: [], range: { fromMs: T - 300_000, toMs: T }, limit: 2, signal };
    expect(await lookup.labelValues("cluster", request)).toEqual({
      found: ["Edge 1", "Edge 2"],
      isCut: true,
    });
    expect(await lookup.labelValues(NAME, { ...request, limit: 3 })).toMatchObject({ isCut: false });
    expect((await lookup.series(request)).found).toHaveLength(2);
    expect((await lookup.labelNames(request)).isCut).toBe(true);
  });

  it("says that a list is cut where only some of the series are looked at", async () => {
    // Which labels made way for those of the cluster is decided after the series are read.
    const matchers = [like(NAME, ".+"), is("exported_cluster", "prod")];
    const source = createSource({ seriesMax: 3 }).sourceFor(() => true);
    const { lookup } = source;
    const signal = new AbortController().signal;
    const request = { selectors: [matchers], range: { fromMs: T - 300_000, toMs: T }, limit: 1000, signal };
    expect(await lookup.series(request)).toMatchObject({ isCut: true });
    expect(await lookup.labelNames(request)).toMatchObject({ isCut: true });
    expect(await lookup.labelValues("job", request)).toMatchObject({ isCut: true });
    const samples = source.select({ matchers, fromMs: T - 300_000, toMs: T }, NOTHING, signal);
    await expect(samples[Symbol.asyncIterator]().next()).rejects.toThrow("query reads more than 3 series");
    const whole = createSource().sourceFor(() => true).lookup;
    const found = await whole.series({ ...request, limit: 3 });
    expect(found).toMatchObject({ isCut: false });
    expect(found.found.length).toBe(3);
  });

  it("describes metrics, of the clusters that the caller sees", async () => {
    const signal = new AbortController().signal;
    const request = { range: { fromMs: T - 300_000, toMs: T }, limit: 10, signal };
    const of = async (sees: boolean, metric?: string) =>
      Object.fromEntries(
        await createSource()
          .sourceFor(() => sees)
          .lookup.metadata({ ...request, metric }),
      );
    expect(await of(true, "requests_total")).toEqual({
      requests_total: [{ type: "counter", help: "", unit: "" }],
    });
    expect(Object.keys(await of(true))).toEqual(["memory_bytes", "odd.name", "requests_total"]);
    expect(await of(false)).toEqual({});
  });

  it("refuses an expression that is none", async () => {
    await expect(select([like("job", "a(")])).rejects.toThrow("RE2");
    await expect(select([like("cluster", "a(")])).rejects.toThrow("RE2");
  });

  it("refuses more series than a selector may read", async () => {
    const settings = { seriesMax: 6 };
    const few = await select([is(NAME, "memory_bytes"), is("cluster_id", "edge-1"), not("job", "utf8")], {
      settings,
    });
    expect(few).toHaveLength(6);
    await expect(select([is(NAME, "memory_bytes")], { settings })).rejects.toThrow("more than 6 series");
  });
});

describe("samples", () => {
  const START = MIDNIGHT + 22 * HOUR_MS;
  const STEP = 30_000;
  const COUNT = 480;
  const times = Array.from({ length: COUNT }, (_unused, k) => START + k * STEP + (k % 7));
  const odd = [Number.NaN, Infinity, -Infinity, -0, 0.1 + 0.2, 5e-324, 1.7976931348623157e308];
  const valueOf = (i: number, k: number): number => (k % 50 < odd.length ? odd[k % 50]! : i * 1e6 + k / 3);
  const NAMES = Array.from({ length: 9 }, (_unused, i) => ({ i: String(i) }));
  const resource = { cluster_id: "many", cluster_name: "Many" };

  beforeAll(async () => {
    const { database } = engine;
    const points = NAMES.flatMap((labels, i) => times.map((ms, k) => point(labels, ms, valueOf(i, k))));
    await storeOfResource(database, resource, [{ name: "values", kind: "gauge", points }]);
    // Sent again, later ones first.
    const again = points.filter((_point, k) => k % 3 === 0).reverse();
    await storeOfResource(database, resource, [{ name: "values", kind: "gauge", points: again }]);
    const ended = times.slice(0, 20).map((ms) => point({ i: "ended" }, ms, 1));
    await storeOfResource(database, resource, [
      {
        name: "ends",
        kind: "sum",
        points: [...ended, marker({ i: "ended" }, times[20]!), point({ i: "ended" }, times[22]!, 2)],
      },
      { name: "changed", kind: "gauge", points: times.slice(0, 10).map((ms, k) => point({}, ms, k)) },
    ]);
    await storeOfResource(database, resource, [
      { name: "changed", kind: "sum", points: times.slice(8, 20).map((ms, k) => point({}, ms, 100 + k)) },
    ]);
  });

  const expectedOf = (fromMs: number, toMs: number) => {
    const inside = times.map((ms, k) => [ms, k] as const).filter(([ms]) => ms > fromMs && ms <= toMs);
    return NAMES.map((_labels, i) => ({
      times: inside.map(([ms]) => ms),
      values: inside.map(([, k]) => valueOf(i, k)),
    }));
  };

  it.each([
    ["at once", 1_000_000],
    ["in chunks", 1000],
    ["one series after the other", 1],
  ])("reads them %s, each once and with the bits of its value", async (_how, chunkSamples) => {
    const [fromMs, toMs] = [times[3]!, times[400]!];
    const found = await select([is(NAME, "values")], { fromMs, toMs, settings: { chunkSamples } });
    const plainly = found.map((series) => ({ times: [...series.times], values: [...series.values] }));
    expect(plainly).toEqual(expectedOf(fromMs, toMs));
    expect(found.every(({ stale }) => stale === undefined)).toBe(true);
  });

  it("reads a chunk again as smaller ones when it has more samples than it may", async () => {
    // By a sample each 15 s, a minute would be 5 of a series: two of 30 s fit, and so do 9 series of these.
    const [fromMs, toMs] = [times[0]! - 1, times[100]!];
    const settings = { chunkSamples: 205 };
    const found = await select([is(NAME, "values")], { fromMs, toMs, settings });
    expect(found.map((series) => [...series.times])).toEqual(
      expectedOf(fromMs, toMs).map((series) => series.times),
    );
  });

  it("refuses a series with more samples than a query may hold", async () => {
    const settings = { chunkSamples: 1, samplesMax: 479 };
    const range = { fromMs: times[0]! - 1, toMs: times.at(-1)! };
    await expect(select([is(NAME, "values")], { ...range, settings })).rejects.toThrow("too many samples");
  });

  it("marks where a series ends", async () => {
    const [series] = await select([is(NAME, "ends")], { fromMs: times[17]!, toMs: times[30]! });
    expect([...series!.times]).toEqual([times[18], times[19], times[20], times[22]]);
    expect([...series!.values]).toEqual([1, 1, Number.NaN, 2]);
    expect([...series!.stale!]).toEqual([0, 0, 1, 0]);
  });

  it("puts the samples of a series together whose type changed", async () => {
    const [series, ...others] = await select([is(NAME, "changed")], { fromMs: times[5]!, toMs: times[12]! });
    expect(others).toEqual([]);
    expect([...series!.times]).toEqual(times.slice(6, 13));
    expect([...series!.values]).toEqual([6, 7, 100, 101, 102, 103, 104]);
  });

  it("answers ranges that no sample can be in", async () => {
    const matchers = [is(NAME, "values")];
    expect(await select(matchers, { fromMs: -3e14, toMs: 4000 })).toEqual([]);
    expect(await select(matchers, { fromMs: 8e15, toMs: 9e15 })).toEqual([]);
    expect(await select(matchers, { fromMs: START, toMs: START })).toEqual([]);
  });

  it("reads series from their samples where the table of series lacks days", async () => {
    const { database } = engine;
    await database.command("TRUNCATE TABLE metrics.series_days");
    try {
      const found = await select([is(NAME, "values"), not("i", "3")], { fromMs: times[3]!, toMs: times[9]! });
      expect(found.map(({ labels }) => labels.get("i"))).toEqual(["0", "1", "2", "4", "5", "6", "7", "8"]);
      expect(found[0]!.labels.get("cluster")).toBe("Many");
    } finally {
      await database.command("INSERT INTO metrics.series_days (day) VALUES (0)");
    }
  });
});

describe("what ClickHouse computes", () => {
  const START = MIDNIGHT + 20 * HOUR_MS;
  const END = START + 8 * HOUR_MS;
  const resource = { cluster_id: "grids", cluster_name: "Grids" };
  const store = (name: string, kind: "gauge" | "sum", points: TestMetric["points"]) =>
    storeOfResource(engine.database, resource, [{ name, kind, points }]);

  beforeAll(async () => {
    const scenario = (kind: "gauge" | "counter", oddValues: boolean) =>
      createScenario({ kind, seed: 7, startMs: START, endMs: END, seriesCount: 24, oddValues });
    const toPoints = (series: ReturnType<typeof scenario>): TestMetric["points"] =>
      series.flatMap(({ labels, samples }) => samples.map(([ms, value]) => point(labels, ms, value)));
    const counters = scenario("counter", false);
    const gauges = scenario("gauge", true);
    const ends = (series: ReturnType<typeof scenario>): TestMetric["points"] =>
      series
        .filter((_one, i) => i % 4 === 1)
        .map(({ labels, samples }) => marker(labels, samples.at(-1)![0] + 15_000));
    await store("grid_total", "sum", [...toPoints(counters), ...ends(counters)]);
    await store("grid_gauge", "gauge", [...toPoints(gauges), ...ends(gauges)]);
    // Copies, a counter of whole numbers without resets, one with infinities, and one that changed its type.
    await store("grid_total", "sum", toPoints(counters.slice(0, 5)));
    const every = Array.from({ length: 900 }, (_unused, k) => START + k * 30_000);
    await store(
      "grid_total",
      "sum",
      every.map((ms, k) => point({ id: "whole" }, ms, k * 10)),
    );
    await store(
      "grid_gauge",
      "gauge",
      every.map((ms, k) => point({ id: "rising" }, ms, 1000 + k / 7)),
    );
    // A sum of both resets has no room for the digits of the second one.
    await store(
      "grid_total",
      "sum",
      every.map((ms, k) =>
        point({ id: "begins again" }, ms, k < 450 ? 1e15 : k < 453 ? 3.1 + k / 7 : (k - 453) / 7),
      ),
    );
    await store(
      "grid_total",
      "sum",
      every.map((ms, k) => point({ id: "odd" }, ms, k === 400 ? Infinity : k)),
    );
    await store(
      "grid_total",
      "gauge",
      every.slice(0, 300).map((ms, k) => point({ id: "changed" }, ms, k)),
    );
    await store(
      "grid_total",
      "sum",
      every.slice(300).map((ms, k) => point({ id: "changed" }, ms, k)),
    );
  });

  const engineOf = (source: SampleSource) =>
    createEngine({ source }, { limits: { samplesMax: 1e7, seriesMax: 1e5 } });

  /** What is different from what the engine computes from all samples; `nothing` when the answer is the same, and ClickHouse computed a part of it where it should. */
  async function compare(
    query: string,
    times: { startMs: number; endMs: number; stepMs: number },
    settings: Partial<PromqlSourceSettings>,
  ): Promise<unknown> {
    const source = createSource(settings).sourceFor(() => true);
    const signal = new AbortController().signal;
    const range = (of: SampleSource) => engineOf(of).range(parseExpr(query), times, {}, signal);
    const byClickHouse = await range(source);
    const byEngine = await range({
      select: ({ windows: _windows, ...request }, ...rest) => source.select(request, ...rest),
    });
    if (
      settings.computedSamplesMin !== undefined &&
      byClickHouse.stats.reads.some(({ bySource }) => bySource === undefined)
    )
      return "nothing is computed";
    const seriesOf = (result: QueryResult) => (result.type === "matrix" ? result.series : []);
    const shownOf = (result: QueryResult) => [
      result.infos,
      ...seriesOf(result).map(({ labels, times: at }) => [labels.key, ...at]),
    ];
    if (seriesOf(byEngine).length <= 15) return "few series";
    if (!isDeepStrictEqual(shownOf(byClickHouse), shownOf(byEngine)))
      return [shownOf(byClickHouse), shownOf(byEngine)];
    const different = seriesOf(byClickHouse).flatMap(({ labels, values }, i) =>
      [...values].flatMap((value, k) => {
        const other = seriesOf(byEngine)[i]!.values[k]!;
        const isSame = Object.is(value, other) || Math.abs(value - other) <= 1e-12 * Math.abs(other);
        return isSame ? [] : [[labels.key, k, value, other]];
      }),
    );
    return different.length === 0 ? "nothing" : different;
  }

  it.each(
    ["grid_total", "grid_gauge", "grid_gauge offset 7m"].flatMap(
      (query) =>
        [
          [query, 60_000, 0],
          [query, 300_000, 123],
          [query, 3_600_000, -7000],
        ] as const,
    ),
  )("%s at steps of %i ms is what the engine computes", async (query, stepMs, shiftMs) => {
    const times = { startMs: START - HOUR_MS + shiftMs, endMs: END + HOUR_MS + shiftMs, stepMs };
    for (const chunkSamples of [1_000_000, 3000])
      expect(await compare(query, times, { chunkSamples, computedSamplesMin: 0 })).toBe("nothing");
  });

  describe("from hours", () => {
    const HOURLY = [
      "rate(grid_total[1h])",
      "increase(grid_total[3h])",
      "rate(grid_total[2h] offset 1h)",
      "count_over_time(grid_total[1h])",
      "last_over_time(grid_total[2h])",
      "count_over_time(grid_gauge[2h])",
      "sum_over_time(grid_gauge[1h])",
      "avg_over_time(grid_gauge[3h])",
      "min_over_time(grid_gauge[2h])",
      "max_over_time(grid_gauge[1h])",
      "last_over_time(grid_gauge[1h])",
    ];
    const hours = { startMs: START - HOUR_MS, endMs: END + 3 * HOUR_MS };
    const compareAll = async (query: string): Promise<unknown[]> => {
      const by = (stepMs: number, chunkSamples: number) =>
        compare(query, { ...hours, stepMs }, { chunkSamples, hoursSamplesMin: 0, computedSamplesMin: 0 });
      return [await by(HOUR_MS, 1_000_000), await by(2 * HOUR_MS, 300)];
    };
    const NOTHING_TWICE = ["nothing", "nothing"];
    const readsOf = async (query: string, settings: Partial<PromqlSourceSettings>) => {
      const source = createSource(settings).sourceFor(() => true);
      const { signal } = new AbortController();
      const times = { ...hours, stepMs: HOUR_MS };
      return (await engineOf(source).range(parseExpr(query), times, {}, signal)).stats.reads;
    };

    it.each(HOURLY)("%s that are not rolled up yet", async (query) => {
      expect(await compareAll(query)).toEqual(NOTHING_TWICE);
    });

    describe("that are rolled up", () => {
      beforeAll(async () => {
        const impatient: Clock = { ...systemClock, sleep: (_ms, signal) => systemClock.sleep(1, signal) };
        await refreshRollups(engine.database, {
          databaseName: "metrics",
          settleMs: -1000,
          clock: impatient,
          logger: createSilentLogger(),
          signal: new AbortController().signal,
        });
      });

      it.each(HOURLY)("%s", async (query) => {
        expect(await compareAll(query)).toEqual(NOTHING_TWICE);
      });

      it("at one time", async () => {
        const source = createSource({ hoursSamplesMin: 0 }).sourceFor(() => true);
        const expr = parseExpr("sum by (cluster) (count_over_time(grid_total[8h]))");
        const { signal } = new AbortController();
        const ask = (of: SampleSource) => engineOf(of).instant(expr, END, {}, signal);
        const { stats, ...result } = await ask(source);
        expect(stats.reads).toMatchObject([{ bySource: "count_over_time" }]);
        const { stats: _stats, ...expected } = await ask({
          select: (...request) => source.select(...request),
        });
        expect(result).toEqual(expected);
      });

      it("of the series that has several resets in an hour its samples", async () => {
        const [read] = await readsOf('increase(grid_total{id=~"begins.again|whole"}[1h])', {
          hoursSamplesMin: 0,
        });
        expect(read).toMatchObject({ bySource: "increase", series: 2, samples: 900 });
      });

      it("and of which a sample came later", async () => {
        await store("grid_total", "sum", [point({ id: "whole" }, START + 15_000, 5)]);
        expect(await compareAll("count_over_time(grid_total[1h])")).toEqual(NOTHING_TWICE);
        expect(await compareAll("rate(grid_total[1h])")).toEqual(NOTHING_TWICE);
        // Of few samples it takes less time to read them all.
        const [read] = await readsOf("rate(grid_total[1h])", { hoursSamplesMin: 0 });
        expect(read!.bySource).toBeUndefined();
      });
    });
  });

  it.each([
    "grid_gauge",
    "timestamp(grid_gauge offset 3m)",
    "rate(grid_total[5m])",
    "changes(grid_total[7m])",
    "max_over_time(grid_gauge[10m:1m])",
    "absent_over_time(grid_gauge[2m]) or grid_total",
  ])("%s is the same from the samples that it needs", async (query) => {
    for (const [stepMs, shiftMs] of [
      [HOUR_MS, 0],
      [900_000, -7123],
    ] as const) {
      const times = { startMs: START - HOUR_MS + shiftMs, endMs: END + HOUR_MS + shiftMs, stepMs };
      expect(await compare(query, times, {})).toBe("nothing");
    }
  });

  it("reads a twelfth of the samples for five minutes of each hour", async () => {
    const { signal } = new AbortController();
    const samplesOf = async (query: string, stepMs: number) => {
      const times = { startMs: START, endMs: END, stepMs };
      const source = createSource().sourceFor(() => true);
      const { stats } = await engineOf(source).range(parseExpr(query), times, {}, signal);
      return stats.reads[0]!.samples;
    };
    const all = await samplesOf('increase(grid_gauge{id="rising"}[5m])', 60_000);
    expect(all).toBe(900);
    expect(await samplesOf('increase(grid_gauge{id="rising"}[5m])', HOUR_MS)).toBe(1 + 7 * 10);
    // What is not whole, or ranges that overlap.
    expect(await samplesOf('increase(grid_gauge{id="rising"}[5m])', 300_000)).toBe(900);
  });

  it("reads the samples of few series, which takes less time", async () => {
    const times = { startMs: START, endMs: END, stepMs: 300_000 };
    const { signal } = new AbortController();
    const source = createSource().sourceFor(() => true);
    const result = await engineOf(source).range(parseExpr("grid_total"), times, {}, signal);
    expect(result.stats.reads).toMatchObject([{ bySource: undefined, samples: expect.any(Number) }]);
    expect(result.stats.reads[0]!.samples).toBeGreaterThan(1000);
  });

  describe("reads several selectors at once", () => {
    const query =
      'count(grid_total{id="whole"}) + count(grid_gauge{id="rising"}) + count(grid_total{id="whole"} offset 1h)';
    const times = { startMs: START + 2 * HOUR_MS, endMs: START + 3 * HOUR_MS, stepMs: 30_000 };
    const ask = async (queryNative: typeof engine.database.queryNative, settings = {}) => {
      const source = createSource(settings, { ...engine.database, queryNative }).sourceFor(() => true);
      const result = await engineOf(source).range(parseExpr(query), times, {}, new AbortController().signal);
      return result.type === "matrix" ? result.series.map(({ values }) => [...new Set(values)]) : [];
    };

    it("where they have few samples", async () => {
      let begun = 0;
      let allBegan = (): void => {};
      const all = new Promise<void>((resolve) => (allBegan = resolve));
      const waiting: typeof engine.database.queryNative = async (...statement) => {
        if (++begun === 3) allBegan();
        await all;
        return await engine.database.queryNative(...statement);
      };
      expect(await ask(waiting)).toEqual([[3]]);
      expect(begun).toBe(3);
      // One series has more than a chunk may have.
      expect(await ask(waiting, { chunkSamples: 10 })).toEqual([[3]]);
    });

    it("and asks again for what failed", async () => {
      let failures = 0;
      const failing: typeof engine.database.queryNative = async (...statement) => {
        if (failures++ < 2) throw new Error("not now");
        return await engine.database.queryNative(...statement);
      };
      expect(await ask(failing)).toEqual([[3]]);
      expect(failures).toBe(5);
    });
  });

  it("leaves small steps and fractions of seconds to the engine", () => {
    const source = createSource().sourceFor(() => true);
    const ask = (change: Partial<GridRequest>, grid = {}) =>
      source.grids!(
        {
          matchers: [is(NAME, "x")],
          func: "instant",
          rangeMs: 60_000,
          ...change,
          grid: { startMs: START, stepMs: 60_000, count: 9, ...grid },
        },
        NOTHING,
        new AbortController().signal,
      );
    expect(ask({})).toBeDefined();
    for (const refused of [
      ask({ func: "deriv" }),
      ask({ func: "rate" }),
      ask({ rangeMs: 60_500 }),
      ask({}, { stepMs: 15_000 }),
      ask({}, { stepMs: 60_500 }),
      ask({}, { count: 1 }),
      ask({}, { startMs: 10_000 }),
    ])
      expect(refused).toBeUndefined();
  });
});
