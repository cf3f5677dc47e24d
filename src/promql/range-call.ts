import type { Call, MatrixSelector, Position, Subquery } from "./ast.ts";
import { type Evaluation, failed, giveWay, unwrap } from "./evaluation.ts";
import { emptySeries, timeAt, type VectorSeries } from "./grid.ts";
import { type Labels, METRIC_NAME, quote } from "./labels.ts";
import { mayHaveSeveralNames } from "./metric-names.ts";
import { absentLabels } from "./absent.ts";
import { refuseSameLabels } from "./same-labels.ts";
import { RANGE_FUNCTIONS, type RangeFunction } from "./range-functions.ts";
import { HISTOGRAM_RANGE_FUNCTIONS, type OfHistograms } from "./range-histograms.ts";
import {
  computedBySource,
  Batches,
  type LookTimes,
  type RangeSeries,
  lookTimes,
  onlySamples,
  rangeSamples,
  toVectorSeries,
} from "./selectors.ts";
import type { Grid, GridSeries } from "./source.ts";
import { Window } from "./window.ts";

/** Samples that a function may look at before the event loop gets its turn: a few milliseconds. */
const SLICE_SAMPLES = 200_000;

const COUNTER_SUFFIXES = ["_total", "_sum", "_count", "_bucket"];

/** The call's range argument, if it has one. */
export function rangeArgument(call: Call): MatrixSelector | Subquery | undefined {
  for (const arg of call.args) {
    const inner = unwrap(arg);
    if (inner.kind === "matrix_selector" || inner.kind === "subquery") return inner;
  }
  return undefined;
}

/** A function of a range, series by series. */
export async function* streamRangeCall(
  run: Evaluation,
  call: Call,
  range: MatrixSelector | Subquery,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  const batches = inBatches(run, grid, rangeCallSeries(run, call, range, grid));
  const func = functionOf(call);
  const mayRepeat = !func.keepsName && mayHaveSeveralNames(range);
  if (!mayRepeat || run.delayedNameRemoval) {
    yield* batches;
    return;
  }
  const all: VectorSeries[] = [];
  for await (const batch of batches) all.push(...batch);
  await refuseSameLabels(run, all);
  yield all;
}

function functionOf(call: Call): RangeFunction {
  const func = RANGE_FUNCTIONS.get(call.func);
  if (!func) throw failed(`unknown function with name "${call.func}"`);
  return func;
}

async function* rangeCallSeries(
  run: Evaluation,
  call: Call,
  range: MatrixSelector | Subquery,
  grid: Grid,
): AsyncGenerator<VectorSeries> {
  const func = functionOf(call);
  const ofHistograms = HISTOGRAM_RANGE_FUNCTIONS.get(call.func);
  const scalars: Float64Array[] = [];
  for (const arg of call.args) if (unwrap(arg) !== range) scalars.push(await run.scalar(arg, grid));
  const timing = range.kind === "subquery" ? range : range.selector;
  const look = lookTimes(run, timing, grid);
  const mayCompute = range.kind === "matrix_selector" && scalars.length === 0;
  const computed = mayCompute
    ? computedBySource(run, call.func, range.selector, look, range.rangeMs)
    : undefined;
  const window = new Window(range.rangeMs, scalars.length, run.annotations, placeOf(call));
  const read: AsyncIterable<{ computed: readonly GridSeries[]; samples: readonly RangeSeries[] }> =
    computed ?? onlySamples(rangeSamples(run, range, grid));
  for await (const batch of read) {
    yield* computedSeries(run, call, batch.computed);
    for (const series of batch.samples) {
      const dropName = func.keepsName ? (series.dropName ?? false) : true;
      const out = emptySeries(labelsOf(run, func, series.labels), grid.count, dropName);
      window.begin(series);
      if (func.counts) window.counts = func.counts(window.values);
      let step = 0;
      while (step < grid.count) {
        step = computeSteps(func, ofHistograms, window, scalars, grid, look, step, out);
        await giveWay(run);
      }
      remarkNoCounter(run, call, series.labels, out);
      yield out;
    }
  }
}

