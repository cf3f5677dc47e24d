import type { Engine } from "#promql/engine.ts";
import { PromqlError } from "#promql/error.ts";
import type { Labels } from "#promql/labels.ts";
import { parseExpr } from "#promql/parse.ts";
import { toHistogramJson } from "#http/promql-histogram.ts";
import type { QueryCase } from "./query-case.ts";

interface OutcomeSeries {
  labels: Labels;
  times: number[];
  values: number[];
  /** Of other times than the values. */
  histograms: { time: number; numbers: number[] }[];
}

/** A native histogram in the API's JSON. */
export interface HistogramJson {
  count: string;
  sum: string;
  buckets?: [rule: number, lower: string, upper: string, count: string][];
}

/** All numbers of a histogram: count, sum, and those of each bucket. */
export function numbersOf({ count, sum, buckets = [] }: HistogramJson): number[] {
  return [count, sum, ...buckets.flat()].map((each) => toNumber(String(each)));
}

export function toNumber(text: string): number {
  return Number(text.replace(/^([+-]?)Inf$/, "$1Infinity"));
}

interface Remarks {
  warnings: string[];
  infos: string[];
  /** The source computed a part of it, and gave no samples for that; told by our HTTP API alone. */
  isComputed?: boolean;
}

/** What an evaluation gave, in a form that can be compared. */
export type Outcome =
  | { error: string }
  | (Remarks & { type: "vector" | "matrix"; series: OutcomeSeries[] })
  | (Remarks & { type: "scalar" | "string"; time: number; value: number | string });

const signal = new AbortController().signal;

/** What the engine gives for the case. */
export async function askEngine(engine: Engine, { query, times }: QueryCase): Promise<Outcome> {
  const { startMs, endMs, stepMs } = times;
  try {
    const expr = parseExpr(query);
    const options = { text: query };
    const result =
      stepMs === undefined
        ? await engine.instant(expr, startMs, options, signal)
        : await engine.range(expr, { startMs, endMs, stepMs }, options, signal);
    const { warnings, infos } = result;
    if (result.type === "scalar" || result.type === "string") {
      return { type: result.type, warnings, infos, time: result.timeMs, value: result.value };
    }
    const series = result.series.map(({ labels, times, values, histograms }) => {
      const isFloat = (_number: number, k: number): boolean => histograms?.[k] === undefined;
      return {
        labels,
        times: [...times].filter(isFloat),
        values: [...values].filter(isFloat),
        histograms: (histograms ?? []).flatMap((histogram, k) =>
          histogram
            ? [
                {
                  time: times[k]!,
                  numbers: numbersOf(JSON.parse(toHistogramJson(histogram)) as HistogramJson),
                },
              ]
            : [],
        ),
      };
    });
    return { type: result.type, warnings, infos, series };
  } catch (error) {
    if (!(error instanceof PromqlError)) throw error;
    return { error: error.message };
  }
}

export interface Comparison {
  /** How far two values may differ, as a part of the larger one or of `scale`. */
  tolerance: number;
  /** The largest operand of the query, where results may be differences of large numbers. */
  scale?: number;
  /** Series with equal values may be in one another's place: of topk and bottomk. */
  ties?: boolean;
  /** The order of the series counts: of sort. */
  ordered?: boolean;
}

/** What differs between the real answer and ours; undefined: nothing. */
export function differenceBetween(real: Outcome, ours: Outcome, how: Comparison): string | undefined {
  if ("error" in real || "error" in ours) {
    const [a, b] = [real, ours].map((each) => ("error" in each ? canonicalError(each.error) : "an answer"));
    return a === b ? undefined : `${b}, and the real one ${a}`;
  }
  if (real.type !== ours.type) return `a ${ours.type}, and the real one a ${real.type}`;
  for (const what of ["warnings", "infos"] as const) {
    if (!sameRemarks(real[what], ours[what])) {
      return `${what} ${JSON.stringify(ours[what])}, and the real one ${JSON.stringify(real[what])}`;
    }
  }
  if ("value" in real && "value" in ours) {
    const isSame =
      real.time === ours.time &&
      (typeof real.value === "string" || typeof ours.value === "string"
        ? real.value === ours.value
        : isClose(real.value, ours.value, how));
    return isSame
      ? undefined
      : `${ours.value} at ${ours.time}, and the real one ${real.value} at ${real.time}`;
  }
  if (!("series" in real) || !("series" in ours)) throw new Error("assertion failed: another type");
  return how.ties === true
    ? (tiesDifference(real.series, ours.series, how) ?? undefined)
    : seriesDifference(real.series, ours.series, how);
}

