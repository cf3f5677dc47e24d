import { createTurns, type Turns } from "#lib/turns.ts";
import { Annotations } from "./annotations.ts";
import type { Expr, ValueType } from "./ast.ts";
import { childrenOf } from "./children.ts";
import { createBudget, type BudgetLimits, type QueryBudget } from "./budget.ts";
import { resolveDurations } from "./durations.ts";
import { selectorsWithoutBuckets } from "./derived-hints.ts";
import { PromqlError } from "./error.ts";
import { evaluateScalar, streamExpr } from "./evaluate.ts";
import { type Evaluation, giveWay, type QueryStats, unwrap } from "./evaluation.ts";
import { isEmpty, oneTime, timeAt, type VectorSeries } from "./grid.ts";
import type { FloatHistogram } from "./histogram.ts";
import { Labels } from "./labels.ts";
import { mergeSameLabels } from "./same-labels.ts";
import { prepare } from "./prepare.ts";
import { rangeSamples } from "./selectors.ts";
import { sortInTurns } from "./sort-in-turns.ts";
import { SharedVectors } from "./shared-vectors.ts";
import type { Grid, SampleSource, Series } from "./source.ts";
import { typeOf } from "./value-type.ts";

/** Samples of one series, oldest first. Its arrays may be shared among series: they are not to be written. */
export interface ResultSeries {
  labels: Labels;
  /** ms since 1970. */
  times: Float64Array;
  values: Float64Array;
  /** The sample's native histogram instead of its value. Absent: all are floats. */
  histograms?: readonly (FloatHistogram | undefined)[];
}

export type QueryValue =
  | { type: "scalar"; timeMs: number; value: number }
  | { type: "string"; timeMs: number; value: string }
  /** One sample each, in Prometheus' order where it has one (sort, topk ...). */
  | { type: "vector"; timeMs: number; series: ResultSeries[] }
  /** By labels; each series has a sample. */
  | { type: "matrix"; series: ResultSeries[] };

export type QueryResult = QueryValue & { warnings: string[]; infos: string[]; stats: QueryStats };

export interface QueryOptions {
  /** How old an instant selector's sample may be; 5 minutes. */
  lookbackMs?: number;
  /** What the query may hold; else one of the engine's limits. */
  budget?: QueryBudget;
  /** The query's text, for the places that warnings and infos name. */
  text?: string;
}

export interface EngineSettings {
  limits: BudgetLimits;
  lookbackMs?: number;
  /** The step of subqueries without one: Prometheus' evaluation interval, 1 minute. */
  subqueryStepMs?: number;
  /** As Prometheus' feature promql-delayed-name-removal: off by default. */
  delayedNameRemoval?: boolean;
}

/** Evaluates parsed queries. Errors are PromqlError with Prometheus' texts, those of the source, and the signal's reason. */
export interface Engine {
  instant(expr: Expr, timeMs: number, options: QueryOptions, signal: AbortSignal): Promise<QueryResult>;
  /** At startMs, startMs + stepMs ... until endMs. Always a matrix. */
  range(
    expr: Expr,
    times: { startMs: number; endMs: number; stepMs: number },
    options: QueryOptions,
    signal: AbortSignal,
  ): Promise<QueryResult>;
}

const LOOKBACK_MS = 5 * 60_000;
const SUBQUERY_STEP_MS = 60_000;

const TYPE_NAMES: Record<ValueType, string> = {
  scalar: "scalar",
  string: "string",
  vector: "instant vector",
  matrix: "range vector",
};

/** `turns`: shares the event loop with all else that works long. */
export function createEngine(
  deps: { source: SampleSource; turns?: Turns },
  settings: EngineSettings,
): Engine {
  const turns = deps.turns ?? createTurns();
  const begin = (
    expr: Expr,
    range: [startMs: number, endMs: number],
    options: QueryOptions,
    signal: AbortSignal,
  ): Evaluation => {
    const budget = options.budget ?? createBudget(settings.limits);
    const run: Evaluation = {
      source: deps.source,
      budget,
      shared: new SharedVectors(expr, budget),
      withoutBuckets: selectorsWithoutBuckets(expr),
      signal,
      annotations: new Annotations(),
      stats: { reads: [] },
      lookbackMs: options.lookbackMs ?? settings.lookbackMs ?? LOOKBACK_MS,
      subqueryStepMs: settings.subqueryStepMs ?? SUBQUERY_STEP_MS,
      delayedNameRemoval: settings.delayedNameRemoval ?? false,
      startMs: range[0],
      endMs: range[1],
      pause: () => turns.pause(),
      stream: (expr, grid) => streamExpr(run, expr, grid),
      vector: (expr, grid) => collect(run, expr, grid),
      scalar: (expr, grid) => evaluateScalar(run, expr, grid),
    };
    return run;
  };
  const finish = (run: Evaluation, options: QueryOptions, value: QueryValue): QueryResult => ({
    ...value,
    ...run.annotations.texts(options.text),
    stats: run.stats,
  });
  return {
    instant: async (expr, timeMs, options, signal) => {
      resolveDurations(expr, { stepMs: 0, rangeMs: 0 });
      const run = begin(expr, [timeMs, timeMs], options, signal);
      await prepare(run, expr, oneTime(timeMs));
      return finish(run, options, await instantValue(run, expr, timeMs));
    },
    range: async (expr, { startMs, endMs, stepMs }, options, signal) => {
      const type = typeOf(expr);
      if (type === "string" || type === "matrix")
        throw new PromqlError(
          "bad_data",
          `invalid expression type "${TYPE_NAMES[type]}" for range query, must be Scalar or instant Vector`,
        );
      resolveDurations(expr, { stepMs, rangeMs: endMs - startMs });
      const run = begin(expr, [startMs, endMs], options, signal);
      const grid = {
        startMs,
        stepMs,
        count: endMs < startMs ? 0 : Math.floor((endMs - startMs) / stepMs) + 1,
      };
      await prepare(run, expr, grid);
      return finish(run, options, await rangeValue(run, expr, type, grid));
    },
  };
}

