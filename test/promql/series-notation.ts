import type { FloatHistogram, ResetHint } from "#promql/histogram.ts";
import { add } from "#promql/histogram-math.ts";
import { Labels, METRIC_NAME } from "#promql/labels.ts";
import { parseNumber, unquote } from "#promql/literals.ts";
import { Tokens } from "#promql/tokens.ts";

/** A point of a series in a test file. */
export type Point = undefined | "stale" | number | HistogramPoint;

export interface HistogramPoint {
  histogram: FloatHistogram;
  /** The test says what the hint is. */
  hasHint: boolean;
}

export interface SeriesLine {
  labels: Labels;
  points: Point[];
}

const PLAIN_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;

/** `name{label="value"} 1 2+3x4 _ stale`. Throws an Error with the line when it is none. */
export function parseSeriesLine(line: string): SeriesLine {
  const name = PLAIN_NAME.exec(line)?.[0] ?? "";
  const rest = line.slice(name.length);
  const { labels, end } = rest.startsWith("{") ? parseLabels(rest) : { labels: [], end: 0 };
  if (name !== "") labels.push([METRIC_NAME, name]);
  return { labels: Labels.of(labels), points: parsePoints(rest.slice(end)) };
}

function parseLabels(text: string): { labels: [string, string][]; end: number } {
  const tokens = new Tokens(text);
  tokens.next();
  const labels: [string, string][] = [];
  for (;;) {
    const name = tokens.next();
    if (name.type === "}") return { labels, end: name.end };
    if (name.type === ",") continue;
    const label = name.kind === "string" ? unquote(name.text) : name.text;
    const sign = tokens.next();
    if (sign.type === "}" || sign.type === ",") labels.push([METRIC_NAME, label]);
    if (sign.type === "}") return { labels, end: sign.end };
    if (sign.type === ",") continue;
    if (sign.type !== "=") throw new Error(`no labels: ${text}`);
    labels.push([label, unquote(tokens.next().text)]);
  }
}

const ITEM = /\{\{.*?\}\}(?:[+-]\{\{.*?\}\})?(?:x\d+)?|\S+/g;
const NUMBER = String.raw`(?:Inf|NaN|inf|nan|\d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)`;
const FLOATS = new RegExp(`^([+-]?${NUMBER})([+-]${NUMBER})?(?:x(\\d+))?$`);
const HISTOGRAMS = /^\{\{(.*?)\}\}(?:([+-])\{\{(.*?)\}\})?(?:x(\d+))?$/;

function parsePoints(text: string): Point[] {
  return (text.match(ITEM) ?? []).flatMap((item) => parseItem(item));
}

function parseItem(item: string): Point[] {
  const blanks = /^_(?:x(\d+))?$/.exec(item);
  if (blanks) return Array.from({ length: Number(blanks[1] ?? 1) });
  const stale = /^stale(?:x(\d+))?$/.exec(item);
  if (stale) return Array.from({ length: 1 + Number(stale[1] ?? 0) }, (): Point => "stale");
  const histograms = HISTOGRAMS.exec(item);
  if (histograms) return histogramPoints(histograms);
  const [whole, first, change, times] = FLOATS.exec(item) ?? [];
  if (whole === undefined) throw new Error(`no points: ${item}`);
  let value = signed(first!);
  const step = change === undefined ? 0 : signed(change);
  return Array.from({ length: 1 + Number(times ?? 0) }, () => {
    const point = value;
    value += step;
    return point;
  });
}

function signed(text: string): number {
  const number = parseNumber(text.replace(/^[+-]/, ""));
  if ("problem" in number) throw new Error(number.problem);
  return text.startsWith("-") ? -number.value : number.value;
}

function histogramPoints([, text, sign, change, times]: RegExpExecArray): Point[] {
  let point = parseHistogram(text!);
  const step = change === undefined ? undefined : parseHistogram(change);
  const points = [point];
  for (let i = 0; i < Number(times ?? 0); i++) {
    if (step) {
      const sum = add(point.histogram, step.histogram, sign === "-" ? -1 : 1);
      if (!sum) throw new Error(`these histograms can't be added: ${text}, ${change}`);
      const { hint } = point.histogram;
      point = { histogram: { ...sum.histogram, hint }, hasHint: step.hasHint };
    }
    points.push(point);
  }
  return points;
}

const HINTS: Readonly<Record<string, ResetHint>> = {
  unknown: "unknown",
  reset: "reset",
  not_reset: "no_reset",
  gauge: "gauge",
};

function parseHistogram(text: string): HistogramPoint {
  const fields = new Map<string, string>();
  for (const [, key, value] of text.matchAll(/(\w+):(\[[^\]]*\]|\S+)/g)) fields.set(key!, value!);
  const number = (key: string): number => signed(fields.get(key) ?? "0");
  const numbers = (key: string): number[] =>
    (fields.get(key) ?? "").match(/[^\s[\]]+/g)?.map((each) => signed(each)) ?? [];
  const [positive, negative] = [numbers("buckets"), numbers("n_buckets")];
  const span = (offset: string, { length }: number[]): { offset: number; length: number }[] =>
    length === 0 ? [] : [{ offset: number(offset), length }];
  const custom = numbers("custom_values");
  const hint = fields.get("counter_reset_hint");
  const histogram: FloatHistogram = {
    schema: number("schema"),
    count: number("count"),
    sum: number("sum"),
    zeroThreshold: number("z_bucket_w"),
    zeroCount: number("z_bucket"),
    positiveSpans: span("offset", positive),
    positiveBuckets: positive,
    negativeSpans: span("n_offset", negative),
    negativeBuckets: negative,
    ...(fields.has("custom_values") && { customValues: custom }),
    hint: hint === undefined ? "unknown" : HINTS[hint]!,
  };
  return { histogram, hasHint: hint !== undefined };
}
