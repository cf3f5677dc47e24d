import { expect, it } from "vitest";
import { seriesName, toChartData } from "#page/chart-data.ts";
import type { QueryAnswer, SampleValue } from "#page/api-types.ts";

const at = (seconds: number): string => new Date(seconds * 1000).toISOString();

function answerOf(values: Record<number, SampleValue>, changes: Partial<QueryAnswer> = {}): QueryAnswer {
  const points = Object.entries(values).map(([seconds, value]) => ({
    timestamp: at(Number(seconds)),
    value,
  }));
  return {
    cluster_id: "edge-1",
    metric_name: "node_load1",
    type: "gauge",
    unit: "",
    step_seconds: 60,
    window_seconds: 120,
    promql: "avg(node_load1)",
    first_point: at(60),
    last_point: at(360),
    as_of: at(360),
    storage: "raw",
    completeness: null,
    series_total: 1,
    series: [{ labels: {}, points }],
    ...changes,
  };
}

const name = (): string => "line";

it("has every step of the range, and null where a point is missing: the line has a gap there", () => {
  const { times, lines } = toChartData([answerOf({ 60: 1, 120: 2, 300: 5, 360: 6 })], name);
  expect(times).toEqual([60, 120, 180, 240, 300, 360]);
  expect(lines).toEqual([{ name: "line", values: [1, 2, null, null, 5, 6] }]);
});

it("draws 0 as 0, and NaN and infinities not at all", () => {
  const { lines } = toChartData([answerOf({ 60: 0, 120: "NaN", 180: "+Inf", 240: "-Inf", 300: 0 })], name);
  expect(lines[0]?.values).toEqual([0, null, null, null, 0, null]);
});

it("leaves out points whose window is not whole yet", () => {
  const { lines } = toChartData([answerOf({ 60: 1, 240: 4, 300: 60 }, { as_of: at(299.9) })], name);
  expect(lines[0]?.values).toEqual([1, null, null, 4, null, null]);
  const none = toChartData([answerOf({ 60: 1 }, { as_of: null })], name);
  expect(none.lines[0]?.values).toEqual([null, null, null, null, null, null]);
});

it("puts the lines of several answers over the same times", () => {
  const early = answerOf({ 60: 1 }, { last_point: at(120) });
  const late = answerOf({ 180: 3 }, { first_point: at(180), last_point: at(240) });
  const { times, lines } = toChartData(
    [early, late],
    (_answer, _series, place) => `line ${place}`,
    (value) => value * 10,
  );
  expect(times).toEqual([60, 120, 180, 240]);
  expect(lines).toEqual([
    { name: "line 0", values: [10, null, null, null] },
    { name: "line 1", values: [null, null, 30, null] },
  ]);
});

it("names a series by its labels", () => {
  expect(seriesName({ mode: "user", cpu: "0" }, "m")).toBe("mode user, cpu 0");
  expect(seriesName({}, "node_load1")).toBe("node_load1");
});