async function* computedSeries(
  run: Evaluation,
  call: Call,
  computed: readonly GridSeries[],
): AsyncGenerator<VectorSeries> {
  const func = functionOf(call);
  for (const given of computed) {
    const series = toVectorSeries(given);
    remarkNoCounter(run, call, given.labels, series);
    series.labels = labelsOf(run, func, given.labels);
    series.dropName = !func.keepsName;
    yield series;
    await giveWay(run);
  }
}

function labelsOf(run: Evaluation, func: RangeFunction, labels: Labels): Labels {
  return func.keepsName || run.delayedNameRemoval ? labels : labels.withoutMetadata();
}

/** Computes steps from `from` on until a slice of samples was looked at; returns the next step. */
function computeSteps(
  func: RangeFunction,
  ofHistograms: OfHistograms | undefined,
  window: Window,
  scalars: readonly Float64Array[],
  grid: Grid,
  look: LookTimes,
  from: number,
  out: VectorSeries,
): number {
  let looked = 0;
  let step = from;
  for (; step < grid.count && looked < SLICE_SAMPLES; step++) {
    window.moveTo(timeAt(grid, step), look.startMs + step * look.stepMs);
    const floats = window.last - window.first;
    const histograms = window.lastHistogram - window.firstHistogram;
    looked += 1 + floats + 32 * histograms;
    if (floats + histograms === 0) continue;
    for (let i = 0; i < scalars.length; i++) window.scalars[i] = scalars[i]![step]!;
    window.isNone = false;
    window.histogram = undefined;
    const value = histograms > 0 && ofHistograms ? ofHistograms(window) : func.ofFloats(window);
    if (window.isNone) continue;
    out.present[step] = 1;
    if (window.histogram) (out.histograms ??= Array.from({ length: grid.count }))[step] = window.histogram;
    else out.values[step] = value;
  }
  return step;
}

/** What remarks are about: the first argument. Prometheus has no place of a subquery. */
function placeOf(call: Call): Position {
  const first = unwrap(call.args[0]!);
  return first.kind === "subquery" ? { start: 0, end: 0 } : first;
}

function remarkNoCounter(run: Evaluation, call: Call, labels: Labels, out: VectorSeries): void {
  if (call.func !== "rate" && call.func !== "increase") return;
  const metric = labels.get(METRIC_NAME);
  if (metric === "" || COUNTER_SUFFIXES.some((suffix) => metric.endsWith(suffix))) return;
  const hasFloat = out.present.some((is, step) => is === 1 && !out.histograms?.[step]);
  if (!hasFloat) return;
  run.annotations.inform(
    `metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${quote(metric)}`,
    placeOf(call),
  );
}

async function* inBatches(
  run: Evaluation,
  grid: Grid,
  series: AsyncIterable<VectorSeries>,
): AsyncGenerator<VectorSeries[]> {
  const batches = new Batches(run, grid);
  for await (const one of series) {
    const full = batches.add(one);
    if (full) yield full;
  }
  const rest = batches.rest();
  if (rest.length > 0) yield rest;
}

/** absent_over_time: 1 at the times when no series has a sample in its range. */
export async function* streamAbsentOverTime(
  run: Evaluation,
  call: Call,
  range: MatrixSelector | Subquery,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  const labels = range.kind === "subquery" ? absentLabels(range) : absentLabels(range.selector);
  const absent = emptySeries(labels, grid.count, true);
  absent.values.fill(1);
  absent.present.fill(1);
  for await (const { present } of rangeCallSeries(run, call, range, grid))
    for (let i = 0; i < grid.count; i++) if (present[i] === 1) absent.present[i] = 0;
  const batches = new Batches(run, grid);
  batches.add(absent);
  yield batches.rest();
}
