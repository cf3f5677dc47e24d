import { RE2JS } from "re2js";
import type { Matcher } from "#promql/ast.ts";
import type { FloatHistogram } from "#promql/histogram.ts";
import { Labels } from "#promql/labels.ts";
import type { SampleSource, Series } from "#promql/source.ts";

export const MINUTE_MS = 60_000;

/** A sample of `series`: a float, a native histogram, a stale marker, or none. */
export type Point = number | FloatHistogram | "stale" | undefined;

/** One point each minute, from 0 on. */
export function series(metric: string, labels: Record<string, string>, points: readonly Point[]): Series {
  const at = points.flatMap((point, i) => (point === undefined ? [] : [{ point, timeMs: i * MINUTE_MS }]));
  return {
    labels: Labels.of([["__name__", metric], ...Object.entries(labels)]),
    times: Float64Array.from(at, ({ timeMs }) => timeMs),
    values: Float64Array.from(at, ({ point }) => (typeof point === "number" ? point : NaN)),
    stale: Uint8Array.from(at, ({ point }) => (point === "stale" ? 1 : 0)),
    histograms: at.map(({ point }) => (typeof point === "object" ? point : undefined)),
  };
}

/** Answers selectors from these series, one batch each. `asked`: the requests so far. */
export function memorySource(...all: Series[]): SampleSource & { asked: unknown[] } {
  const asked: unknown[] = [];
  return {
    asked,
    async *select({ matchers, fromMs, toMs }) {
      asked.push({ matchers, fromMs, toMs });
      for (const one of all.filter(({ labels }) => matchers.every((matcher) => holds(labels, matcher)))) {
        const is = (_value: unknown, i: number): boolean => one.times[i]! > fromMs && one.times[i]! <= toMs;
        const { labels, times, values, stale, histograms } = one;
        yield [
          {
            labels,
            times: times.filter(is),
            values: values.filter(is),
            ...(stale && { stale: stale.filter(is) }),
            ...(histograms?.some((each) => each !== undefined) && { histograms: histograms.filter(is) }),
          },
        ];
      }
    },
  };
}

function holds(labels: Labels, { name, type, value }: Matcher): boolean {
  const text = labels.get(name);
  const isPattern = type === "=~" || type === "!~";
  const isMatch = isPattern ? RE2JS.compile(value, RE2JS.DOTALL).matches(text) : text === value;
  return isMatch === (type === "=" || type === "=~");
}
