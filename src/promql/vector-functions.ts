import { absentLabels } from "./absent.ts";
import type { Call } from "./ast.ts";
import { withoutNames } from "./dropped-names.ts";
import { type Evaluation, giveWay, unwrap } from "./evaluation.ts";
import { emptySeries, isEmpty, timeAt, type VectorSeries } from "./grid.ts";
import { HISTOGRAM_FUNCTIONS, streamHistogramCall } from "./histogram-functions.ts";
import { labelJoin, labelReplace } from "./label-functions.ts";
import { Labels } from "./labels.ts";
import { streamSampleTimes } from "./selectors.ts";
import { mergeSameLabels } from "./same-labels.ts";
import { sortInTurns } from "./sort-in-turns.ts";
import type { Grid } from "./source.ts";
import { DATE_FUNCTIONS, VALUE_FUNCTIONS } from "./value-functions.ts";

type Stream = AsyncGenerator<VectorSeries[]>;

/** A function of an instant vector; undefined: there is none of that name here. */
export function streamVectorCall(run: Evaluation, call: Call, grid: Grid): Stream | undefined {
  const { func } = call;
  const named = (stream: Stream): Stream => withoutNames(run, call.args[0]!, stream);
  const compute = VALUE_FUNCTIONS.get(func);
  if (compute) {
    if (DATE_FUNCTIONS.has(func) && call.args.length === 0) return dateOfTime(run, compute, grid);
    return named(mapValues(run, call, grid, async () => (value) => compute(value)));
  }
  const ofHistogram = HISTOGRAM_FUNCTIONS.get(func);
  if (ofHistogram) return named(streamHistogramCall(run, call, ofHistogram, grid));
  switch (func) {
    case "clamp":
    case "clamp_min":
    case "clamp_max":
      return named(clamp(run, call, grid));
    case "round":
      return named(mapValues(run, call, grid, () => rounding(run, call, grid)));
    case "timestamp":
      return named(timestamp(run, call, grid));
    case "vector":
      return ofScalar(run, call, grid);
    case "absent":
      return absent(run, call, grid);
    case "sort":
    case "sort_desc":
      return sort(run, call, grid);
    case "label_replace":
    case "label_join":
      return relabel(run, call, grid);
    default:
      return undefined;
  }
}

type Map1 = (value: number, step: number) => number;

/** Computes another value of each float, series by series; the name goes. */
async function* mapValues(run: Evaluation, call: Call, grid: Grid, prepare: () => Promise<Map1>): Stream {
  const compute = await prepare();
  for await (const batch of run.stream(call.args[0]!, grid)) {
    const kept: VectorSeries[] = [];
    for (const series of batch) {
      const { values, present, histograms } = series;
      for (let i = 0; i < values.length; i++) {
        if (histograms?.[i]) present[i] = 0;
        else if (present[i] === 1) values[i] = compute(values[i]!, i);
      }
      series.histograms = undefined;
      dropName(run, series);
      if (histograms && isEmpty(series)) run.budget.release(grid.count);
      else kept.push(series);
      await giveWay(run);
    }
    if (kept.length > 0) yield kept;
  }
}

function dropName(run: Evaluation, series: VectorSeries): void {
  if (!run.delayedNameRemoval) series.labels = series.labels.withoutMetadata();
  series.dropName = true;
}

async function rounding(run: Evaluation, call: Call, grid: Grid): Promise<Map1> {
  const nearest = call.args[1] && (await run.scalar(call.args[1], grid));
  return (value, step) => {
    const inverse = 1 / (nearest ? nearest[step]! : 1);
    return Math.floor(value * inverse + 0.5) / inverse;
  };
}

/** Go's math.Max and math.Min: an infinity wins against NaN. */
function greater(a: number, b: number): number {
  return a === Infinity || b === Infinity ? Infinity : Math.max(a, b);
}

function less(a: number, b: number): number {
  return a === -Infinity || b === -Infinity ? -Infinity : Math.min(a, b);
}

async function* clamp(run: Evaluation, call: Call, grid: Grid): Stream {
  const bounds = await Promise.all(call.args.slice(1).map((arg) => run.scalar(arg, grid)));
  const lower = call.func === "clamp_max" ? undefined : bounds[0]!;
  const upper = call.func === "clamp_min" ? undefined : bounds.at(-1)!;
  const between = mapValues(run, call, grid, async () => (value, step) => {
    const min = lower ? lower[step]! : -Infinity;
    const max = upper ? upper[step]! : Infinity;
    return greater(min, less(max, value));
  });
  for await (const batch of between) {
    if (!lower || !upper) {
      yield batch;
      continue;
    }
    for (const { present } of batch)
      for (let i = 0; i < present.length; i++) if (upper[i]! < lower[i]!) present[i] = 0;
    const kept = batch.filter((series) => !isEmpty(series));
    run.budget.release((batch.length - kept.length) * grid.count);
    yield kept;
  }
}