async function collect(run: Evaluation, expr: Expr, grid: Grid): Promise<VectorSeries[]> {
  const all: VectorSeries[] = [];
  for await (const batch of run.stream(expr, grid)) for (const series of batch) all.push(series);
  return all;
}

async function instantValue(run: Evaluation, expr: Expr, timeMs: number): Promise<QueryValue> {
  const inner = unwrap(expr);
  const grid = oneTime(timeMs);
  if (inner.kind === "string") return { type: "string", timeMs, value: inner.value };
  if (inner.kind === "matrix_selector" || inner.kind === "subquery") {
    const series: ResultSeries[] = [];
    for await (const batch of rangeSamples(run, inner, grid)) {
      for (const one of batch) {
        const samples = withoutMarkers(one);
        if (samples.times.length === 0) continue;
        run.budget.add(samples.times.length);
        series.push(samples);
      }
      await giveWay(run);
    }
    await sortInTurns(run, series, byLabels);
    return { type: "matrix", series };
  }
  if (typeOf(inner) === "scalar") {
    const [value = NaN] = await run.scalar(inner, grid);
    return { type: "scalar", timeMs, value };
  }
  const series = await toResults(run, await run.vector(inner, grid), Float64Array.of(timeMs));
  // Elsewhere Prometheus has no order that means anything.
  if (!isOrdered(inner)) await sortInTurns(run, series, byLabels);
  return { type: "vector", timeMs, series };
}

async function rangeValue(run: Evaluation, expr: Expr, type: ValueType, grid: Grid): Promise<QueryValue> {
  if (grid.count === 0) return { type: "matrix", series: [] };
  if (type === "scalar") {
    const values = await run.scalar(expr, grid);
    return { type: "matrix", series: [{ labels: Labels.EMPTY, times: timesOf(grid), values }] };
  }
  const vector = await run.vector(expr, grid);
  const series = await toResults(run, vector, timesOf(grid));
  await sortInTurns(run, series, byLabels);
  return { type: "matrix", series };
}

function timesOf(grid: Grid): Float64Array {
  return Float64Array.from({ length: grid.count }, (_none, step) => timeAt(grid, step));
}

/** Does the query ask for an order? */
function isOrdered(expr: Expr): boolean {
  const isSort = expr.kind === "call" && expr.func.startsWith("sort");
  const isRank = expr.kind === "aggregation" && (expr.op === "topk" || expr.op === "bottomk");
  return isSort || isRank || childrenOf(expr).some(isOrdered);
}

async function toResults(
  run: Evaluation,
  series: VectorSeries[],
  times: Float64Array,
): Promise<ResultSeries[]> {
  const results: ResultSeries[] = [];
  for (const one of await withNames(run, series)) {
    if (!isEmpty(one)) results.push(toResult(one, times));
    await giveWay(run);
  }
  return results;
}

function byLabels(a: ResultSeries, b: ResultSeries): number {
  return Labels.compare(a.labels, b.labels);
}

/** Removes names whose removal was put off. */
async function withNames(run: Evaluation, series: VectorSeries[]): Promise<VectorSeries[]> {
  if (!run.delayedNameRemoval) return series;
  for (const one of series) if (one.dropName) one.labels = one.labels.withoutMetadata();
  return mergeSameLabels(run, series);
}

/** Without the times that have no value; `times`: of the grid. */
function toResult({ labels, values, present, histograms }: VectorSeries, times: Float64Array): ResultSeries {
  let count = 0;
  for (let i = 0; i < present.length; i++) count += present[i]!;
  if (count === present.length) return { labels, times, values, ...(histograms && { histograms }) };
  const is = (_value: unknown, i: number): boolean => present[i] === 1;
  return {
    labels,
    times: times.filter(is),
    values: values.filter(is),
    ...(histograms && { histograms: histograms.filter(is) }),
  };
}

function withoutMarkers({ labels, times, values, stale, histograms }: Series): ResultSeries {
  if (!stale?.includes(1)) return { labels, times, values, ...(histograms && { histograms }) };
  const is = (_value: unknown, i: number): boolean => stale[i] === 0;
  return {
    labels,
    times: times.filter(is),
    values: values.filter(is),
    ...(histograms && { histograms: histograms.filter(is) }),
  };
}
