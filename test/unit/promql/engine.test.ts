import { describe, expect, test } from "vitest";
import type { Expr, Matcher, VectorSelector } from "#promql/ast.ts";
import { createEngine, type QueryResult } from "#promql/engine.ts";
import { Labels } from "#promql/labels.ts";
import { parseExpr } from "#promql/parse.ts";
import type { SampleSource, Series } from "#promql/source.ts";

const PLACE = { start: 0, end: 1 };
const MINUTE = 60_000;

/** One sample each minute from 0 on; undefined: none. */
function series(name: string, labels: Record<string, string>, values: (number | undefined)[]): Series {
  const times = values.flatMap((value, i) => (value === undefined ? [] : [i * MINUTE]));
  return {
    labels: Labels.of([["__name__", name], ...Object.entries(labels)]),
    times: Float64Array.from(times),
    values: Float64Array.from(values.filter((value) => value !== undefined)),
  };
}

function sourceOf(...all: Series[]): SampleSource {
  return {
    async *select({ matchers, fromMs, toMs }) {
      const matches = (labels: Labels, { name, value }: Matcher): boolean => labels.get(name) === value;
      for (const one of all.filter(({ labels }) => matchers.every((matcher) => matches(labels, matcher)))) {
        const is = (_value: unknown, i: number): boolean => one.times[i]! > fromMs && one.times[i]! <= toMs;
        yield [{ ...one, times: one.times.filter(is), values: one.values.filter(is) }];
      }
    },
  };
}

const limits = { samplesMax: 1_000_000, seriesMax: 1000 };
const signal = new AbortController().signal;

function metric(name: string): VectorSelector {
  const matchers: Matcher[] = [{ name: "__name__", type: "=", value: name }];
  return { kind: "vector_selector", name, matchers, offsetMs: 0, ...PLACE };
}

function rate(name: string, rangeMs: number): Expr {
  const range: Expr = { kind: "matrix_selector", selector: metric(name), rangeMs, ...PLACE };
  return { kind: "call", func: "rate", args: [range], ...PLACE };
}

function sumBy(expr: Expr, ...grouping: string[]): Expr {
  return { kind: "aggregation", op: "sum", expr, grouping, isWithout: false, ...PLACE };
}

function shown(result: QueryResult): Record<string, number[]> {
  if (result.type !== "vector" && result.type !== "matrix") throw new Error(`a ${result.type} has no series`);
  return Object.fromEntries(result.series.map(({ labels, values }) => [labels.toString(), [...values]]));
}

const requests = sourceOf(
  series("requests_total", { job: "a", pod: "1" }, [0, 60, 120, 180]),
  series("requests_total", { job: "a", pod: "2" }, [0, 30, 60, 90]),
  series("requests_total", { job: "b", pod: "1" }, [10, 10, undefined, 10]),
);

describe("a query", () => {
  test("sums rates by a label at one time", async () => {
    const engine = createEngine({ source: requests }, { limits });
    const result = await engine.instant(
      sumBy(rate("requests_total", 2 * MINUTE), "job"),
      3 * MINUTE,
      {},
      signal,
    );
    // Prometheus extrapolates the samples of (1m, 3m] to both ends.
    expect(shown(result)).toEqual({ '{job="a"}': [1.5] });
    expect(result).toMatchObject({
      type: "vector",
      timeMs: 3 * MINUTE,
      stats: { reads: [{ series: 3, samples: 5 }] },
    });
  });

  test("keeps the newest sample of the lookback at each time of a grid", async () => {
    const engine = createEngine({ source: requests }, { limits });
    const times = { startMs: 0, endMs: 3 * MINUTE, stepMs: MINUTE };
    const result = await engine.range(metric("requests_total"), times, { lookbackMs: MINUTE }, signal);
    expect(shown(result)).toEqual({
      '{__name__="requests_total", job="a", pod="1"}': [0, 60, 120, 180],
      '{__name__="requests_total", job="a", pod="2"}': [0, 30, 60, 90],
      // The lookback is open on the left: at 2m the sample of 1m is too old.
      '{__name__="requests_total", job="b", pod="1"}': [10, 10, 10],
    });
  });

  test("ends with Prometheus' text when it would hold too many samples", async () => {
    const engine = createEngine({ source: requests }, { limits: { ...limits, samplesMax: 5 } });
    const times = { startMs: 0, endMs: 3 * MINUTE, stepMs: MINUTE };
    await expect(engine.range(metric("requests_total"), times, {}, signal)).rejects.toThrow(
      "query processing would load too many samples into memory in query execution",
    );
  });

  test("says at its beginning what it will read, each selector once and without those of subqueries", async () => {
    const prepared: unknown[] = [];
    const source: SampleSource = {
      ...requests,
      prepare: async (reads, given) => {
        expect(given).toBe(signal);
        prepared.push(...reads.map(({ matchers, fromMs, toMs }) => [matchers[0]!.value, fromMs, toMs]));
      },
    };
    const engine = createEngine({ source }, { limits });
    const times = { startMs: 10 * MINUTE, endMs: 13 * MINUTE, stepMs: 2 * MINUTE };
    const query = "rate(a[2m]) / b offset 1m + b offset 1m + c @ 60 + sum_over_time(d[3m:1m])";
    await engine.range(parseExpr(query), times, {}, signal);
    expect(prepared).toEqual([
      ["a", 8 * MINUTE, 12 * MINUTE],
      ["b", 4 * MINUTE, 11 * MINUTE],
      ["c", -4 * MINUTE, MINUTE],
    ]);
    await engine.instant(parseExpr("a"), 0, {}, signal);
    expect(prepared.length).toBe(3);
  });

  test("ends with the reason of its signal", async () => {
    const engine = createEngine({ source: requests }, { limits });
    await expect(
      engine.instant(metric("requests_total"), 0, {}, AbortSignal.abort(new Error("given up"))),
    ).rejects.toThrow("given up");
  });

  test("is refused over a range when it is no vector and no scalar", async () => {
    const engine = createEngine({ source: requests }, { limits });
    const text: Expr = { kind: "string", value: "a", ...PLACE };
    const times = { startMs: 0, endMs: 1, stepMs: 1 };
    await expect(engine.range(text, times, {}, signal)).rejects.toThrow(
      'invalid expression type "string" for range query, must be Scalar or instant Vector',
    );
  });
});
