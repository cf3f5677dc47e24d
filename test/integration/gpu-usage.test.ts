import { beforeAll, describe, expect, test } from "vitest";
import { createClusterState, type ClusterState } from "#query/state/cluster-state.ts";
import type { GpuUsageAnswer } from "#query/gpu-usage/gpu-usage.ts";
import { createWorld, type ClusterWorld } from "#simulator/world.ts";
import { useEngine } from "../helpers/engine.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import type { TestMetric } from "../helpers/otlp-request.ts";
import { QUERY_DEFAULTS } from "../helpers/query-defaults.ts";
import { AS_OF_MS, createStateCases, gauge, MINUTE_MS, NOW_MS } from "../helpers/state-cases.ts";
import { point, storeRecord, storeWorld } from "../helpers/stored-world.ts";

// The use of GPUs: against a sum over the simulator's samples, and in situations of which each number is known.

const HOUR_MS = 60 * MINUTE_MS;
const LOOKBACK_MS = 5 * MINUTE_MS;
/** More than a day: the answer is made of several statements. */
const LENGTH_MS = 26 * HOUR_MS;
const FROM_MS = AS_OF_MS - LENGTH_MS;

const engine = useEngine({ migrated: true });
const { cluster, state } = createStateCases(engine);
let world: ClusterWorld;
let usage: ClusterState["gpuUsage"];

beforeAll(async () => {
  const clock = createManualClock(NOW_MS);
  const shape = {
    nodes: 2,
    pods: 7,
    cpus: 1,
    gpus: 4,
    scrapeIntervalMs: 60_000,
    churnEveryMs: 2 * HOUR_MS,
    oldestMs: FROM_MS - 2 * HOUR_MS,
  };
  world = createWorld({ clock }, { shape }).cluster("sim-1");
  const metrics = world.metrics
    .map(({ name }) => name)
    .filter((name) =>
      /^DCGM_.*(SM_ACTIVE|FB_USED|FB_FREE|POWER_USAGE|ENERGY_CONSUMPTION|XID_ERRORS)$/.test(name),
    );
  await storeWorld(engine.database, world, { fromMs: FROM_MS - HOUR_MS, toMs: AS_OF_MS, metrics });
  await storeRecord(engine.database, "sim-1", {
    atMs: NOW_MS - MINUTE_MS,
    watermarkMs: AS_OF_MS,
    queries: metrics,
  });
  usage = createClusterState({ database: engine.database, clock }, QUERY_DEFAULTS).gpuUsage;
}, 300_000);

interface Scrape {
  atMs: number;
  pod: string;
  namespace: string;
  node: string;
  active: number;
  memory: number;
  energy: number;
  xid: number;
}

/** All scrapes of each GPU, in order. */
function scrapes(): Scrape[][] {
  const read = (
    metric: string,
  ): Map<string, Map<number, { value: number; labels: Record<string, string> }>> => {
    const found = new Map<string, Map<number, { value: number; labels: Record<string, string> }>>();
    for (const series of world.expected({ fromMs: FROM_MS - HOUR_MS, toMs: AS_OF_MS, metric })) {
      const labels = Object.fromEntries(series.labels);
      const of = found.get(labels["UUID"]!) ?? new Map();
      found.set(labels["UUID"]!, of);
      for (const [i, atMs] of series.timestamps.entries()) of.set(atMs, { value: series.values[i]!, labels });
    }
    return found;
  };
  const [active, memory, energy, xid] = [
    "PROF_SM_ACTIVE",
    "DEV_FB_USED",
    "DEV_TOTAL_ENERGY_CONSUMPTION",
    "DEV_XID_ERRORS",
  ].map((name) => read(`DCGM_FI_${name}`));
  return [...active!].map(([uuid, own]) =>
    [...own]
      .sort(([a], [b]) => a - b)
      .map(([atMs, { value, labels }]) => ({
        atMs,
        pod: labels["pod"] ?? "",
        namespace: labels["namespace"] ?? "",
        node: labels["Hostname"]!,
        active: 100 * value,
        memory: memory!.get(uuid)!.get(atMs)!.value,
        energy: energy!.get(uuid)!.get(atMs)!.value / 1000,
        xid: xid!.get(uuid)!.get(atMs)!.value,
      })),
  );
}

interface Sums {
  hours: number;
  held: number;
  active: number;
  idle: number;
  kwh: number;
  xids: number;
}

