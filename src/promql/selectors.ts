import type { MatrixSelector, Subquery, VectorSelector } from "./ast.ts";
import { withDerivedHints } from "./derived-hints.ts";
import { type Evaluation, giveWay, type QueryRead } from "./evaluation.ts";
import { emptySeries, endOf, isEmpty, releaseSeries, timeAt, type VectorSeries } from "./grid.ts";
import type { FloatHistogram } from "./histogram.ts";
import {
  type Grid,
  type GridBatch,
  type GridSeries,
  type SelectRequest,
  type Series,
  toWindows,
} from "./source.ts";

/** Slots of grids after which a batch is handed on, so that what a query holds at a time does not depend on the source's batches. */
const BATCH_SLOTS = 200_000;
const BATCH_SERIES = 1000;

/** The time that a selector or subquery looks at for one step of the grid. */
export interface LookTimes {
  startMs: number;
  /** 0 with `@`: each step looks at the same time. */
  stepMs: number;
  count: number;
}

export function lookTimes(
  run: Evaluation,
  timing: Pick<VectorSelector, "at" | "offsetMs">,
  grid: Grid,
): LookTimes {
  const { at, offsetMs } = timing;
  if (at === undefined) return { ...grid, startMs: grid.startMs - offsetMs };
  const atMs = at === "start" ? run.startMs : at === "end" ? run.endMs : at;
  return { startMs: atMs - offsetMs, stepMs: 0, count: grid.count };
}

/** Hints about resets are derived from all neighbours: then everything is needed. */
export function neededOf(
  run: Evaluation,
  selector: VectorSelector,
  look: LookTimes,
  rangeMs: number,
): Pick<SelectRequest, "windows"> {
  const windows = run.withoutBuckets.has(selector) ? undefined : toWindows(look, rangeMs);
  return windows ? { windows } : {};
}

/** Series of a selector, for the ranges before its look times. Batches are charged to the budget by the source, and released by it. */
async function* select(
  run: Evaluation,
  selector: VectorSelector,
  look: LookTimes,
  rangeMs: number,
): AsyncGenerator<readonly Series[]> {
  const { matchers } = selector;
  const [fromMs, toMs] = [look.startMs - rangeMs, endOf(look)];
  const read = beginRead(run, { matchers, fromMs, toMs, bySource: undefined });
  const isWithoutBuckets = run.withoutBuckets.has(selector);
  const request = { matchers, fromMs, toMs, ...neededOf(run, selector, look, rangeMs) };
  for await (const batch of run.source.select(request, run.budget, run.signal)) {
    run.signal.throwIfAborted();
    read.series += batch.length;
    run.budget.addSeries(batch.length);
    for (const { times } of batch) read.samples += times.length;
    yield isWithoutBuckets ? batch.map(withDerivedHints) : batch;
  }
}

/** What the source computes itself for the look times of a grid; undefined: it does not. */
export function computedBySource(
  run: Evaluation,
  func: string,
  selector: VectorSelector,
  look: LookTimes,
  rangeMs: number,
): AsyncGenerator<GridBatch> | undefined {
  // With `@`, all steps look at one time.
  if (look.stepMs === 0 && look.count > 1) return undefined;
  const grid = { ...look, stepMs: look.stepMs || 1 };
  const { matchers } = selector;
  const read = toRead({ matchers, fromMs: look.startMs - rangeMs, toMs: endOf(look), bySource: undefined });
  const request = { matchers, func, rangeMs, grid, ...neededOf(run, selector, look, rangeMs) };
  const answer = run.source.grids?.(request, run.budget, run.signal);
  if (!answer) return undefined;
  run.stats.reads.push(read);
  return counted(run, selector, func, read, answer);
}

