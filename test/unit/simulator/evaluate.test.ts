import { beforeEach, describe, expect, test } from "vitest";
import { createEngine } from "#simulator/evaluate.ts";
import type { Engine, RangeSeries } from "#simulator/evaluate.ts";
import { parsePromql } from "#simulator/promql.ts";
import { createSampleBuffer } from "#simulator/series.ts";
import { createWorld } from "#simulator/world.ts";
import type { ClusterWorld } from "#simulator/world.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";
import type { ManualClock } from "../../helpers/manual-clock.ts";

const NOW_MS = 1_700_000_000_000;
const MINUTE_MS = 60_000;

let clock: ManualClock;
let world: ClusterWorld;
let engine: Engine;

beforeEach(() => {
  clock = createManualClock(NOW_MS);
  world = createWorld({ clock }).cluster("sim-1");
  engine = createEngine(world, { version: 3, replica: 0, samplesMax: Number.POSITIVE_INFINITY });
});

function values(promql: string, atMs = NOW_MS): number[] {
  const result = engine.instant(parsePromql(promql), atMs);
  if (result.type !== "vector") throw new Error(`a ${result.type} instead of a vector`);
  return result.items.map(({ value }) => value);
}

function range(promql: string): RangeSeries[] {
  return engine.range(parsePromql(promql), NOW_MS - 10 * MINUTE_MS, NOW_MS, MINUTE_MS);
}

describe("instant selectors", () => {
  test("find the newest sample, and what a scrape left out is gone at once", () => {
    const [expected] = world.expected({ metric: "node_load1", fromMs: NOW_MS - MINUTE_MS, toMs: NOW_MS });
    expect(values("node_load1")[0]).toBe(expected?.values.at(-1));
    const pods = values("kube_pod_info").length;
    clock.advance(20 * MINUTE_MS);
    expect(values("kube_pod_info", clock.now())).toHaveLength(pods);
  });

  test("see nothing older than five minutes, nor what is still to come", () => {
    clock.advance(-30 * MINUTE_MS);
    expect(values("up", NOW_MS - 24 * MINUTE_MS)).toEqual([]);
    expect(values("up", NOW_MS - 26 * MINUTE_MS)).toHaveLength(12);
  });

  test("regular expressions are anchored at both ends", () => {
    expect(values('node_load1{instance=~"10.0.0.1"}')).toEqual([]);
    expect(values('node_load1{instance=~"10.0.0.1:.*"}')).toHaveLength(1);
    expect(values('node_load1{instance!~"10.0.0.1:.*"}')).toHaveLength(2);
    expect(values('{__name__=~"node_load(1|5)"}')).toHaveLength(6);
    expect(() => values('up{job=~"["}')).toThrow("error parsing regexp");
    expect(() => values('{job=~".*"}')).toThrow("at least one non-empty matcher");
  });
});

test("`and` has the items of its left side whose labels are in the right side", () => {
  const both = 'last_over_time(node_load1[1m]) and node_load1{instance=~"10.0.0.1:.*"}';
  const result = engine.instant(parsePromql(both), NOW_MS);
  const one = engine.instant(parsePromql('node_load1{instance=~"10.0.0.1:.*"}'), NOW_MS);
  expect(result).toEqual(one);
  expect(one).toMatchObject({ items: [{}] });
  expect(values("node_load1 and nothing")).toEqual([]);
  expect(values("node_load1 and up", NOW_MS)).toEqual(values('node_load1{job="node-exporter"}', NOW_MS));
});

test("several counts fit in one answer, and those of nothing are left out", () => {
  const joint = ["up", "nothing", "node_load1"]
    .map((name, i) => `label_replace(sum(count_over_time(${name}[5m])),"selector","${i}","","")`)
    .join(" or ");
  const result = engine.instant(parsePromql(joint), NOW_MS);
  if (result.type !== "vector") throw new Error("not a vector");
  const [up] = values("sum(count_over_time(up[5m]))");
  const [load] = values("sum(count_over_time(node_load1[5m]))");
  expect(result.items).toEqual([
    { labels: [["selector", "0"]], value: up },
    { labels: [["selector", "2"]], value: load },
  ]);
});

