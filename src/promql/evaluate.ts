import { aggregate, type CreateFold, type OfHistograms } from "./aggregate.ts";
import type { Aggregation, AggregationName, BinaryExpr, Call, Expr, UnaryExpr } from "./ast.ts";
import { tooManySamples } from "./budget.ts";
import { histogramCall } from "./classic-histograms.ts";
import { withoutNames } from "./dropped-names.ts";
import { PromqlError } from "./error.ts";
import { type Evaluation, failed, giveWay } from "./evaluation.ts";
import * as folds from "./folds.ts";
import { broadcast, oneTime, releaseSeries, timeAt, type VectorSeries } from "./grid.ts";
import { multiply } from "./histogram-math.ts";
import { isStepInvariant } from "./invariant.ts";
import { quote } from "./labels.ts";
import { changesMetric, isSetOperator, isTrim, operation } from "./operators.ts";
import { rangeArgument, streamAbsentOverTime, streamRangeCall } from "./range-call.ts";
import { rank } from "./ranking.ts";
import { mergeSameLabels } from "./same-labels.ts";
import { Batches, streamSelector } from "./selectors.ts";
import type { Grid } from "./source.ts";
import { countValues, quantileOf } from "./value-aggregations.ts";
import { typeOf } from "./value-type.ts";
import { scalarOf, streamVectorCall } from "./vector-functions.ts";
import { streamVectorScalar } from "./vector-scalar.ts";
import { setOperation, vectorVector } from "./vector-vector.ts";

type Stream = AsyncGenerator<VectorSeries[]>;

/** Steps of a grid, as of a subquery: one series of them takes 45 MB, and the event loop for about 20 ms. */
const STEPS_MAX = 5_000_000;

/** Before arrays of its length are made: one series of the grid has to fit into the budget. */
function checkGrid(run: Evaluation, { count }: Grid): void {
  if (count > STEPS_MAX) throw tooManySamples();
  run.budget.add(count);
  run.budget.release(count);
}

/** Evaluation of a node: by its kind. */
export async function* streamExpr(run: Evaluation, expr: Expr, grid: Grid): Stream {
  run.signal.throwIfAborted();
  checkGrid(run, grid);
  if (grid.count > 1 && expr.kind !== "paren" && isStepInvariant(expr)) yield* repeated(run, expr, grid);
  else yield* streamNode(run, expr, grid);
}

/** What is the same at each step, evaluated at the first. */
async function* repeated(run: Evaluation, expr: Expr, grid: Grid): Stream {
  const batches = new Batches(run, grid);
  for await (const batch of streamNode(run, expr, oneTime(grid.startMs))) {
    releaseSeries(run.budget, batch);
    for (const series of batch) {
      const full = batches.add(broadcast(series, grid.count));
      if (full) yield full;
      await giveWay(run);
    }
  }
  const rest = batches.rest();
  if (rest.length > 0) yield rest;
}

function streamNode(run: Evaluation, expr: Expr, grid: Grid): Stream {
  switch (expr.kind) {
    case "paren":
      return streamExpr(run, expr.expr, grid);
    case "vector_selector":
      return run.shared.stream(expr, grid, () => streamSelector(run, expr, grid));
    case "unary":
      return streamUnary(run, expr, grid);
    case "binary":
      return streamBinary(run, expr, grid);
    case "aggregation":
      return whole(aggregation(run, expr, grid));
    case "call":
      return streamCall(run, expr, grid);
    case "number":
    case "string":
    case "matrix_selector":
    case "subquery":
  }
  throw new Error(`assertion failed: a ${expr.kind} is no vector`);
}

async function* whole(series: Promise<VectorSeries[]>): Stream {
  const all = await series;
  if (all.length > 0) yield all;
}

async function* streamUnary(run: Evaluation, { op, expr }: UnaryExpr, grid: Grid): Stream {
  if (op === "+") {
    yield* run.stream(expr, grid);
    return;
  }
  const all = await run.vector(expr, grid);
  for (const series of all) {
    for (let i = 0; i < grid.count; i++) series.values[i] = -series.values[i]!;
    series.histograms = series.histograms?.map((histogram) => histogram && multiply(histogram, -1));
    if (!run.delayedNameRemoval) series.labels = series.labels.withoutMetadata();
    series.dropName = true;
    await giveWay(run);
  }
  const merged = await mergeSameLabels(run, all);
  if (merged.length > 0) yield merged;
}

