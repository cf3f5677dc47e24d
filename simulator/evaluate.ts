import type { PrometheusVersion } from "./answer-format.ts";
import type { NativeHistogram } from "./native-histogram.ts";
import { overRange } from "./over-range.ts";
import type { AGGREGATES, Expression, SCALAR_OPERATORS, Selector } from "./promql.ts";
import { QueryError, tooManySamples } from "./query-error.ts";
import { larger, mean, quantile, smaller, sum } from "./reduce.ts";
import { labelValue, selectSeries } from "./select.ts";
import { compareLabels, createSampleBuffer, latestSample, readSamples } from "./series.ts";
import type { Horizon, Label, LatestSample, SampleBuffer, Scrapes, SimulatedSeries } from "./series.ts";
import { scrapedBy } from "./world.ts";
import type { ClusterWorld } from "./world.ts";

interface VectorItem {
  labels: readonly Label[];
  /** NaN where there is a histogram. */
  value: number;
  histogram?: NativeHistogram;
}

/**
 * The answer to an instant query. A matrix is not computed yet: `read` gives one series' samples at a time.
 */
export type InstantResult =
  | { type: "scalar"; value: number }
  | { type: "string"; value: string }
  | { type: "vector"; items: VectorItem[] }
  | { type: "matrix"; series: SimulatedSeries[]; read: (series: SimulatedSeries, out: SampleBuffer) => void };

export interface RangeSeries {
  labels: readonly Label[];
  timestamps: number[];
  values: number[];
}

export interface Engine {
  instant(expression: Expression, atMs: number): InstantResult;
  /** Evaluates at startMs, startMs + stepMs, ... up to endMs; sorted by labels. */
  range(expression: Expression, startMs: number, endMs: number, stepMs: number): RangeSeries[];
}

export interface EngineSettings {
  version: PrometheusVersion;
  replica: number;
  samplesMax: number;
  /** Default: it scrapes all targets. */
  scrapes?: Scrapes;
}

const LOOKBACK_MS = 300_000;

type StepValue = number | VectorItem[];

/** PromQL over a simulated cluster. Throws QueryError. */
export function createEngine(world: ClusterWorld, settings: EngineSettings): Engine {
  const { version, replica, samplesMax, scrapes } = settings;
  const openMs = version === 3 ? 1 : 0;
  const buffer = createSampleBuffer();

  const select = ({ matchers, offsetMs }: Selector, fromMs: number, toMs: number): SimulatedSeries[] => {
    const span = { fromMs: fromMs - offsetMs, toMs: scrapedBy(world.shape, toMs - offsetMs) };
    return selectSeries(world.metrics, matchers, span, version);
  };

  const horizonNow = (): Horizon => ({ ...world.horizon(replica), ...(scrapes ? { scrapes } : {}) });

  const instant = (expression: Expression, atMs: number): InstantResult => {
    const horizon = horizonNow();
    if (expression.kind === "text") return { type: "string", value: expression.value };
    if (expression.kind === "matrix") {
      const { selector, rangeMs } = expression;
      const toMs = atMs - selector.offsetMs;
      const fromMs = toMs - rangeMs + openMs;
      const read = (series: SimulatedSeries, out: SampleBuffer): void =>
        readSamples(series, fromMs, toMs, horizon, out);
      const series = select(selector, atMs - rangeMs, atMs).sort((a, b) => compareLabels(a.labels, b.labels));
      if (Number.isFinite(samplesMax)) {
        let samples = 0;
        for (const each of series) {
          read(each, buffer);
          samples += buffer.count;
          if (samples > samplesMax) throw tooManySamples();
        }
      }
      return { type: "matrix", series, read };
    }
    const value = createStepper(expression, { select, horizon, openMs, fromMs: atMs, toMs: atMs })(atMs);
    if (typeof value === "number") return { type: "scalar", value };
    if (value.length > samplesMax) throw tooManySamples();
    return { type: "vector", items: value };
  };

  const range = (expression: Expression, startMs: number, endMs: number, stepMs: number): RangeSeries[] => {
    if (expression.kind === "matrix" || expression.kind === "text") {
      const type = expression.kind === "matrix" ? "range vector" : "string";
      const problem = `invalid expression type "${type}" for range query, must be Scalar or instant Vector`;
      throw new QueryError(400, "bad_data", `invalid parameter "query": ${problem}`);
    }
    const horizon = horizonNow();
    const step = createStepper(expression, { select, horizon, openMs, fromMs: startMs, toMs: endMs });
    const found = new Map<string, RangeSeries>();
    let samples = 0;
    for (let atMs = startMs; atMs <= endMs; atMs += stepMs) {
      const value = step(atMs);
      const items = typeof value === "number" ? [{ labels: [], value }] : value;
      samples += items.length;
      if (samples > samplesMax) throw tooManySamples();
      // Native histograms are left out: the simulator's query_range answers numbers only.
      for (const item of items.filter(({ histogram }) => !histogram)) {
        const key = JSON.stringify(item.labels);
        const series = found.get(key) ?? { labels: item.labels, timestamps: [], values: [] };
        series.timestamps.push(atMs);
        series.values.push(item.value);
        found.set(key, series);
      }
    }
    return [...found.values()].sort((a, b) => compareLabels(a.labels, b.labels));
  };

  return { instant, range };
}