/** The definition, sample by sample: each scrape stands for the time to the next one, at most the lookback. */
function bruteForce(by: (scrape: Scrape) => string): Map<string, Sums> {
  const sums = new Map<string, Sums>();
  for (const own of scrapes()) {
    const spans = own.map((scrape, i) => {
      const nextMs = own[i + 1]?.atMs ?? scrape.atMs + LOOKBACK_MS;
      const untilMs = Math.min(nextMs, scrape.atMs + LOOKBACK_MS);
      return {
        ...scrape,
        nextMs,
        untilMs,
        isIdle: scrape.pod !== "" && scrape.active < 1 && scrape.memory > 1400,
      };
    });
    for (const [i, span] of spans.entries()) {
      const hours = Math.max(0, Math.min(span.untilMs, AS_OF_MS) - Math.max(span.atMs, FROM_MS)) / HOUR_MS;
      let [first, last] = [i, i];
      const joins = (a: number, b: number): boolean =>
        spans[a]!.isIdle &&
        spans[b]!.isIdle &&
        spans[a]!.pod === spans[b]!.pod &&
        spans[a]!.nextMs - spans[a]!.atMs <= LOOKBACK_MS;
      while (first > 0 && joins(first - 1, first)) first--;
      while (last < spans.length - 1 && joins(last, last + 1)) last++;
      const isLong = span.isIdle && spans[last]!.untilMs - spans[first]!.atMs >= 15 * MINUTE_MS;
      const next = own[i + 1];
      const joules =
        next === undefined ? 0 : next.energy >= span.energy ? next.energy - span.energy : next.energy;
      const part = next === undefined ? 0 : (hours * HOUR_MS) / (next.atMs - span.atMs);
      const isError =
        i > 0 &&
        span.xid !== 0 &&
        span.xid !== own[i - 1]!.xid &&
        span.atMs > FROM_MS &&
        span.atMs <= AS_OF_MS;
      const key = by(span);
      const sum = sums.get(key) ?? { hours: 0, held: 0, active: 0, idle: 0, kwh: 0, xids: 0 };
      sums.set(key, {
        hours: sum.hours + hours,
        held: sum.held + (span.pod === "" ? 0 : hours),
        active: sum.active + (span.active >= 1 ? hours : 0),
        idle: sum.idle + (isLong ? hours : 0),
        kwh: sum.kwh + (joules * part) / 3_600_000,
        xids: sum.xids + Number(isError),
      });
    }
  }
  return sums;
}

const toSums = (of: GpuUsageAnswer["total"]): Sums => ({
  hours: of.gpu_hours,
  held: of.held_gpu_hours,
  active: of.active_gpu_hours ?? 0,
  idle: of.idle_held_gpu_hours ?? 0,
  kwh: of.energy_kwh ?? 0,
  xids: of.xids.reduce((sum, { count }) => sum + count, 0),
});
const close = (sums: Sums) =>
  Object.fromEntries(Object.entries(sums).map(([name, value]) => [name, expect.closeTo(value, 6) as number]));

describe("a simulated cluster over more than a day", () => {
  test.each([
    ["namespace", (of: { namespace: string | null }) => of.namespace ?? ""],
    [
      "pod",
      (of: { namespace: string | null; pod: string | null }) => `${of.namespace ?? ""}/${of.pod ?? ""}`,
    ],
    ["node", (of: { node: string | null }) => of.node ?? ""],
  ] as const)("by %s: as the sum over its samples", async (by, keyOf) => {
    const answer = await usage({ clusterId: "sim-1", fromMs: FROM_MS, toMs: AS_OF_MS, by });
    const expected = bruteForce(keyOf);
    expect(Object.fromEntries(answer.usage.map((of) => [keyOf(of as never), toSums(of)]))).toEqual(
      Object.fromEntries(
        [...expected].filter(([, { hours }]) => hours > 0).map(([key, sums]) => [key, close(sums)]),
      ),
    );
    const all = bruteForce(() => "all").get("all")!;
    expect(toSums(answer.total)).toEqual(close(all));
    expect(answer.total).toMatchObject({ gpus: 8, energy_source: "counter" });
    // The simulator has all of this: a GPU that is held and idle, XIDs, and GPUs without a Pod.
    expect([all.idle > 20, all.xids > 0, all.held < all.hours]).toEqual([true, true, true]);
  });
});