function streamBinary(run: Evaluation, expr: BinaryExpr, grid: Grid): Stream {
  if (isSetOperator(expr.op)) return whole(setOperation(run, expr, grid));
  const isScalar = { lhs: typeOf(expr.lhs) === "scalar", rhs: typeOf(expr.rhs) === "scalar" };
  if (isScalar.lhs || isScalar.rhs) {
    const results = streamVectorScalar(run, expr, isScalar.lhs, grid);
    const isKept = !changesMetric(expr.op) && !expr.isBool;
    return isKept ? results : withoutNames(run, isScalar.lhs ? expr.rhs : expr.lhs, results);
  }
  return whole(vectorVector(run, expr, grid));
}

function streamCall(run: Evaluation, call: Call, grid: Grid): Stream {
  const range = rangeArgument(call);
  if (range && call.func === "absent_over_time") return streamAbsentOverTime(run, call, range, grid);
  if (range) return run.shared.stream(call, grid, () => streamRangeCall(run, call, range, grid));
  if (call.func === "histogram_quantile" || call.func === "histogram_fraction")
    return whole(histogramCall(run, call, grid));
  const stream = streamVectorCall(run, call, grid);
  if (!stream) throw failed(`unknown function with name "${call.func}"`);
  return stream;
}

type Aggregate = (run: Evaluation, expr: Aggregation, grid: Grid) => Promise<VectorSeries[]>;

const folding =
  (fold: CreateFold, ofHistograms: OfHistograms = "ignore"): Aggregate =>
  (run, expr, grid) =>
    aggregate(run, expr, grid, fold, ofHistograms);

const AGGREGATES: Partial<Record<AggregationName, Aggregate>> = {
  sum: folding(folds.sum, "sum"),
  avg: folding(folds.avg, "avg"),
  count: folding(folds.count, "count"),
  min: folding(folds.min),
  max: folding(folds.max),
  group: folding(folds.group, "count"),
  stddev: folding(folds.stddev),
  stdvar: folding(folds.stdvar),
  topk: rank,
  bottomk: rank,
  quantile: quantileOf,
  count_values: countValues,
};

async function aggregation(run: Evaluation, expr: Aggregation, grid: Grid): Promise<VectorSeries[]> {
  const compute = AGGREGATES[expr.op];
  if (!compute) throw failed(`unknown aggregation "${expr.op}"`);
  return compute(run, expr, grid);
}

/** A scalar at each time of the grid. */
export async function evaluateScalar(run: Evaluation, expr: Expr, grid: Grid): Promise<Float64Array> {
  run.signal.throwIfAborted();
  checkGrid(run, grid);
  if (expr.kind === "number") return new Float64Array(grid.count).fill(expr.value);
  if (grid.count > 1 && isStepInvariant(expr)) {
    const [value = NaN] = await scalarNode(run, expr, oneTime(grid.startMs));
    return new Float64Array(grid.count).fill(value);
  }
  return scalarNode(run, expr, grid);
}

async function scalarNode(run: Evaluation, expr: Expr, grid: Grid): Promise<Float64Array> {
  switch (expr.kind) {
    case "number":
      return new Float64Array(grid.count).fill(expr.value);
    case "paren":
      return evaluateScalar(run, expr.expr, grid);
    case "unary": {
      const values = await evaluateScalar(run, expr.expr, grid);
      return expr.op === "-" ? values.map((value) => -value) : values;
    }
    case "binary":
      return scalarBinary(run, expr, grid);
    case "call":
      if (expr.func === "scalar") return scalarOf(run, expr, grid);
      if (expr.func === "pi") return new Float64Array(grid.count).fill(Math.PI);
      if (expr.func === "time")
        return Float64Array.from({ length: grid.count }, (_none, i) => timeAt(grid, i) / 1000);
      break;
    case "string":
    case "vector_selector":
    case "matrix_selector":
    case "subquery":
    case "aggregation":
  }
  throw new Error(`assertion failed: a ${expr.kind} is no scalar`);
}

async function scalarBinary(
  run: Evaluation,
  { op, lhs, rhs }: BinaryExpr,
  grid: Grid,
): Promise<Float64Array> {
  if (isSetOperator(op)) throw new Error("assertion failed: no set operation of scalars");
  if (isTrim(op)) {
    throw new PromqlError("execution", `operator ${quote(op)} not allowed for Scalar operations`);
  }
  const left = await evaluateScalar(run, lhs, grid);
  const right = await evaluateScalar(run, rhs, grid);
  const operate = operation(op);
  return left.map((value, i) => operate(value, right[i]!));
}