/** Of a selector the times of its samples, else the time of evaluation. */
async function* timestamp(run: Evaluation, call: Call, grid: Grid): Stream {
  const arg = unwrap(call.args[0]!);
  const isSelector = arg.kind === "vector_selector";
  for await (const batch of isSelector ? streamSampleTimes(run, arg, grid) : run.stream(arg, grid)) {
    for (const series of batch) {
      if (!isSelector) for (let i = 0; i < grid.count; i++) series.values[i] = timeAt(grid, i) / 1000;
      series.histograms = undefined;
      dropName(run, series);
    }
    yield batch;
  }
}

/** One series without labels. */
async function* single(run: Evaluation, grid: Grid, series: VectorSeries): Stream {
  if (isEmpty(series)) return;
  run.budget.add(grid.count);
  yield [series];
}

async function* ofScalar(run: Evaluation, call: Call, grid: Grid): Stream {
  const values = await run.scalar(call.args[0]!, grid);
  yield* single(run, grid, {
    ...emptySeries(Labels.EMPTY, 0),
    values,
    present: new Uint8Array(grid.count).fill(1),
  });
}

async function* dateOfTime(run: Evaluation, compute: (seconds: number) => number, grid: Grid): Stream {
  const series = emptySeries(Labels.EMPTY, grid.count);
  series.present.fill(1);
  for (let i = 0; i < grid.count; i++) series.values[i] = compute(Math.trunc(timeAt(grid, i) / 1000));
  yield* single(run, grid, series);
}

/** 1 at the times when the vector is empty. */
async function* absent(run: Evaluation, call: Call, grid: Grid): Stream {
  const arg = unwrap(call.args[0]!);
  const series = emptySeries(absentLabels(arg), grid.count);
  series.present.fill(1);
  series.values.fill(1);
  for await (const batch of run.stream(arg, grid)) {
    for (const { present } of batch)
      for (let i = 0; i < grid.count; i++) if (present[i] === 1) series.present[i] = 0;
    run.budget.release(batch.length * grid.count);
  }
  yield* single(run, grid, series);
}

/** An instant query's answer has the order; a range query's is sorted by its labels in the end. */
async function* sort(run: Evaluation, call: Call, grid: Grid): Stream {
  const { func } = call;
  // Also a range of less than a step has a start and an end.
  if (grid.count > 1 || (grid.stepMs > 1 && run.endMs > run.startMs)) {
    run.annotations.warn(
      "sort is ineffective for range queries since results are always ordered by labels",
      call,
    );
  }
  const series = await run.vector(call.args[0]!, grid);
  const floats = series.filter(dropHistograms);
  run.budget.release((series.length - floats.length) * grid.count);
  if (grid.count === 1) await sortInTurns(run, floats, byValue(func === "sort_desc" ? -1 : 1));
  if (floats.length > 0) yield floats;
}

/** Is anything left? */
function dropHistograms(series: VectorSeries): boolean {
  const { histograms, present } = series;
  if (!histograms) return true;
  for (let i = 0; i < present.length; i++) if (histograms[i]) present[i] = 0;
  series.histograms = undefined;
  return !isEmpty(series);
}

/** NaN comes last in both orders. */
function byValue(sign: number): (a: VectorSeries, b: VectorSeries) => number {
  return ({ values: [a = NaN] }, { values: [b = NaN] }) => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return a === b ? 0 : a < b ? -sign : sign;
  };
}

async function* relabel(run: Evaluation, call: Call, grid: Grid): Stream {
  const [, ...texts] = call.args;
  const change = call.func === "label_join" ? labelJoin(texts) : labelReplace(texts);
  const series = await run.vector(call.args[0]!, grid);
  for (const one of series) {
    const labels = change.labels(one.labels);
    if (labels === undefined) continue;
    one.labels = labels;
    if (change.isName) one.dropName = false;
    await giveWay(run);
  }
  const merged = await mergeSameLabels(run, series);
  if (merged.length > 0) yield merged;
}

/** scalar(): the value of the only float at each time, else NaN. */
export async function scalarOf(run: Evaluation, call: Call, grid: Grid): Promise<Float64Array> {
  const values = new Float64Array(grid.count).fill(NaN);
  const seen = new Uint8Array(grid.count);
  for await (const batch of run.stream(call.args[0]!, grid)) {
    for (const series of batch) {
      for (let i = 0; i < grid.count; i++) {
        if (series.present[i] === 0 || series.histograms?.[i]) continue;
        values[i] = seen[i] === 0 ? series.values[i]! : NaN;
        seen[i] = 1;
      }
      await giveWay(run);
    }
    run.budget.release(batch.length * grid.count);
  }
  return values;
}
