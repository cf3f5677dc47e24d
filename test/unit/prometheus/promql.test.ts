import { describe, expect, test } from "vitest";
import { classifyPromql, isPerSeries } from "#prometheus/promql.ts";

describe("PromQL", () => {
  test.each([
    ["up", "up"],
    ["  up  ", "up"],
    ["up # every target", "up"],
    ["# every target\nup", "up"],
    ['up{job="node",instance=~"10.*",a!="b",c!~"d"}', 'up{job="node",instance=~"10.*",a!="b",c!~"d"}'],
    ['{__name__=~"node_.+"}', '{__name__=~"node_.+"}'],
    ["a:b:rate5m", "a:b:rate5m"],
    ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL"],
    ['up{a="rate(x[5m])"}', 'up{a="rate(x[5m])"}'],
    ["up{a='}'}", "up{a='}'}"],
    ...Object.getOwnPropertyNames(Object.prototype).flatMap((name) => [
      [name, name],
      [name.toUpperCase(), name.toUpperCase()],
      [`up{${name}="${name}"} # ${name}`, `up{${name}="${name}"}`],
    ]),
  ])("%s is a selector", (promql, selector) => {
    expect(classifyPromql(promql)).toEqual({ kind: "selector", selector });
  });

  test.each([
    "(up)",
    "-up",
    "up + 1",
    "up > 0",
    "up offset 5m",
    "up @ 1767225600",
    "rate(node_cpu_seconds_total[5m])",
    "sum by (node) (rate(node_cpu_seconds_total[5m]))",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
    "max_over_time(up[10m:1m])",
    'label_replace(up, "a", "$1", "b", "(.*)")',
    "vector(1)",
    "time()",
    "1",
    "a and on (node) b",
    "sum by (constructor) (rate(__proto__[5m]))",
  ])("%s is an expression", (promql) => {
    expect(classifyPromql(promql)).toEqual({ kind: "expression" });
  });

  test.each([
    ["", /empty|syntax/],
    ["   ", /empty|syntax/],
    ["# only a comment", /empty|syntax/],
    ["up{", /syntax error at character/],
    ["up}", /syntax error at character 3: "}"/],
    ["sum(up", /syntax error at character/],
    ["up up", /syntax error at character/],
    ["rate(up[5m]", /syntax error/],
    ["up{a=b}", /syntax error/],
    ["SELECT * FROM up", /syntax error/],
    ["up[5m]", /range/],
    ["up[1h:5m]", /range/],
    ['"up"', /text/],
  ])("'%s' is invalid, and it is said why", (promql, problem) => {
    expect(classifyPromql(promql)).toMatchObject({
      kind: "invalid",
      problem: expect.stringMatching(problem),
    });
  });

  test.each([
    "rate(a[5m])",
    'rate(a{b="c"}[5m] offset 1m) * 100',
    "-a",
    "a > bool 0",
    "quantile_over_time(0.9, a[1h])",
    "max_over_time(rate(a[5m])[1h:])",
    "100 * (1 - rate(a[5m]))",
  ])("%s treats each series by itself", (promql) => {
    expect(isPerSeries(promql)).toBe(true);
  });

  test.each([
    "sum(a)",
    "sum by (x) (a)",
    "topk(3, a)",
    "a / b",
    "a or b",
    "1 - avg(rate(a[5m]))",
    "absent(a)",
    "histogram_quantile(0.9, rate(a[5m]))",
    'label_replace(a, "x", "", "", "")',
    "scalar(a) * b",
    "vector(1)",
    "time()",
  ])("%s combines series, or has none", (promql) => {
    expect(isPerSeries(promql)).toBe(false);
  });
});