interface StepContext {
  select: (selector: Selector, fromMs: number, toMs: number) => SimulatedSeries[];
  horizon: Horizon;
  openMs: number;
  fromMs: number;
  toMs: number;
}

/** Prepares an expression once, so that each step only reads samples. */
function createStepper(expression: Expression, context: StepContext): (atMs: number) => StepValue {
  switch (expression.kind) {
    case "number":
      return () => expression.value;
    case "time":
      return (atMs) => atMs / 1000;
    case "selector":
      return instantStepper(expression, context, (sample) => sample.value, true);
    case "timestamp":
      return timestampStepper(expression.of, context);
    case "over-range":
      return rangeStepper(expression, context);
    case "over-steps":
      return stepsStepper(expression, context);
    case "label": {
      const { label, value } = expression;
      const of = createStepper(expression.of, context);
      return (atMs) =>
        vectorOf(of(atMs)).map((item) => ({
          ...item,
          labels: [...item.labels.filter(([name]) => name !== label), [label, value] as const].sort(
            ([a], [b]) => (a < b ? -1 : 1),
          ),
        }));
    }
    case "or":
    case "and": {
      const combined = expression.kind === "or" ? union : intersection;
      const left = createStepper(expression.left, context);
      const right = createStepper(expression.right, context);
      return (atMs) => combined(vectorOf(left(atMs)), vectorOf(right(atMs)));
    }
    case "vector": {
      const of = createStepper(expression.of, context);
      return (atMs) => [{ labels: [], value: scalarOf(of(atMs)) }];
    }
    case "negate": {
      const of = createStepper(expression.of, context);
      return (atMs) => mapValues(of(atMs), (value) => -value);
    }
    case "aggregate": {
      const of = createStepper(expression.of, context);
      return (atMs) => aggregate(expression, vectorOf(of(atMs)));
    }
    case "binary": {
      const left = createStepper(expression.left, context);
      const right = createStepper(expression.right, context);
      return (atMs) => combine(expression.operator, left(atMs), right(atMs));
    }
    case "matrix":
    case "subquery":
    case "text":
      break;
  }
  throw new QueryError(
    422,
    "execution",
    `the simulator does not evaluate a ${expression.kind} inside of an expression`,
  );
}

function instantStepper(
  selector: Selector,
  { select, horizon, openMs, fromMs, toMs }: StepContext,
  pick: (sample: LatestSample) => number,
  keepName: boolean,
): (atMs: number) => VectorItem[] {
  const all = select(selector, fromMs - LOOKBACK_MS, toMs);
  const labels = new Map(
    all.map((series) => [series, keepName ? series.labels : withoutName(series.labels)]),
  );
  return (atMs) => {
    const items: VectorItem[] = [];
    const untilMs = atMs - selector.offsetMs;
    for (const series of all) {
      const sample = latestSample(series, untilMs - LOOKBACK_MS + openMs, untilMs, horizon);
      if (!sample) continue;
      const item = { labels: labels.get(series) ?? [], value: pick(sample) };
      items.push(keepName && sample.histogram ? { ...item, histogram: sample.histogram } : item);
    }
    return items;
  };
}

function timestampStepper(of: Expression, context: StepContext): (atMs: number) => StepValue {
  if (of.kind === "selector") return instantStepper(of, context, (sample) => sample.timeMs / 1000, false);
  const inner = createStepper(of, context);
  return (atMs) => mapValues(inner(atMs), () => atMs / 1000);
}

function rangeStepper(
  { run, selector, rangeMs, quantile: q = 0 }: Extract<Expression, { kind: "over-range" }>,
  { select, horizon, openMs, fromMs, toMs }: StepContext,
): (atMs: number) => VectorItem[] {
  const all = select(selector, fromMs - rangeMs, toMs);
  const labels = new Map(
    all.map((series) => [series, run === "last_over_time" ? series.labels : withoutName(series.labels)]),
  );
  const buffer = createSampleBuffer();
  return (atMs) => {
    const items: VectorItem[] = [];
    const untilMs = atMs - selector.offsetMs;
    for (const series of all) {
      readSamples(series, untilMs - rangeMs + openMs, untilMs, horizon, buffer);
      if (run !== "count_over_time") dropHistograms(buffer);
      const value = overRange(run, buffer, { fromMs: untilMs - rangeMs, toMs: untilMs, q });
      if (value !== undefined) items.push({ labels: labels.get(series) ?? [], value });
    }
    return items;
  };
}

/** Of the functions over a range the simulator computes only the count over native histograms. */
function dropHistograms(buffer: SampleBuffer): void {
  if (buffer.histograms.length === 0) return;
  let kept = 0;
  for (let i = 0; i < buffer.count; i++) {
    if (buffer.histograms[i]) continue;
    buffer.timestamps[kept] = buffer.timestamps[i] ?? 0;
    buffer.values[kept++] = buffer.values[i] ?? 0;
  }
  buffer.count = kept;
  buffer.histograms.length = 0;
}

