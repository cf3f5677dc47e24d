import { assert, asyncProperty, boolean, constantFrom, integer, record } from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { AGGREGATIONS, type AggregationName } from "#query/series/aggregations.ts";
import type { LabelFilter } from "#query/series/matchers.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { createEngine } from "#simulator/evaluate.ts";
import type { ClusterShape } from "#simulator/layout.ts";
import { parsePromql } from "#simulator/promql.ts";
import { createWorld, type ClusterWorld } from "#simulator/world.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { differences, toPoints } from "../helpers/points.ts";
import { keyOfLabels, type Points } from "../helpers/promql-reference.ts";
import { storeWorld } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

// The scraped samples of a simulated cluster are stored with their stale markers, and every answer is compared with what the simulator's Prometheus answers to the PromQL that
// the API says the answer equals. That Prometheus evaluates from the world's functions of time, not from anything stored.

const database = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
// Old rows are deleted by their TTL, by the engine's own clock.
const START_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 30 * HOUR_MS;
const END_MS = START_MS + 2 * HOUR_MS;
/** When the clusters' last scrape was, and when is asked. */
const scraped = createManualClock(END_MS);
const asking = createManualClock(END_MS + HOUR_MS);

interface Asked {
  metric: string;
  aggregation: AggregationName;
  groupBy: string[];
  filters?: LabelFilter[];
  startMs: number;
  endMs: number;
  stepMs: number;
}

function simulate(settings: { seed: number; shape: Partial<ClusterShape> }): ClusterWorld {
  return createWorld({ clock: scraped }, { seed: settings.seed, clusters: [settings.shape] }).clusters[0]!;
}

async function store(world: ClusterWorld, metrics: readonly string[], toMs = END_MS): Promise<void> {
  const window = { fromMs: START_MS - HOUR_MS, toMs, nowMs: END_MS };
  await storeWorld(database.database, world, { ...window, metrics, markers: true });
}

/** Differences between the API's answer and the simulated Prometheus' answer, and the number of points of the latter. */
async function compare(
  world: ClusterWorld,
  asked: Asked,
): Promise<{ promql: string; differences: string[]; points: number }> {
  const query = createSeriesQuery({ database: database.database, clock: asking }, QUERY_DEFAULTS);
  const answer = await query({ clusterId: world.shape.id, ...asked });
  const engine = createEngine(world, { version: 3, replica: 0, samplesMax: Number.POSITIVE_INFINITY });
  const expected: Points = new Map(
    engine
      .range(
        parsePromql(answer.promql),
        Date.parse(answer.first_point),
        Date.parse(answer.last_point),
        answer.step_seconds * 1000,
      )
      .map(({ labels, timestamps, values }) => [
        keyOfLabels(Object.fromEntries(labels)),
        new Map(timestamps.map((ms, i) => [ms, values[i]!])),
      ]),
  );
  expect(answer.series_total).toBe(expected.size);
  const points = [...expected.values()].reduce((total, each) => total + each.size, 0);
  return { promql: answer.promql, differences: differences(expected, toPoints(answer)), points };
}

const possible = (metric: string): AggregationName[] =>
  AGGREGATIONS.filter((name) => metric.endsWith("_total") || !["rate", "increase"].includes(name));

