import type { QueryResult, ResultSeries } from "#promql/engine.ts";
import type { FloatHistogram } from "#promql/histogram.ts";
import { compact } from "#promql/histogram-math.ts";
import { Labels } from "#promql/labels.ts";
import type { HistogramPoint, Point } from "./series-notation.ts";
import type { Evaluation, Expectation } from "./test-file.ts";

/** What a query answered, as far as test files tell it. */
export type Answer =
  | Pick<QueryResult & { type: "scalar" }, "type" | "value">
  | Pick<QueryResult & { type: "string" }, "type" | "value">
  | Pick<QueryResult & { type: "vector" }, "type" | "series">
  | Pick<QueryResult & { type: "matrix" }, "type" | "series">;

/** Prometheus' own tests allow 1e-6; the numbers in them are rounded. */
const EPSILON = 1e-6;
const MIN_NORMAL = 2.2250738585072014e-308;

function almostEqual(a: number, b: number, epsilon = EPSILON): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const difference = Math.abs(a - b);
  if (a === 0 || b === 0 || sum < MIN_NORMAL) return difference < epsilon * MIN_NORMAL;
  return difference / Math.min(sum, Number.MAX_VALUE) < epsilon;
}

/** What differs from the test's expectation; undefined: nothing. `startMs`: of a matrix's first expected point. */
export function differenceOf(evaluation: Evaluation, answer: Answer): string | undefined {
  const { expected } = evaluation;
  switch (answer.type) {
    case "scalar":
      if (expected.kind !== "scalar") return `a scalar instead of ${expected.kind}`;
      return almostEqual(expected.value, answer.value)
        ? undefined
        : `${answer.value} instead of ${expected.value}`;
    case "string":
      if (expected.kind !== "string") return `a string instead of ${expected.kind}`;
      return expected.value === answer.value
        ? undefined
        : `${JSON.stringify(answer.value)} instead of ${JSON.stringify(expected.value)}`;
    case "vector":
      return vectorDifference(evaluation, answer.series);
    case "matrix":
  }
  return matrixDifference(evaluation, answer.series);
}

function vectorDifference({ expected, isOrdered }: Evaluation, series: ResultSeries[]): string | undefined {
  if (expected.kind !== "series") return `a vector instead of ${expected.kind}`;
  const wanted = new Map(expected.series.map((each, i) => [each.labels.key, { ...each, i }]));
  for (const [i, each] of series.entries()) {
    const own = wanted.get(each.labels.key);
    if (!own) return `unexpected ${each.labels.toString()} ${shown(each, 0)}`;
    wanted.delete(each.labels.key);
    if (isOrdered && own.i !== i) return `${each.labels.toString()} at position ${i} instead of ${own.i}`;
    const difference = pointDifference(own.points[0], each, 0);
    if (difference !== undefined) return `${each.labels.toString()}: ${difference}`;
  }
  return missing(wanted);
}

function matrixDifference(evaluation: Evaluation, series: ResultSeries[]): string | undefined {
  const { expected } = evaluation;
  if (expected.kind !== "series" && expected.kind !== "matrix") return `a matrix instead of ${expected.kind}`;
  const { startMs, stepMs = 0 } = expected.kind === "matrix" ? expected : evaluation;
  const unsorted = series.findIndex(
    (each, i) => i > 0 && Labels.compare(series[i - 1]!.labels, each.labels) > 0,
  );
  if (unsorted >= 0) return `${series[unsorted]!.labels.toString()} is not in its place`;
  const wanted = new Map(expected.series.map((each) => [each.labels.key, each]));
  for (const each of series) {
    const own = wanted.get(each.labels.key);
    if (!own) return `unexpected ${each.labels.toString()}`;
    wanted.delete(each.labels.key);
    const points = own.points.flatMap((point, i) => (point === undefined ? [] : [{ point, i }]));
    const times = [...each.times];
    const wantedTimes = points.map(({ i }) => startMs + i * stepMs);
    if (times.join() !== wantedTimes.join()) {
      return `${each.labels.toString()}: at ${times.join()} instead of ${wantedTimes.join()}`;
    }
    for (const [at, { point }] of points.entries()) {
      const difference = pointDifference(point, each, at);
      if (difference !== undefined) return `${each.labels.toString()} at ${times[at]}: ${difference}`;
    }
  }
  return missing(wanted);
}

function missing(wanted: Map<string, { labels: Labels }>): string | undefined {
  const [first] = wanted.values();
  return first && `missing ${first.labels.toString()}`;
}

function shown(series: ResultSeries, at: number): string {
  const histogram = series.histograms?.[at];
  return histogram ? JSON.stringify(histogram) : String(series.values[at]);
}

function pointDifference(point: Point, series: ResultSeries, at: number): string | undefined {
  const histogram = series.histograms?.[at];
  if (typeof point === "object") {
    if (!histogram) return `${series.values[at]} instead of a histogram`;
    return sameHistogram(point, histogram)
      ? undefined
      : `${JSON.stringify(compact(histogram))} instead of ${JSON.stringify(compact(point.histogram))}`;
  }
  const value = typeof point === "number" ? point : Number.NaN;
  if (histogram) return `a histogram instead of ${value}: ${JSON.stringify(histogram)}`;
  return almostEqual(value, series.values[at]!) ? undefined : `${series.values[at]} instead of ${value}`;
}

function sameHistogram({ histogram: wanted, hasHint }: HistogramPoint, histogram: FloatHistogram): boolean {
  const [a, b] = [compact(wanted), compact(histogram)];
  const bounds = ({ customValues = [] }: FloatHistogram): string => customValues.join();
  const spans = (h: FloatHistogram): string => JSON.stringify([h.positiveSpans, h.negativeSpans]);
  const counts = (h: FloatHistogram): number[] => [
    h.count,
    h.sum,
    h.zeroCount,
    ...h.positiveBuckets,
    ...h.negativeBuckets,
  ];
  const [x, y] = [counts(a), counts(b)];
  return (
    a.schema === b.schema &&
    a.zeroThreshold === b.zeroThreshold &&
    bounds(a) === bounds(b) &&
    spans(a) === spans(b) &&
    x.length === y.length &&
    x.every((value, i) => almostEqual(value, y[i]!)) &&
    (!hasHint || wanted.hint === histogram.hint)
  );
}

/** What of the warnings and infos differs from the test's expectations. */
export function remarkDifference(
  { warnings, infos, noWarnings, noInfos }: Evaluation,
  answer: { warnings: string[]; infos: string[] },
): string | undefined {
  if (noWarnings && answer.warnings.length > 0) return `unexpected warning: ${answer.warnings[0]}`;
  if (noInfos && answer.infos.length > 0) return `unexpected info: ${answer.infos[0]}`;
  return textDifference("warning", warnings, answer.warnings) ?? textDifference("info", infos, answer.infos);
}

function textDifference(what: string, wanted: Expectation[], texts: string[]): string | undefined {
  if (wanted.length === 0) return undefined;
  const absent = wanted.find((each) => !texts.some((text) => isExpected(each, text)));
  if (absent)
    return `no ${what} ${JSON.stringify(absent.message ?? absent.pattern?.source)}: ${JSON.stringify(texts)}`;
  const other = texts.find((text) => !wanted.some((each) => isExpected(each, text)));
  return other === undefined ? undefined : `unexpected ${what}: ${other}`;
}

export function isExpected({ message, pattern }: Expectation, text: string): boolean {
  if (message !== undefined) return message === text;
  return pattern?.test(text) ?? true;
}