/** A function over an expression's values at the multiples of the step in the range. */
function stepsStepper(
  { run, of, rangeMs, stepMs }: Extract<Expression, { kind: "over-steps" }>,
  context: StepContext,
): (atMs: number) => VectorItem[] {
  const inner = createStepper(of, { ...context, fromMs: context.fromMs - rangeMs });
  return (atMs) => {
    const found = new Map<string, { labels: readonly Label[]; buffer: SampleBuffer }>();
    const fromMs = atMs - rangeMs;
    for (let at = Math.ceil((fromMs + context.openMs) / stepMs) * stepMs; at <= atMs; at += stepMs) {
      for (const { labels, value } of numbersOf(vectorOf(inner(at)))) {
        const key = JSON.stringify(withoutName(labels));
        const each = found.get(key) ?? { labels: withoutName(labels), buffer: createSampleBuffer() };
        found.set(key, each);
        if (each.buffer.count === each.buffer.timestamps.length) throw tooManySamples();
        each.buffer.timestamps[each.buffer.count] = at;
        each.buffer.values[each.buffer.count++] = value;
      }
    }
    return [...found.values()].flatMap(({ labels, buffer }) => {
      const value = overRange(run, buffer, { fromMs, toMs: atMs, q: 0 });
      return value === undefined ? [] : [{ labels, value }];
    });
  };
}

/** `or`: the items of the left side, and those of the right side with other labels. */
function union(left: readonly VectorItem[], right: readonly VectorItem[]): VectorItem[] {
  const known = new Set(left.map(keyOf));
  return [...left, ...right.filter((item) => !known.has(keyOf(item)))];
}

/** `and`: the items of the left side that have their labels in the right side. */
function intersection(left: readonly VectorItem[], right: readonly VectorItem[]): VectorItem[] {
  const known = new Set(right.map(keyOf));
  return left.filter((item) => known.has(keyOf(item)));
}

function keyOf({ labels }: VectorItem): string {
  return JSON.stringify(withoutName(labels));
}

function withoutName(labels: readonly Label[]): Label[] {
  return labels.filter(([name]) => name !== "__name__");
}

function scalarOf(value: StepValue): number {
  if (typeof value === "number") return value;
  throw new QueryError(
    400,
    "bad_data",
    'invalid parameter "query": expected type scalar, got instant vector',
  );
}

function vectorOf(value: StepValue): VectorItem[] {
  if (typeof value !== "number") return value;
  throw new QueryError(
    400,
    "bad_data",
    'invalid parameter "query": expected type instant vector, got scalar',
  );
}

/** The items without native histograms, which the simulator does not compute with. */
function numbersOf(items: readonly VectorItem[]): readonly VectorItem[] {
  return items.filter(({ histogram }) => !histogram);
}

function mapValues(value: StepValue, change: (value: number) => number): StepValue {
  if (typeof value === "number") return change(value);
  return numbersOf(value).map((item) => ({ labels: withoutName(item.labels), value: change(item.value) }));
}

const CALCULATE: Record<(typeof SCALAR_OPERATORS)[number], (a: number, b: number) => number> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a % b,
  "^": (a, b) => a ** b,
};

function combine(operator: (typeof SCALAR_OPERATORS)[number], left: StepValue, right: StepValue): StepValue {
  const calculate = CALCULATE[operator];
  if (typeof right === "number") return mapValues(left, (value) => calculate(value, right));
  if (typeof left === "number") return mapValues(right, (value) => calculate(left, value));
  throw new QueryError(422, "execution", "the simulator does not evaluate operators between two vectors");
}

const REDUCE: Record<(typeof AGGREGATES)[number], (values: number[], q: number) => number> = {
  sum,
  avg: mean,
  count: (values) => values.length,
  min: (values) => values.reduce(smaller),
  max: (values) => values.reduce(larger),
  group: () => 1,
  quantile: (values, q) => quantile(q, values),
};

function aggregate(
  { run, grouping, labels, quantile: q = 0 }: Extract<Expression, { kind: "aggregate" }>,
  items: readonly VectorItem[],
): VectorItem[] {
  const groups = new Map<string, { labels: Label[]; values: number[] }>();
  const by = [...labels].sort();
  for (const item of run === "count" || run === "group" ? items : numbersOf(items)) {
    const kept: Label[] =
      grouping === "without"
        ? withoutName(item.labels).filter(([name]) => !labels.includes(name))
        : by.map((name): Label => [name, labelValue(item.labels, name)]).filter(([, value]) => value !== "");
    const key = JSON.stringify(kept);
    const group = groups.get(key) ?? { labels: kept, values: [] };
    group.values.push(item.value);
    groups.set(key, group);
  }
  return [...groups.values()].map((group) => ({ labels: group.labels, value: REDUCE[run](group.values, q) }));
}
