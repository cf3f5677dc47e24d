import { beforeAll, expect, test } from "vitest";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import { createEngine, type Engine } from "#simulator/evaluate.ts";
import { parsePromql } from "#simulator/promql.ts";
import { createWorld, type ClusterWorld } from "#simulator/world.ts";
import { refreshRollups } from "#storage/rollups.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { storeRecord, storeWorld } from "../helpers/stored-world.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";

/** A summary of days, from the roll-ups, beside PromQL about the same simulated cluster, whose counters are reset and whose Pods come and go. */
const engine = useEngine({ migrated: true });
const HOUR_MS = 3_600_000;
const AS_OF_MS = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 20 * 60_000 + 123;
const FROM_MS = AS_OF_MS - 66 * HOUR_MS;
const GIB = 2 ** 30;

let world: ClusterWorld;
let promql: Engine;
let state: ClusterState;
const ask = () =>
  state.summary({
    clusterId: "sim-1",
    fromMs: FROM_MS,
    toMs: AS_OF_MS,
  });

beforeAll(async () => {
  const shape = { nodes: 2, pods: 4, cpus: 1, gpus: 1, scrapeIntervalMs: 5 * 60_000 };
  const resets = { resetEveryMs: 7 * HOUR_MS, churnEveryMs: 9 * HOUR_MS };
  world = createWorld(
    { clock: createManualClock(AS_OF_MS + HOUR_MS) },
    { shape: { ...shape, ...resets, oddities: false, oldestMs: FROM_MS - 9 * HOUR_MS } },
  ).cluster("sim-1");
  promql = createEngine(world, { version: 3, replica: 0, samplesMax: Number.POSITIVE_INFINITY });
  const metrics = world.metrics.map(({ name }) => name).filter((name) => /^(node|kube|DCGM)_/.test(name));
  const { database } = engine;
  await storeWorld(database, world, {
    fromMs: FROM_MS - 2 * HOUR_MS,
    toMs: AS_OF_MS,
    metrics,
    upgradedMs: AS_OF_MS - 30 * HOUR_MS,
  });
  // The last hours are rolled up too, and later samples make them dirty again.
  await refreshRollups(database, {
    databaseName: "metrics",
    settleMs: 0,
    clock: { ...createManualClock(), sleep: () => Promise.resolve() },
    logger: createSilentLogger(),
    signal: new AbortController().signal,
  });
  await storeWorld(database, world, { fromMs: AS_OF_MS - 3 * HOUR_MS, toMs: AS_OF_MS, metrics });
  await storeRecord(database, "sim-1", { atMs: AS_OF_MS + 60_000, watermarkMs: AS_OF_MS, queries: metrics });
  state = createClusterState({ database, clock: createManualClock(AS_OF_MS + 120_000) }, QUERY_DEFAULTS);
}, 120_000);

function values(expression: string, atMs: number): number[] {
  const result = promql.instant(parsePromql(expression), atMs);
  if (result.type !== "vector") throw new Error(`a ${result.type} instead of a vector`);
  return result.items.map(({ value }) => value);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, value) => total + value, 0);
const mean = (numbers: readonly number[]): number => sum(numbers) / numbers.length;
const steps = Array.from({ length: 66 }, (_, i) => (Math.floor(FROM_MS / HOUR_MS) + 1 + i) * HOUR_MS);

test("over days the averages and maxima are of whole hours, the rest as of now", async () => {
  const answer = await ask();
  expect(answer).toMatchObject({ storage: "hours", window: { step_seconds: 3600 }, node_count: 2 });
  expect(steps.at(-1)).toBeLessThan(AS_OF_MS);

  const idle = (at: number) => values('sum by (instance)(rate(node_cpu_seconds_total{mode="idle"}[1h]))', at);
  const all = (at: number) => values("sum by (instance)(rate(node_cpu_seconds_total[1h]))", at);
  const busy = steps.map((at) => 100 * (1 - sum(idle(at)) / sum(all(at))));
  expect(answer.avg_cpu_usage_percent).toBeCloseTo(mean(busy), 9);
  const busiest = steps.flatMap((at) => idle(at).map((seconds, i) => 100 * (1 - seconds / all(at)[i]!)));
  expect(answer.max_cpu_usage_percent).toBeCloseTo(Math.max(...busiest), 9);

  const loads = steps.map((at) => mean(values("last_over_time(node_load5[1h])", at)));
  expect(answer.avg_load_5).toBeCloseTo(mean(loads), 9);
  const memory = (field: string, at: number, lookback: string): number =>
    sum(values(`last_over_time(node_memory_${field}_bytes[${lookback}])`, at));
  const used = steps.map((at) => 100 * (1 - memory("MemAvailable", at, "1h") / memory("MemTotal", at, "1h")));
  expect(answer.avg_memory_usage_percent).toBeCloseTo(mean(used), 9);
  const usedNow = memory("MemTotal", AS_OF_MS, "5m") - memory("MemAvailable", AS_OF_MS, "5m");
  expect(answer.used_memory_gb).toBeCloseTo(usedNow / GIB, 9);
  expect(answer.pod_count).toBe(values("last_over_time(kube_pod_info[5m])", AS_OF_MS).length);
  expect(answer.gpu_count).toBe(2);
  expect(answer.total_cpu_cores).toBe(2);
});

test("GPUs: of each UUID the newest sample of the hour, whichever Pod held it", async () => {
  const { avg_gpu_utilization_percent, max_gpu_utilization_percent } = await ask();
  const newest = (at: number): number[] => {
    const found = new Map<string, { at: number; value: number }>();
    for (const series of world.expected({
      fromMs: at - HOUR_MS,
      toMs: at,
      metric: "DCGM_FI_PROF_SM_ACTIVE",
    })) {
      const uuid = series.labels.find(([name]) => name === "UUID")![1];
      const last = { at: series.timestamps.at(-1)!, value: 100 * series.values.at(-1)! };
      if (last.at > (found.get(uuid)?.at ?? 0)) found.set(uuid, last);
    }
    return [...found.values()].map(({ value }) => value);
  };
  expect(avg_gpu_utilization_percent).toBeCloseTo(mean(steps.map((at) => mean(newest(at)))), 9);
  expect(max_gpu_utilization_percent).toBeCloseTo(Math.max(...steps.flatMap(newest)), 9);
});
