import { parser } from "@prometheus-io/lezer-promql";
import { describe, expect, it } from "vitest";
import { AGGREGATIONS, toAggregation, toPromql, toUnit } from "#query/series/aggregations.ts";
import { toSelector, type LabelFilter } from "#query/series/matchers.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";

const OF_GAUGES = {
  avg: "avg(avg_over_time(m[300s]))",
  min: "min(min_over_time(m[300s]))",
  max: "max(max_over_time(m[300s]))",
  sum: "sum(avg_over_time(m[300s]))",
  count: "count(m)",
  last: "avg(m)",
  p50: "avg(quantile_over_time(0.5, m[300s]))",
  p90: "avg(quantile_over_time(0.9, m[300s]))",
  p95: "avg(quantile_over_time(0.95, m[300s]))",
  p99: "avg(quantile_over_time(0.99, m[300s]))",
};
const OF_COUNTERS = {
  avg: "avg(rate(m[300s]))",
  min: "min(rate(m[300s]))",
  max: "max(rate(m[300s]))",
  sum: "sum(rate(m[300s]))",
  count: "count(rate(m[300s]))",
  last: "avg(rate(m[300s]))",
  rate: "sum(rate(m[300s]))",
  increase: "sum(increase(m[300s]))",
  p50: "quantile(0.5, rate(m[300s]))",
  p90: "quantile(0.9, rate(m[300s]))",
  p95: "quantile(0.95, rate(m[300s]))",
  p99: "quantile(0.99, rate(m[300s]))",
};

describe("what an aggregation means", () => {
  it.each(Object.entries(OF_GAUGES))("%s of a gauge", (name, promql) => {
    for (const type of ["gauge", "sum"] as const) {
      expect(toPromql(toAggregation(name as "avg", type), "m", 300, [])).toBe(promql);
    }
  });

  it.each(Object.entries(OF_COUNTERS))("%s of a counter", (name, promql) => {
    expect(toPromql(toAggregation(name as "avg", "counter"), "m", 300, [])).toBe(promql);
  });

  it("ends a series at its marker where the window is at most Prometheus' lookback", () => {
    const { gauge, counter } = {
      gauge: toAggregation("count", "gauge"),
      counter: toAggregation("count", "counter"),
    };
    const selector = 'm{a="b"}';
    expect(toPromql(gauge, selector, 299, ["a"])).toBe(
      `count by (a) (last_over_time(${selector}[299s]) and ${selector})`,
    );
    expect(toPromql(gauge, selector, 300, "each")).toBe(`count without () (${selector})`);
    expect(toPromql(gauge, selector, 301, [])).toBe(`count(last_over_time(${selector}[301s]))`);
    expect(toPromql(counter, selector, 120, [])).toBe(`count(rate(${selector}[120s]))`);
  });

  it("covers every aggregation", async () => {
    expect(Object.keys(OF_COUNTERS).sort()).toEqual([...AGGREGATIONS].sort());
    const refused = AGGREGATIONS.filter((name) => !(name in OF_GAUGES));
    expect(refused).toEqual(["rate", "increase"]);
    for (const name of refused) {
      const error = await bridgeErrorOf((async () => toAggregation(name, "gauge"))());
      expect(error.hint).toContain("avg, min, max, sum, count, last, p50");
    }
  });

  it("has the unit of its values", () => {
    const unitOf = (name: "avg" | "rate" | "increase" | "count", type: "gauge" | "counter", unit: string) =>
      toUnit(toAggregation(name, type), unit);
    expect(unitOf("avg", "gauge", "By")).toBe("By");
    expect(unitOf("rate", "counter", "By")).toBe("By/s");
    expect(unitOf("rate", "counter", "")).toBe("");
    expect(unitOf("increase", "counter", "By")).toBe("By");
    expect(unitOf("count", "counter", "By")).toBe("{series}");
  });
});

const matchers: LabelFilter[] = [
  { label: "mode", op: "!=", value: 'a"b\\c\n' },
  { label: "k8s.node.name", op: "=~", value: "n\\d+" },
];

it.each([
  ["up", [], "up"],
  ["a:b", [], "a:b"],
  ["sum", [], '{__name__="sum"}'],
  ["NaN", [], '{__name__="NaN"}'],
  ["http.server.duration", [], '{__name__="http.server.duration"}'],
  ["up", matchers, 'up{mode!="a\\"b\\\\c\\n","k8s.node.name"=~"n\\\\d+"}'],
])("the selector of %s with %j is PromQL", (metric, filters, expected) => {
  const selector = toSelector(metric, filters);
  expect(selector).toBe(expected);
  const promql = toPromql(toAggregation("p95", "counter"), selector, 120, ["mode", "k8s.node.name"]);
  let broken = false;
  parser.parse(promql).iterate({ enter: (node) => void (broken ||= node.type.isError) });
  expect({ promql, broken }).toEqual({ promql, broken: false });
});