describe("two hours of a cluster", () => {
  /** Labels that group its series: some have series that come and go, NaN values, late samples, restarts. */
  const METRICS: Record<string, string[]> = {
    DCGM_FI_DEV_GPU_UTIL: ["Hostname", "namespace"],
    container_memory_working_set_bytes: ["namespace"],
    node_load15: ["job"],
    container_cpu_usage_seconds_total: ["namespace", "node"],
    node_cpu_seconds_total: ["mode"],
  };
  const RANGES = [
    { name: "5 min", from: 0, to: 2 * HOUR_MS, step: 5 * MINUTE_MS, each: false },
    { name: "all of it at 1 min", from: 0, to: 2 * HOUR_MS, step: MINUTE_MS, each: false },
    {
      name: "37 s, from inside the series",
      from: 0.71 * HOUR_MS + 123,
      to: HOUR_MS,
      step: 37_000,
      each: true,
    },
    {
      name: "10 min, from before the first",
      from: -HOUR_MS,
      to: 3 * HOUR_MS,
      step: 10 * MINUTE_MS,
      each: false,
    },
  ];
  const shape = {
    id: "two-hours",
    pods: 8,
    cpus: 1,
    gpus: 3,
    resetEveryMs: 7 * MINUTE_MS,
    oldestMs: START_MS,
  };
  let world: ClusterWorld;

  beforeAll(async () => {
    world = simulate({ seed: 3, shape });
    await store(world, Object.keys(METRICS));
  });

  describe.each(Object.keys(METRICS))("%s", (metric) => {
    test.each(possible(metric))("%s", async (aggregation) => {
      for (const { from, to, step, each } of RANGES) {
        const range = { startMs: START_MS + from, endMs: START_MS + to, stepMs: step };
        const groupBy = each ? ["*"] : METRICS[metric]!;
        const result = await compare(world, { metric, aggregation, groupBy, ...range });
        expect(result).toEqual({ ...result, differences: [] });
        expect(result.points).toBeGreaterThan(0);
      }
    });
  });

  test("the data have what makes it hard", () => {
    const all = (metric: string) => world.expected({ fromMs: START_MS, toMs: END_MS, metric });
    const cpu = all("container_cpu_usage_seconds_total");
    const resets = cpu.flatMap(({ values }) => values.filter((value, i) => value < (values[i - 1] ?? 0)));
    const partial = cpu.filter(({ timestamps }) => timestamps.length < 0.9 * (120 * 4));
    const oddValues = all("node_load15").flatMap(({ values }) =>
      values.filter((value) => !Number.isFinite(value)),
    );
    expect(resets.length).toBeGreaterThan(10);
    expect(partial.length).toBeGreaterThan(5);
    expect(oddValues.length).toBeGreaterThan(100);
  });
});

test("any cluster's series, in any window", { timeout: 60_000 }, async () => {
  const metrics = ["DCGM_FI_DEV_POWER_USAGE", "container_cpu_usage_seconds_total", "node_load15"];
  let count = 0;
  await assert(
    asyncProperty(
      record({
        seed: integer({ min: 1 }),
        scrapeIntervalMs: integer({ min: 5, max: 90 }).map((seconds) => seconds * 1000),
        jitterMs: integer({ min: 0, max: 3000 }),
        lateMs: integer({ min: 0, max: 60_000 }),
        resetEveryMs: integer({ min: 61_000, max: 1_200_000 }),
        churnEveryMs: integer({ min: 90_000, max: 1_200_000 }),
        oldestMs: integer({ min: START_MS - 600_000, max: START_MS + 1_200_000 }),
        oddities: boolean(),
      }),
      constantFrom(...metrics.flatMap((metric) => possible(metric).map((name) => [metric, name] as const))),
      record({
        from: integer({ min: -600_000, max: 1_500_000 }),
        range: integer({ min: 60, max: 900 }),
        step: integer({ min: 1, max: 400 }),
        grouping: integer({ min: 0, max: 3 }),
        filter: integer({ min: 0, max: 7 }),
      }),
      async ({ seed, ...drawn }, [metric, aggregation], grid) => {
        const shape = { ...drawn, id: `any-${++count}`, nodes: 2, pods: 4, cpus: 1, gpus: 2 };
        const world = simulate({ seed, shape });
        const toMs = START_MS + HOUR_MS;
        const series = world.expected({ fromMs: START_MS - HOUR_MS, toMs, metric });
        await store(world, [metric], toMs);
        const stepMs = Math.min(grid.step, grid.range) * 1000;
        const startMs = Math.floor((START_MS + grid.from) / stepMs) * stepMs;
        const { labels } = series[grid.filter % series.length]!;
        const [label, value] = labels[grid.filter % labels.length]!;
        const filter = { label, op: grid.filter % 2 === 0 ? "=" : "!=", value } as const;
        const result = await compare(world, {
          metric,
          aggregation,
          groupBy: [["*"], [], [label], ["job"]][grid.grouping]!.filter((name) => name !== "__name__"),
          filters: label === "__name__" ? [] : [filter],
          startMs,
          endMs: startMs + grid.range * 1000,
          stepMs,
        });
        expect(result).toEqual({ ...result, differences: [] });
      },
    ),
    { numRuns: 30 },
  );
});
