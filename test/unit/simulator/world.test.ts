import { assert, constantFrom, integer, property } from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { DEFAULT_QUERIES } from "#prometheus/catalogue.ts";
import { parsePromql } from "#simulator/promql.ts";
import { selectSeries } from "#simulator/select.ts";
import { createWorld } from "#simulator/world.ts";
import type { ClusterWorld, ExpectedSeries } from "#simulator/world.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import type { ManualClock } from "../../helpers/manual-clock.ts";

const START_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;

let clock: ManualClock;
let world: ClusterWorld;

beforeEach(() => {
  clock = createManualClock(START_MS);
  world = createWorld({ clock }).cluster("sim-1");
});

function label(series: ExpectedSeries, name: string): string | undefined {
  return series.labels.find(([each]) => each === name)?.[1];
}

describe("content", () => {
  test("every query of the catalogue finds samples", () => {
    const window = { fromMs: START_MS - 5 * MINUTE_MS, toMs: START_MS };
    // The simulated GPUs are NVIDIA's, without HAMi.
    const simulated = DEFAULT_QUERIES.filter(({ group }) => !["gpu_amd", "gpu_hami"].includes(group));
    const empty = simulated.filter(({ promql }) => {
      const parsed = parsePromql(promql);
      if (parsed.kind !== "selector") return false;
      return selectSeries(world.metrics, parsed.matchers, window, 3).length === 0;
    });
    expect(empty.map(({ name }) => name)).toEqual([]);
  });

  test("a cluster without GPUs has no DCGM series, and more pods make more series", () => {
    const shape = { gpus: 0, pods: 500 };
    const cluster = createWorld({ clock }, { shape }).cluster("sim-1");
    const series = cluster.expected({ fromMs: START_MS - MINUTE_MS, toMs: START_MS });
    expect(series.filter((each) => label(each, "__name__")?.startsWith("DCGM"))).toEqual([]);
    expect(series.length).toBeGreaterThan(8_000);
  });

  test("labels are sorted by name, and DCGM's capitals come before __name__", () => {
    const all = world.expected({ fromMs: START_MS - MINUTE_MS, toMs: START_MS });
    for (const { labels } of all) {
      const names = labels.map(([name]) => name);
      expect(names).toEqual(names.toSorted((a, b) => (a < b ? -1 : 1)));
      expect(new Set(names).size).toBe(names.length);
    }
    const gpu = all.find((each) => label(each, "__name__") === "DCGM_FI_DEV_GPU_UTIL");
    expect(gpu?.labels[0]?.[0]).toBe("DCGM_FI_DRIVER_VERSION");
  });

  test("each series is there once", () => {
    const all = world.expected({ fromMs: START_MS - 30 * MINUTE_MS, toMs: START_MS });
    expect(new Set(all.map(({ labels }) => JSON.stringify(labels))).size).toBe(all.length);
  });

  test("node_exporter's instance is an address of a node, without a label for the node", () => {
    const [load] = world.expected({ metric: "node_load1", fromMs: START_MS - MINUTE_MS, toMs: START_MS });
    expect(load && label(load, "instance")).toBe(`${world.layout.nodes[0]?.address}:9100`);
    expect(load && label(load, "node")).toBeUndefined();
  });

  test("NaN, infinities and the smallest double are among the values, and can be left out", () => {
    const window = { fromMs: START_MS - MINUTE_MS, toMs: START_MS };
    const values = new Set(world.expected(window).flatMap((each) => each.values));
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 5e-324]) {
      expect(values.has(value)).toBe(true);
    }
    const plain = createWorld({ clock }, { shape: { oddities: false } }).cluster("sim-1");
    expect(
      plain
        .expected(window)
        .flatMap((each) => each.values)
        .every(Number.isFinite),
    ).toBe(true);
  });

  test("histogram buckets grow with le and end at the count", () => {
    const window = { fromMs: START_MS - MINUTE_MS, toMs: START_MS };
    const name = "prometheus_http_request_duration_seconds";
    const of = (metric: string): ExpectedSeries[] =>
      world.expected({ ...window, metric }).filter((each) => label(each, "handler") === "/metrics");
    const buckets = of(`${name}_bucket`).map(({ values }) => values[0] ?? Number.NaN);
    expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
    expect(buckets.at(-1)).toBe(of(`${name}_count`)[0]?.values[0]);
  });
});

