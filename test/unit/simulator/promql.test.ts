import { describe, expect, test } from "vitest";
import { durationMs, parsePromql } from "#simulator/promql.ts";
import { QueryError } from "#simulator/query-error.ts";

const up = { kind: "selector", matchers: [{ name: "__name__", operator: "=", value: "up" }], offsetMs: 0 };

test("selectors with every operator, quoting and offset", () => {
  expect(parsePromql(`up{a="b",c!='d\\n"',e=~\`x\\d+\`,f!~"y"} offset 1m30s`)).toEqual({
    kind: "selector",
    offsetMs: 90_000,
    matchers: [
      { name: "__name__", operator: "=", value: "up" },
      { name: "a", operator: "=", value: "b" },
      { name: "c", operator: "!=", value: 'd\n"' },
      { name: "e", operator: "=~", value: "x\\d+" },
      { name: "f", operator: "!~", value: "y" },
    ],
  });
  expect(parsePromql('{"up"}')).toEqual(up);
  expect(parsePromql("up[250ms]")).toEqual({ kind: "matrix", selector: up, rangeMs: 250 });
});

test("aggregates, functions and arithmetic", () => {
  expect(parsePromql("sum by (job, node) (rate(up[5m]))")).toEqual({
    kind: "aggregate",
    run: "sum",
    grouping: "by",
    labels: ["job", "node"],
    of: { kind: "over-range", run: "rate", selector: up, rangeMs: 300_000 },
  });
  expect(parsePromql("max(up) without (job)")).toMatchObject({ grouping: "without", labels: ["job"] });
  expect(parsePromql("-(time() * 2)")).toEqual({
    kind: "negate",
    of: { kind: "binary", operator: "*", left: { kind: "time" }, right: { kind: "number", value: 2 } },
  });
});

describe("errors in a real Prometheus' words", () => {
  test.each([
    ["up{", "1:4: parse error: unexpected end of input inside braces"],
    ["", "unknown position: parse error: no expression found in input"],
    ["foo(up)", '1:1: parse error: unknown function with name "foo"'],
    [
      "rate(up)",
      '1:6: parse error: expected type range vector in call to function "rate", got instant vector',
    ],
    ["up[5m", "1:6: parse error: unclosed left bracket"],
    ["1 +", "1:4: parse error: unexpected end of input"],
    [
      "count(up[5m])",
      "1:7: parse error: expected type instant vector in aggregation expression, got range vector",
    ],
  ])("%s", (promql, problem) => {
    const error = new QueryError(400, "bad_data", `invalid parameter "query": ${problem}`);
    expect(() => parsePromql(promql)).toThrow(error);
  });
});

test("what only the simulator does not know is another error", () => {
  const error = new QueryError(422, "execution", 'the simulator does not evaluate "topk(3, up)"');
  expect(() => parsePromql("topk(3, up)")).toThrow(error);
});

test("durations", () => {
  expect(durationMs("1h30m")).toBe(5_400_000);
  expect(durationMs("86400000ms")).toBe(86_400_000);
  expect(durationMs("0.5")).toBe(500);
});

test("quantiles have a number before their argument", () => {
  expect(parsePromql('quantile by (job, "k8s.node") (0.9, quantile_over_time(.5, up[1m]))')).toEqual({
    kind: "aggregate",
    run: "quantile",
    quantile: 0.9,
    grouping: "by",
    labels: ["job", "k8s.node"],
    of: { kind: "over-range", run: "quantile_over_time", quantile: 0.5, selector: up, rangeMs: 60_000 },
  });
  for (const promql of ["quantile(up)", "quantile_over_time(up[1m])", "quantile(time(), up)", "sum(1, up)"]) {
    expect(() => parsePromql(promql)).toThrow("the simulator does not evaluate");
  }
});