test("a subquery has the points of its range, which is closed in 2.x and left-open in 3.x", () => {
  const probe = "count_over_time(vector(1)[1s:1s])";
  expect(values(probe)).toEqual([1]);
  engine = createEngine(world, { version: 2, replica: 0, samplesMax: Infinity });
  expect(values(probe)).toEqual([2]);
});

test("a range selector is closed in 2.x and left-open in 3.x", () => {
  const [series] = world.expected({ metric: "up", fromMs: NOW_MS - 5 * MINUTE_MS, toMs: NOW_MS });
  const [first = 0, , , last = 0] = series?.timestamps ?? [];
  const promql = parsePromql(`up[${last - first}ms]`);
  const count = (version: 2 | 3): number => {
    const other = createEngine(world, { version, replica: 0, samplesMax: Number.POSITIVE_INFINITY });
    const result = other.instant(promql, last);
    if (result.type !== "matrix") throw new Error("no matrix");
    const same = result.series.find(
      ({ labels }) => JSON.stringify(labels) === JSON.stringify(series?.labels),
    );
    const buffer = createSampleBuffer();
    if (same) result.read(same, buffer);
    return buffer.count;
  };
  expect([count(2), count(3)]).toEqual([4, 3]);
});

describe("expressions", () => {
  test("aggregates drop other labels and sort their groups", () => {
    const sums = range("sum by (mode) (rate(node_cpu_seconds_total[5m]))");
    expect(sums.map(({ labels }) => labels[0]?.[1])).toEqual([
      "idle",
      "iowait",
      "irq",
      "nice",
      "softirq",
      "steal",
      "system",
      "user",
    ]);
    expect(sums.every((each) => each.values.length === 11)).toBe(true);
  });

  test("count, avg, min and max agree with the parts", () => {
    const all = values("node_load5");
    expect(values("count(node_load5)")).toEqual([all.length]);
    expect(values("min(node_load5)")).toEqual([Math.min(...all)]);
    expect(values("max without (instance) (node_load5)")).toHaveLength(3);
    expect(values("avg(node_load5)")[0]).toBeCloseTo(all.reduce((a, b) => a + b, 0) / all.length, 10);
  });

  test("rate adds what a reset took away", () => {
    const rates = range('rate(node_cpu_seconds_total{instance=~"10.0.0.1:.*",mode="idle",cpu="0"}[2m])');
    expect(rates[0]?.values.every((rate) => rate > 0.1 && rate < 1.4)).toBe(true);
  });

  test("increase over a steady counter is its growth over the whole range", () => {
    const [grown] = values('increase(kube_pod_container_status_restarts_total{pod=~"trainer-1-.*"}[5m])');
    expect(grown).toBe(0);
    expect(values("count_over_time(up[5m])")[0]).toBe(20);
  });

  test("arithmetic with scalars, time() and vector()", () => {
    expect(engine.instant(parsePromql("time() - 1"), NOW_MS)).toEqual({
      type: "scalar",
      value: NOW_MS / 1000 - 1,
    });
    expect(values("vector(2) * 3 ^ 2")).toEqual([18]);
    expect(values("-up")).toContain(-1);
    expect(() => values("up + up")).toThrow("between two vectors");
    expect(() => range("up[5m]")).toThrow("must be Scalar or instant Vector");
  });
});

test("more samples than allowed are Prometheus' own error", () => {
  const small = createEngine(world, { version: 3, replica: 0, samplesMax: 100 });
  const problem = "query processing would load too many samples into memory in query execution";
  expect(() => small.instant(parsePromql("up[10m]"), NOW_MS)).toThrow(problem);
  expect(() => small.range(parsePromql("up"), NOW_MS - 10 * MINUTE_MS, NOW_MS, MINUTE_MS)).toThrow(problem);
  expect(small.instant(parsePromql("up[1m]"), NOW_MS).type).toBe("matrix");
});