describe("situations", () => {
  const dcgm = (n: number, more: Record<string, string> = {}) => ({
    job: "dcgm",
    instance: "10.244.1.7:9400",
    gpu: String(n),
    UUID: `GPU-${n}`,
    Hostname: "a",
    ...more,
  });
  const pod = (name: string) => ({ namespace: "ml", pod: name, container: "c" });
  /** A sample a minute, the first one `minutes` ago. */
  const over = (minutes: number, labels: Record<string, string>, value: (ago: number) => number) =>
    Array.from({ length: minutes }, (_, i) => point(labels, AS_OF_MS - (i + 1) * MINUTE_MS, value(i + 1)));
  const ask = async (metrics: readonly TestMetric[], by: "namespace" | "pod" | "node" = "pod") =>
    await state().gpuUsage({
      clusterId: await cluster(metrics),
      fromMs: AS_OF_MS - HOUR_MS,
      toMs: AS_OF_MS,
      by,
    });

  test("two Pods share a GPU: each has half of its time, and of its energy by power", async () => {
    const series = (name: string, value: number) =>
      gauge(
        name,
        ["one", "two"].flatMap((each) => over(60, dcgm(0, pod(each)), () => value)),
      );
    const { total, usage: list } = await ask([
      series("DCGM_FI_DEV_GPU_UTIL", 50),
      series("DCGM_FI_DEV_POWER_USAGE", 400),
    ]);
    // 400 W for an hour.
    expect(total).toMatchObject({
      gpus: 1,
      gpu_hours: 1,
      held_gpu_hours: 1,
      active_gpu_hours: 1,
      energy_kwh: 0.4,
      energy_source: "power",
    });
    expect(list.map((of) => [of.pod, of.gpu_hours, of.energy_kwh])).toEqual([
      ["one", 0.5, 0.2],
      ["two", 0.5, 0.2],
    ]);
  });

  test("MIG: each of two parts is half of the GPU, whose power each repeats", async () => {
    const part = (id: string, more: Record<string, string> = {}) =>
      dcgm(0, { GPU_I_ID: id, GPU_I_PROFILE: "3g.20gb", ...more });
    const both = (name: string, value: number) =>
      gauge(name, [
        ...over(60, part("1", pod("one")), () => value),
        ...over(60, part("2"), () => value),
        ...over(60, dcgm(0), () => value),
      ]);
    const { total, usage: list } = await ask([
      both("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.9),
      both("DCGM_FI_DEV_POWER_USAGE", 400),
    ]);
    expect(total).toMatchObject({ gpus: 1, gpu_hours: 1, held_gpu_hours: 0.5, energy_kwh: 0.4 });
    expect(list.map((of) => [of.pod, of.gpu_hours])).toEqual([
      ["one", 0.5],
      [null, 0.5],
    ]);
  });

  test("two exporters of one GPU: the hours of one GPU", async () => {
    const copy = (instance: string, shiftMs: number) =>
      Array.from({ length: 60 }, (_, i) =>
        point(dcgm(0, { ...pod("one"), instance }), AS_OF_MS - (i + 1) * MINUTE_MS + shiftMs, 50),
      );
    const { total } = await ask([
      gauge("DCGM_FI_DEV_GPU_UTIL", [...copy("10.244.1.7:9400", 0), ...copy("10.244.1.9:9400", 20_000)]),
    ]);
    expect(total).toMatchObject({ gpus: 1, gpu_hours: 1, held_gpu_hours: 1 });
  });

  test("an exporter that was replaced goes on under another address", async () => {
    const life = (instance: string, is: (ago: number) => boolean) =>
      over(60, dcgm(0, { ...pod("one"), instance }), () => 50).filter((_, i) => is(i + 1));
    const { total } = await ask([
      gauge("DCGM_FI_DEV_GPU_UTIL", [
        ...life("10.244.1.7:9400", (ago) => ago > 22),
        ...life("10.244.1.9:9400", (ago) => ago <= 20),
      ]),
    ]);
    expect(total.held_gpu_hours).toBeCloseTo(1, 6);
  });

  test.each([
    // A gap of ten minutes: its first five belong to the sample before it.
    ["a gap in the samples", (ago: number) => ago > 30 || ago <= 20, 54 / 60],
    ["the first half only", (ago: number) => ago > 30, 34 / 60],
  ])("%s", async (_what, has, hours) => {
    const { total } = await ask([
      gauge(
        "DCGM_FI_DEV_GPU_UTIL",
        over(60, dcgm(0), () => 50).filter((_, i) => has(i + 1)),
      ),
    ]);
    expect(total.gpu_hours).toBeCloseTo(hours, 9);
  });

  test.each([
    ["idle for 20 minutes", (ago: number) => (ago <= 20 ? 0 : 50), 60_000, 20 / 60],
    ["idle for 14 minutes", (ago: number) => (ago > 20 && ago <= 34 ? 0 : 50), 60_000, 0],
    ["idle for 15 minutes", (ago: number) => (ago > 20 && ago <= 35 ? 0 : 50), 60_000, 15 / 60],
    ["two short breaks", (ago: number) => (ago % 20 < 10 ? 0 : 50), 60_000, 0],
    ["without memory on it", () => 0, 0, 0],
  ])("idle-held: %s", async (_what, util, used, hours) => {
    const held = dcgm(0, pod("one"));
    const { total } = await ask([
      gauge("DCGM_FI_DEV_GPU_UTIL", over(60, held, util)),
      gauge(
        "DCGM_FI_DEV_FB_USED",
        over(60, held, () => used),
      ),
      gauge(
        "DCGM_FI_DEV_FB_FREE",
        over(60, held, () => 80_000 - used),
      ),
    ]);
    expect(total.idle_held_gpu_hours).toBeCloseTo(hours, 9);
  });

  test("energy by the counter, over a reset; errors with NVIDIA's action; heat and throttling", async () => {
    const held = dcgm(0, pod("one"));
    const { total } = await ask([
      gauge(
        "DCGM_FI_DEV_GPU_UTIL",
        over(60, held, () => 50),
      ),
      {
        name: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        kind: "sum",
        // 6 kJ a minute, in mJ; 30 minutes ago it began at 0 again.
        points: over(60, held, (ago) => (ago > 30 ? 9e9 + (60 - ago) * 6e6 : (30 - ago) * 6e6)),
      },
      gauge(
        "DCGM_FI_DEV_XID_ERRORS",
        over(60, held, (ago) => (ago > 40 ? 0 : ago > 20 ? 31 : 79)),
      ),
      gauge(
        "DCGM_FI_DEV_GPU_TEMP",
        over(60, held, (ago) => (ago <= 12 ? 95 : 60)),
      ),
      gauge(
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS",
        over(60, held, (ago) => (ago <= 6 ? 0x44 : 0x4)),
      ),
    ]);
    // 58 steps of 6 kJ: the one over the reset begins at 0, and nothing is known after the last sample.
    expect(total.energy_kwh).toBeCloseTo((58 * 6000) / 3_600_000, 9);
    expect(total).toMatchObject({
      energy_source: "counter",
      hot_gpu_hours: 12 / 60,
      throttled_gpu_hours: 6 / 60,
      xids: [
        { code: 31, action: "RESTART_APP", count: 1 },
        { code: 79, action: "RESTART_BM", description: "GPU has fallen off the bus", count: 1 },
      ],
    });
  });

  test("DCGM's blank numbers are no energy and no heat", async () => {
    const blank = Number(9_223_372_036_854_775_794n);
    const { total } = await ask(
      ["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP"]
        .map((name) =>
          gauge(
            name,
            over(60, dcgm(0), () => blank),
          ),
        )
        .concat(
          gauge(
            "DCGM_FI_DEV_GPU_UTIL",
            over(60, dcgm(0), () => 50),
          ),
        ),
    );
    expect(total).toMatchObject({ gpu_hours: 1, energy_kwh: null, energy_source: null, hot_gpu_hours: 0 });
  });

  test("a cluster without GPUs", async () => {
    const { total, usage: list } = await ask([
      gauge(
        "node_load1",
        over(5, { instance: "a:9100" }, () => 1),
      ),
    ]);
    expect([total.gpus, total.gpu_hours, total.active_gpu_hours, total.energy_kwh, list]).toEqual([
      0,
      0,
      null,
      null,
      [],
    ]);
  });

  test("a range of more than 31 days is refused", async () => {
    const id = await cluster([
      gauge(
        "DCGM_FI_DEV_GPU_UTIL",
        over(5, dcgm(0), () => 1),
      ),
    ]);
    const fromMs = AS_OF_MS - 32 * 24 * HOUR_MS;
    await expect(state().gpuUsage({ clusterId: id, fromMs, toMs: AS_OF_MS })).rejects.toMatchObject({
      code: "query_too_large",
    });
  });
});

describe("several clusters", () => {
  test("lists them, and adds up the GPUs of those that the caller sees", async () => {
    const [one, two] = [
      await cluster([
        gauge("DCGM_FI_DEV_GPU_UTIL", [
          point({ UUID: "GPU-1", gpu: "0", Hostname: "a" }, AS_OF_MS - MINUTE_MS, 5),
        ]),
      ]),
      await cluster([gauge("node_load1", [point({ instance: "a:9100" }, AS_OF_MS - MINUTE_MS, 5)])]),
    ];
    const sees = (id: string): boolean => [one, two].includes(id);
    expect(await state().listClusters({ sees })).toMatchObject([
      { cluster_id: one, as_of: new Date(AS_OF_MS).toISOString(), up: true },
      { cluster_id: two, up: true },
    ]);
    const { clusters, usage: list } = await state().fleetGpuUsage({ by: "node" }, sees);
    expect(clusters.map(({ cluster_id, total }) => [cluster_id, total.gpus])).toEqual([[one, 1]]);
    expect(list).toMatchObject([{ cluster_id: one, node: "a", gpu_hours: 1 / 60 }]);
    expect((await state().fleetGpuUsage({ by: "node" }, () => false)).clusters).toEqual([]);
  });
});
