import { beforeAll, expect, test } from "vitest";
import { systemClock } from "#lib/clock.ts";
import { createClusterState } from "#query/state/cluster-state.ts";
import { AGGREGATIONS } from "#query/series/aggregations.ts";
import { createSeriesQuery } from "#query/series/series.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { marker, point, storeMetrics, storeRecord } from "../helpers/stored-world.ts";

// Functions over a range (rate, avg_over_time, ...; last_over_time of more than five minutes) pass over stale markers in PromQL: the same cluster with and without them.
// How shorter ones of `count` and `last` end series is in query-series-ends.test.ts.

const engine = useEngine({ migrated: true });
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const END_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOUR_MS;
/** In the middle of an hour, at a sample. */
const B_END_MS = END_MS - 4.5 * HOUR_MS;
const DAYS_MS = 9 * 24 * HOUR_MS;
const clock = createManualClock(END_MS + 10 * MINUTE_MS);

/** Series `a` pauses between two of its samples; `b` ends in the middle of an hour. Each says so by a marker. */
async function store(clusterId: string, withMarkers: boolean): Promise<void> {
  const times = (untilMs: number): number[] =>
    Array.from({ length: 400 }, (_, i) => untilMs - (399 - i) * 30 * MINUTE_MS);
  const ends = withMarkers
    ? [marker({ s: "a" }, END_MS - 75 * MINUTE_MS), marker({ s: "b" }, B_END_MS + MINUTE_MS)]
    : [];
  const samples = (value: (i: number) => number) => [
    ...times(END_MS).map((ms, i) => point({ s: "a" }, ms, value(i))),
    ...times(B_END_MS).map((ms, i) => point({ s: "b" }, ms, value(i) * 2)),
  ];
  await storeMetrics(engine.database, clusterId, [
    { name: "load", kind: "gauge", points: [...samples((i) => i % 17), ...ends] },
    // With resets.
    { name: "seen_total", kind: "sum", points: [...samples((i) => (i % 50) * 3), ...ends] },
    {
      name: "node_load1",
      kind: "gauge",
      points: [...samples((i) => i % 5), ...ends].map((each) => ({
        ...each,
        labels: { instance: each.labels!["s"]!, "k8s.node.name": each.labels!["s"]! },
      })),
    },
  ]);
  await storeRecord(engine.database, clusterId, { atMs: END_MS, queries: ["node_load1"] });
}

beforeAll(async () => {
  await store("with", true);
  await store("without", false);
  await refreshRollups(engine.database, {
    databaseName: "metrics",
    settleMs: -1000,
    clock: { ...systemClock, sleep: async () => {} },
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
}, 120_000);

test.each([
  { name: "samples", startMs: END_MS - 8 * HOUR_MS, stepMs: 90 * MINUTE_MS, storage: "raw" },
  { name: "roll-ups", startMs: END_MS - DAYS_MS, stepMs: HOUR_MS, storage: "hours" },
])("every aggregation of $name is the same with markers as without", async ({ startMs, stepMs, storage }) => {
  const series = createSeriesQuery({ database: engine.database, clock }, QUERY_DEFAULTS);
  const counters = new Set(["rate", "increase"]);
  for (const aggregation of AGGREGATIONS) {
    for (const metric of counters.has(aggregation) ? ["seen_total"] : ["load", "seen_total"]) {
      const ask = async (clusterId: string) =>
        await series({ clusterId, metric, aggregation, groupBy: ["*"], startMs, endMs: END_MS, stepMs });
      const expected = await ask("without");
      const { cluster_id: _, ...rest } = expected;
      expect([aggregation, metric, await ask("with")]).toMatchObject([aggregation, metric, rest]);
      // Quantiles are not asked of the roll-ups.
      const isOfSamples = aggregation.startsWith("p");
      expect([expected.storage, expected.series.length]).toEqual([isOfSamples ? "raw" : storage, 2]);
    }
  }
});

test("the summary over days leaves out the hour in which a node ended", async () => {
  const state = createClusterState({ database: engine.database, clock }, QUERY_DEFAULTS);
  const loadOf = async (clusterId: string) => {
    const answer = await state.summary({ clusterId, fromMs: END_MS - 61 * HOUR_MS, toMs: END_MS });
    expect(answer.storage).toBe("hours");
    return answer.avg_load_1;
  };
  const [plain, ended] = [await loadOf("without"), await loadOf("with")];
  // In the hour of the marker, one of 61, the nodes have loads of 1 and 8; the one of 8 ended.
  expect(ended! - plain!).toBeCloseTo((1 - (1 + 8) / 2) / 61, 9);
});
