import type { Expr } from "./ast.ts";
import { childrenOf } from "./children.ts";
import type { QueryBudget } from "./budget.ts";
import { addSeries, releaseSeries, type VectorSeries } from "./grid.ts";
import type { Grid } from "./source.ts";

/** Slots of grids that a vector may have to be kept for its next use: about 9 MB. What is larger is read again. */
const KEPT_SLOTS_MAX = 1_000_000;

interface Shared {
  /** Uses of the node that are still to come; in a subquery there may be more. */
  left: number;
  series: VectorSeries[] | undefined;
  isTooLarge: boolean;
}

/** Keeps what is read from the source for a selector, or for a function of one, that stands in the query more than once. */
export class SharedVectors {
  readonly #budget: QueryBudget;
  readonly #uses = new Map<string, number>();
  readonly #byKey = new Map<string, Shared>();

  constructor(query: Expr, budget: QueryBudget) {
    this.#budget = budget;
    this.#count(query);
  }

  /** The node's series: those that are kept, else those of `read`. */
  async *stream(
    node: Expr,
    grid: Grid,
    read: () => AsyncGenerator<VectorSeries[]>,
  ): AsyncGenerator<VectorSeries[]> {
    const shared = this.#sharedOf(node, grid);
    if (!shared || shared.isTooLarge) yield* read();
    else if (shared.series) yield* this.#take(shared);
    else yield* this.#keep(shared, read());
  }

  #count(expr: Expr): void {
    const key = unitKey(expr);
    if (key !== undefined) this.#uses.set(key, (this.#uses.get(key) ?? 0) + 1);
    else for (const child of childrenOf(expr)) this.#count(child);
  }

  #sharedOf(node: Expr, { startMs, stepMs, count }: Grid): Shared | undefined {
    const unit = unitKey(node);
    const uses = unit === undefined ? 0 : (this.#uses.get(unit) ?? 0);
    if (uses < 2) return undefined;
    const key = JSON.stringify([unit, startMs, stepMs, count]);
    let shared = this.#byKey.get(key);
    if (!shared) this.#byKey.set(key, (shared = { left: uses - 1, series: undefined, isTooLarge: false }));
    return shared;
  }

  async *#keep(shared: Shared, batches: AsyncGenerator<VectorSeries[]>): AsyncGenerator<VectorSeries[]> {
    let kept: VectorSeries[] | undefined = [];
    let slots = 0;
    for await (const batch of batches) {
      for (const { values } of batch) slots += values.length;
      if (kept && slots > KEPT_SLOTS_MAX) {
        releaseSeries(this.#budget, kept);
        kept = undefined;
        shared.isTooLarge = true;
      }
      if (kept) {
        addSeries(this.#budget, batch);
        kept.push(...batch.map(copySeries));
      }
      yield batch;
    }
    shared.series = kept;
  }

  *#take(shared: Shared): Generator<VectorSeries[]> {
    const series = shared.series!;
    shared.left--;
    if (shared.left > 0) {
      addSeries(this.#budget, series);
      yield series.map(copySeries);
      return;
    }
    // The last use has the series themselves.
    shared.series = undefined;
    yield series;
  }
}

function copySeries(series: VectorSeries): VectorSeries {
  return {
    ...series,
    values: series.values.slice(),
    present: series.present.slice(),
    histograms: series.histograms?.slice(),
  };
}

/** The same for selectors, and for functions of range selectors, that mean the same; undefined: the node is neither. */
function unitKey(expr: Expr): string | undefined {
  if (expr.kind === "vector_selector") return JSON.stringify(expr, withoutPlaces);
  const isCall = expr.kind === "call" && expr.args.length === 1 && expr.args[0]!.kind === "matrix_selector";
  return isCall ? JSON.stringify(expr, withoutPlaces) : undefined;
}

function withoutPlaces(key: string, value: unknown): unknown {
  return key === "start" || key === "end" ? undefined : value;
}