async function* counted(
  run: Evaluation,
  selector: VectorSelector,
  func: string,
  read: QueryRead,
  answer: AsyncIterable<GridBatch>,
): AsyncGenerator<GridBatch> {
  for await (const { computed, samples } of answer) {
    run.signal.throwIfAborted();
    if (computed.length > 0) read.bySource = func;
    read.series += computed.length + samples.length;
    run.budget.addSeries(computed.length + samples.length);
    for (const { times } of samples) read.samples += times.length;
    const isWithoutBuckets = run.withoutBuckets.has(selector);
    yield { computed, samples: isWithoutBuckets ? samples.map(withDerivedHints) : samples };
  }
}

/** Samples that the engine computes from, as batches of which the source computed nothing. */
export async function* onlySamples<S extends Series>(
  batches: AsyncIterable<readonly S[]>,
): AsyncGenerator<{ computed: readonly GridSeries[]; samples: readonly S[] }> {
  for await (const samples of batches) yield { computed: [], samples };
}

type ReadTarget = Omit<QueryRead, "series" | "samples">;

function toRead(target: ReadTarget): QueryRead {
  return { ...target, series: 0, samples: 0 };
}

function beginRead(run: Evaluation, target: ReadTarget): QueryRead {
  const read = toRead(target);
  run.stats.reads.push(read);
  return read;
}

export function toVectorSeries({ labels, values, present, histograms }: GridSeries): VectorSeries {
  return { labels, values, present, histograms, dropName: false };
}

/** Gathers series into batches that are charged to the budget; empty series are dropped. */
export class Batches {
  readonly #run: Evaluation;
  readonly #count: number;
  #batch: VectorSeries[] = [];

  constructor(run: Evaluation, grid: Grid) {
    this.#run = run;
    this.#count = grid.count;
  }

  /** A batch that is full with this series. */
  add(series: VectorSeries): VectorSeries[] | undefined {
    if (isEmpty(series)) return undefined;
    this.#run.budget.add(this.#count);
    this.#batch.push(series);
    const isFull = this.#batch.length >= BATCH_SERIES || this.#batch.length * this.#count >= BATCH_SLOTS;
    return isFull ? this.rest() : undefined;
  }

  /** What was not handed on yet; may be empty. */
  rest(): VectorSeries[] {
    const batch = this.#batch;
    this.#batch = [];
    return batch;
  }
}

/** An instant selector: at each time the newest sample of the lookback, unless it is a stale marker. */
export function streamSelector(
  run: Evaluation,
  selector: VectorSelector,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  return selectorBatches(run, selector, grid, fillNewest);
}

/** The argument of timestamp(): the times of the samples, in seconds, instead of their values. */
export function streamSampleTimes(
  run: Evaluation,
  selector: VectorSelector,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  return selectorBatches(run, selector, grid, fillSampleTimes);
}

type Fill = (series: Series, look: LookTimes, lookbackMs: number, out: VectorSeries) => void;

async function* selectorBatches(
  run: Evaluation,
  selector: VectorSelector,
  grid: Grid,
  fill: Fill,
): AsyncGenerator<VectorSeries[]> {
  const look = lookTimes(run, selector, grid);
  const batches = new Batches(run, grid);
  const computed =
    fill === fillNewest ? computedBySource(run, "instant", selector, look, run.lookbackMs) : undefined;
  const read = computed ?? onlySamples(select(run, selector, look, run.lookbackMs));
  for await (const batch of read) {
    for (const series of batch.computed) {
      const full = batches.add(toVectorSeries(series));
      if (full) yield full;
    }
    await giveWay(run);
    for (const series of batch.samples) {
      const out = emptySeries(series.labels, grid.count);
      fill(series, look, run.lookbackMs, out);
      const full = batches.add(out);
      if (full) yield full;
      await giveWay(run);
    }
  }
  const rest = batches.rest();
  if (rest.length > 0) yield rest;
}