/** The API shows ten of each kind, in no order, and how many more there are. */
function sameRemarks(real: readonly string[], ours: readonly string[]): boolean {
  const shown = (texts: readonly string[]): string =>
    texts
      .filter((text) => !OMITTED.test(text))
      .map((text) => text.replace(COUNT, "over some samples"))
      .toSorted()
      .join();
  const count = (texts: readonly string[]): number =>
    texts.reduce((sum, text) => sum + Number(OMITTED.exec(text)?.[1] ?? 1), 0);
  if (count(real) !== count(ours)) return false;
  const isCut = [real, ours].some((texts) => texts.some((text) => OMITTED.test(text)));
  return isCut || shown(real) === shown(ours);
}

/** Where a remark is made within a subquery, Prometheus counts it many times, until the number overflows. */
const COUNT = /over -?\d+ samples/;
const OMITTED = /^(\d+) more \w+ annotations omitted$/;

/** Which group, and which of its series, a message tells depends on the order of the store. */
function canonicalError(text: string): string {
  return text.replace(/match group \{.*?\} on/, "match group {...} on").replace(/: \[\{.*\}\];/, ": [...];");
}

function isClose(a: number, b: number, { tolerance, scale = 0 }: Comparison): boolean {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return false;
  return Math.abs(a - b) <= tolerance * Math.max(Math.abs(a), Math.abs(b), scale);
}

function seriesDifference(
  real: readonly OutcomeSeries[],
  ours: readonly OutcomeSeries[],
  how: Comparison,
): string | undefined {
  const wanted = new Map(real.map((each) => [each.labels.key, each]));
  for (const [i, each] of ours.entries()) {
    const other = wanted.get(each.labels.key);
    if (!other) return `unexpected ${each.labels.toString()}`;
    wanted.delete(each.labels.key);
    const name = each.labels.toString();
    if (each.times.join() !== other.times.join()) {
      return `${name}: at ${each.times.join()}, and the real one at ${other.times.join()}`;
    }
    const at = each.values.findIndex((value, j) => !isClose(other.values[j]!, value, how));
    if (at >= 0)
      return `${name} at ${each.times[at]}: ${each.values[at]}, and the real one ${other.values[at]}`;
    const histogram = histogramDifference(other, each, how);
    if (histogram !== undefined) return `${name} ${histogram}`;
    const isFloat = each.values.length > 0;
    if (how.ordered === true && isFloat && !isClose(real[i]!.values[0]!, each.values[0]!, how)) {
      return `${name} is not in its place`;
    }
  }
  const [missing] = wanted.values();
  return missing && `missing ${missing.labels.toString()}`;
}

function histogramDifference(real: OutcomeSeries, ours: OutcomeSeries, how: Comparison): string | undefined {
  const text = ({ histograms }: OutcomeSeries): string =>
    histograms.map(({ time, numbers }) => `${time}: ${numbers.join()}`).join("; ");
  const isSame =
    real.histograms.length === ours.histograms.length &&
    real.histograms.every(({ time, numbers }, i) => {
      const other = ours.histograms[i]!;
      return (
        time === other.time &&
        numbers.length === other.numbers.length &&
        numbers.every((value, k) => isClose(value, other.numbers[k]!, how))
      );
    });
  return isSame ? undefined : `histograms ${text(ours)}, and the real one ${text(real)}`;
}

/** At each time the same values, whichever series have them. */
function tiesDifference(
  real: readonly OutcomeSeries[],
  ours: readonly OutcomeSeries[],
  how: Comparison,
): string | undefined {
  if (seriesDifference(real, ours, how) === undefined) return undefined;
  const [a, b] = [byTime(real), byTime(ours)];
  const times = new Set([...a.keys(), ...b.keys()]);
  for (const time of times) {
    const [x, y] = [a.get(time) ?? [], b.get(time) ?? []];
    if (x.length !== y.length || x.some((value, i) => !isClose(value, y[i]!, how))) {
      return `${y.join()} at ${time}, and the real one ${x.join()}`;
    }
  }
  return undefined;
}

function byTime(series: readonly OutcomeSeries[]): Map<number, number[]> {
  const values = new Map<number, number[]>();
  for (const each of series) {
    for (const [i, time] of each.times.entries()) {
      values.set(time, [...(values.get(time) ?? []), each.values[i]!]);
    }
  }
  // NaN is the last one.
  for (const all of values.values())
    all.sort((x, y) => (Number.isNaN(x) ? 1 : 0) - (Number.isNaN(y) ? 1 : 0) || x - y);
  return values;
}