describe("time", () => {
  test("the same seed gives the same samples in another process at another time, another seed does not", () => {
    const window = { fromMs: START_MS - MINUTE_MS, toMs: START_MS };
    const later = createManualClock(START_MS + 3_600_000);
    const { oldestMs } = world.shape;
    const again = createWorld({ clock: later }, { shape: { oldestMs } }).cluster("sim-1");
    expect(again.expected(window)).toEqual(world.expected(window));
    const other = createWorld({ clock }, { seed: 2 }).cluster("sim-1");
    expect(other.expected({ ...window, metric: "node_load1" })).not.toEqual(
      world.expected({ ...window, metric: "node_load1" }),
    );
  });

  test("windows that touch share no sample and lose none, wherever they are cut", () => {
    const fromMs = START_MS - 10 * MINUTE_MS;
    const flat = (all: ExpectedSeries[]): string[] =>
      all
        .flatMap(({ labels, timestamps }) => timestamps.map((at) => `${JSON.stringify(labels)} ${at}`))
        .sort();
    assert(
      property(
        integer({ min: fromMs + 1, max: START_MS - 1 }),
        constantFrom("up", "container_cpu_usage_seconds_total", "kube_pod_info"),
        (cutMs, metric) => {
          const whole = flat(world.expected({ fromMs, toMs: START_MS, metric }));
          const first = world.expected({ fromMs, toMs: cutMs, metric });
          const second = world.expected({ fromMs: cutMs, toMs: START_MS, metric });
          expect(flat([...first, ...second])).toEqual(whole);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("counters only fall where their process began anew, and those of node 0 do", () => {
    const window = { fromMs: START_MS - 30 * MINUTE_MS, toMs: START_MS };
    const falls = (each: ExpectedSeries): number =>
      each.values.filter((value, i) => value < (each.values[i - 1] ?? Number.NEGATIVE_INFINITY)).length;
    const cpu = world.expected({ ...window, metric: "node_cpu_seconds_total" });
    const [node] = world.layout.nodes;
    const ofNode0 = cpu.filter((each) => label(each, "instance") === `${node?.address}:9100`);
    for (const each of ofNode0) expect(falls(each)).toBeGreaterThanOrEqual(2);
    for (const each of cpu.filter((each) => !ofNode0.includes(each))) expect(falls(each)).toBe(0);
    const restarting = world
      .expected({ ...window, metric: "container_cpu_usage_seconds_total" })
      .filter((each) => label(each, "pod")?.startsWith("trainer-0-"));
    expect(restarting.reduce((sum, each) => sum + falls(each), 0)).toBeGreaterThanOrEqual(2);
  });

  test("pods come and go", () => {
    const names = (fromMs: number): Set<string | undefined> =>
      new Set(
        world
          .expected({ metric: "kube_pod_info", fromMs, toMs: fromMs + MINUTE_MS })
          .map((each) => label(each, "pod")),
      );
    const before = names(START_MS);
    const after = names(START_MS + 20 * MINUTE_MS);
    const gone = [...before].filter((name) => !after.has(name));
    const born = [...after].filter((name) => !before.has(name));
    expect(gone).toHaveLength(3);
    expect(born).toHaveLength(3);
  });

  test("scrapes come at irregular milliseconds, each timestamp once", () => {
    const [series] = world.expected({ metric: "up", fromMs: START_MS - 10 * MINUTE_MS, toMs: START_MS });
    const steps = series?.timestamps.slice(1).map((at, i) => at - (series.timestamps[i] ?? 0)) ?? [];
    expect(new Set(steps).size).toBeGreaterThan(10);
    expect(Math.min(...steps)).toBeGreaterThan(14_000);
  });

  test("container samples arrive late with timestamps of their own", () => {
    const metric = "container_cpu_usage_seconds_total";
    const window = { fromMs: START_MS - 2 * MINUTE_MS, toMs: START_MS, metric };
    const count = (nowMs?: number): number =>
      world.expected({ ...window, ...(nowMs === undefined ? {} : { nowMs }) }).flatMap((each) => each.values)
        .length;
    expect(count(START_MS)).toBeLessThan(count());
    expect(count(START_MS + 75_000)).toBe(count());
    const [first] = world.expected(window);
    const steps = first?.timestamps.slice(1).map((at, i) => at - (first.timestamps[i] ?? 0)) ?? [];
    expect(steps.every((step) => step > 0)).toBe(true);
  });

  test("nothing is older than the oldest sample", () => {
    const oldestMs = START_MS - 5 * MINUTE_MS;
    const cluster = createWorld({ clock }, { shape: { oldestMs } }).cluster("sim-1");
    const all = cluster.expected({ fromMs: START_MS - 60 * MINUTE_MS, toMs: START_MS });
    expect(Math.min(...all.flatMap(({ timestamps }) => timestamps))).toBeGreaterThanOrEqual(oldestMs);
  });

  test("replicas scrape the same targets at other moments", () => {
    const window = { metric: "up", fromMs: START_MS - MINUTE_MS, toMs: START_MS };
    const times = (replica: number): number[] =>
      world.expected({ ...window, replica }).flatMap(({ timestamps }) => timestamps);
    expect(times(0).some((at) => times(1).includes(at))).toBe(false);
  });
});
