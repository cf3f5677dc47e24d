import type { Aggregation } from "./ast.ts";
import { ignoredHistogramIn } from "./annotations.ts";
import { groupingOf } from "./aggregate.ts";
import { type Evaluation, failed, giveWay, unwrap } from "./evaluation.ts";
import { formatShort } from "./go-numbers.ts";
import { copyPoint, emptySeries, isEmpty, releaseSeries, type VectorSeries } from "./grid.ts";
import type { Grid } from "./source.ts";

const INT64_MAX = 2 ** 63;

/** topk and bottomk: some of each group's series, with their labels. */
export async function rank(run: Evaluation, expr: Aggregation, grid: Grid): Promise<VectorSeries[]> {
  const counts = await run.scalar(expr.param!, grid);
  const series = await run.vector(expr.expr, grid);
  if (!checkCounts(counts)) {
    releaseSeries(run.budget, series);
    return [];
  }
  const groups = await groupSeries(run, series, expr);
  const kept = series.map(({ labels, dropName }) => emptySeries(labels, grid.count, dropName));
  run.budget.add(kept.length * grid.count);
  const heap = new RankHeap(series, expr.op === "bottomk");
  // Of an instant query: its order, from the first place on.
  const order: VectorSeries[] = [];
  for (const members of groups) {
    for (let step = 0; step < grid.count; step++) {
      const k = Math.min(Math.trunc(counts[step]!), series.length);
      if (k < 1) continue;
      const chosen = heap.choose(members, step, k);
      for (const index of chosen) {
        copyPoint(series[index]!, step, kept[index]!, step);
        if (grid.count === 1) order.push(kept[index]!);
      }
      if (heap.sawHistogram) run.annotations.inform(ignoredHistogramIn(expr.op), unwrap(expr.expr));
      heap.sawHistogram = false;
      if (step % 64 === 63) await giveWay(run);
    }
    await giveWay(run);
  }
  releaseSeries(run.budget, series);
  const results = grid.count === 1 ? order : kept.filter((one) => !isEmpty(one));
  run.budget.release((kept.length - results.length) * grid.count);
  return results;
}

/** Throws Prometheus' error; false: nothing is wanted at any time. */
function checkCounts(counts: Float64Array): boolean {
  let [min, max] = [Infinity, -Infinity];
  let isNaN = false;
  for (const count of counts) {
    if (Number.isNaN(count)) isNaN = true;
    min = Math.min(min, Number.isNaN(count) ? min : count);
    max = Math.max(max, Number.isNaN(count) ? max : count);
  }
  if (!isNaN && max < 1) return false;
  if (isNaN) throw failed("Parameter value is NaN");
  if (min <= -INT64_MAX) throw failed(`Scalar value ${formatShort(min)} underflows int64`);
  if (max >= INT64_MAX) throw failed(`Scalar value ${formatShort(max)} overflows int64`);
  return true;
}

/** The indices of each group's series. */
export async function groupSeries(
  run: Evaluation,
  series: readonly VectorSeries[],
  by: Pick<Aggregation, "grouping" | "isWithout">,
): Promise<number[][]> {
  const grouping = groupingOf(by);
  const groups = new Map<string, number[]>();
  for (const [index, { labels }] of series.entries()) {
    const key = grouping.keyOf(labels);
    const members = groups.get(key);
    if (members) members.push(index);
    else groups.set(key, [index]);
    await giveWay(run);
  }
  return [...groups.values()];
}

/**
 * The k greatest (or least) values of a group at one time: a heap with the least of them first, as Prometheus has one, so that the same of
 * equal values are chosen.
 */
class RankHeap {
  readonly #series: readonly VectorSeries[];
  readonly #isBottom: boolean;
  readonly #indices: number[] = [];
  readonly #values: number[] = [];
  sawHistogram = false;

  constructor(series: readonly VectorSeries[], isBottom: boolean) {
    this.#series = series;
    this.#isBottom = isBottom;
  }

  /** Indices of the chosen series, the first place first. */
  choose(members: readonly number[], step: number, k: number): readonly number[] {
    const indices = this.#indices;
    const values = this.#values;
    indices.length = values.length = 0;
    for (const index of members) {
      const { present, values: all, histograms } = this.#series[index]!;
      if (present[step] === 0) continue;
      if (histograms?.[step]) {
        this.sawHistogram = true;
        continue;
      }
      const value = all[step]!;
      if (indices.length < k) this.#push(index, value);
      else if (this.#isBetter(value, values[0]!)) {
        indices[0] = index;
        values[0] = value;
        this.#down(0);
      }
    }
    const places = indices.map((_index, place) => place);
    places.sort((a, b) => this.#order(values[b]!, values[a]!));
    return places.map((place) => indices[place]!);
  }

  #isBetter(value: number, than: number): boolean {
    if (Number.isNaN(than)) return !Number.isNaN(value);
    return this.#isBottom ? value < than : value > than;
  }

  /** NaN is less than all. */
  #isLess(a: number, b: number): boolean {
    return Number.isNaN(a) || (this.#isBottom ? a > b : a < b);
  }

  #order(a: number, b: number): number {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(b)) - Number(Number.isNaN(a));
    return a === b ? 0 : this.#isLess(a, b) ? -1 : 1;
  }

  #push(index: number, value: number): void {
    this.#indices.push(index);
    this.#values.push(value);
    let at = this.#indices.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isLess(this.#values[at]!, this.#values[parent]!)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #down(from: number): void {
    const values = this.#values;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= values.length) return;
      if (child + 1 < values.length && this.#isLess(values[child + 1]!, values[child]!)) child++;
      if (!this.#isLess(values[child]!, values[at]!)) return;
      this.#swap(at, child);
      at = child;
    }
  }

  #swap(a: number, b: number): void {
    [this.#indices[a], this.#indices[b]] = [this.#indices[b]!, this.#indices[a]!];
    [this.#values[a], this.#values[b]] = [this.#values[b]!, this.#values[a]!];
  }
}