function fillNewest(series: Series, look: LookTimes, lookbackMs: number, out: VectorSeries): void {
  const { times, values, stale, histograms } = series;
  const { startMs, stepMs, count } = look;
  let next = 0;
  for (let step = 0; step < count; step++) {
    const timeMs = startMs + step * stepMs;
    while (next < times.length && times[next]! <= timeMs) next++;
    const newest = next - 1;
    if (newest < 0 || times[newest]! <= timeMs - lookbackMs || stale?.[newest] === 1) continue;
    out.present[step] = 1;
    const histogram = histograms?.[newest];
    if (histogram) (out.histograms ??= Array.from({ length: count }))[step] = histogram;
    else out.values[step] = values[newest]!;
  }
}

function fillSampleTimes(series: Series, look: LookTimes, lookbackMs: number, out: VectorSeries): void {
  const { times, stale } = series;
  let next = 0;
  for (let step = 0; step < look.count; step++) {
    const timeMs = look.startMs + step * look.stepMs;
    while (next < times.length && times[next]! <= timeMs) next++;
    const newest = next - 1;
    if (newest < 0 || times[newest]! <= timeMs - lookbackMs || stale?.[newest] === 1) continue;
    out.present[step] = 1;
    out.values[step] = times[newest]! / 1000;
  }
}

/** Samples of a range. `dropName`: of a subquery whose values are no longer those of the metric. */
export interface RangeSeries extends Series {
  dropName?: boolean;
}

/** The samples of a range selector or subquery for the ranges of all steps of the grid. */
export function rangeSamples(
  run: Evaluation,
  range: MatrixSelector | Subquery,
  grid: Grid,
): AsyncGenerator<readonly RangeSeries[]> {
  return range.kind === "subquery" ? subquerySamples(run, range, grid) : selectedSamples(run, range, grid);
}

function selectedSamples(
  run: Evaluation,
  range: MatrixSelector,
  grid: Grid,
): AsyncGenerator<readonly RangeSeries[]> {
  const look = lookTimes(run, range.selector, grid);
  return select(run, range.selector, look, range.rangeMs);
}

/** Evaluates the expression at multiples of the step, so that it does not depend on the query's start. */
async function* subquerySamples(
  run: Evaluation,
  range: Subquery,
  grid: Grid,
): AsyncGenerator<readonly RangeSeries[]> {
  const look = lookTimes(run, range, grid);
  const inner = subqueryGrid(look.startMs - range.rangeMs, endOf(look), range.stepMs ?? run.subqueryStepMs);
  if (inner.count === 0) return;
  for await (const batch of run.stream(range.expr, inner)) {
    yield batch.map((series) => toSamples(series, inner));
    releaseSeries(run.budget, batch);
  }
}

/** Multiples of the step with fromMs < time <= toMs. */
export function subqueryGrid(fromMs: number, toMs: number, stepMs: number): Grid {
  let startMs = stepMs * Math.trunc(fromMs / stepMs);
  if (startMs <= fromMs) startMs += stepMs;
  const count = toMs < startMs ? 0 : Math.floor((toMs - startMs) / stepMs) + 1;
  return { startMs, stepMs, count };
}

function toSamples(series: VectorSeries, grid: Grid): RangeSeries {
  const { present, values, histograms, dropName } = series;
  const steps: number[] = [];
  for (let i = 0; i < present.length; i++) if (present[i] === 1) steps.push(i);
  return {
    labels: series.labels,
    dropName,
    times: Float64Array.from(steps, (step) => timeAt(grid, step)),
    values: Float64Array.from(steps, (step) => values[step]!),
    ...(histograms && { histograms: steps.map((step) => withoutHint(histograms[step])) }),
  };
}

/** A subquery may leave out samples, or give one several times: what they say of resets does not hold among those that it gives. */
function withoutHint(histogram: FloatHistogram | undefined): FloatHistogram | undefined {
  const isSaid = histogram?.hint === "reset" || histogram?.hint === "no_reset";
  return isSaid ? { ...histogram, hint: "unknown" } : histogram;
}
