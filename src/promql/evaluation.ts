import { PromqlError } from "./error.ts";
import type { Annotations } from "./annotations.ts";
import type { Expr, Matcher, VectorSelector } from "./ast.ts";
import type { QueryBudget } from "./budget.ts";
import type { VectorSeries } from "./grid.ts";
import type { SharedVectors } from "./shared-vectors.ts";
import type { Grid, SampleSource } from "./source.ts";

/** What was asked of the source. */
export interface QueryRead {
  matchers: readonly Matcher[];
  /** Samples with fromMs < time <= toMs. */
  fromMs: number;
  toMs: number;
  /** The function that the source computed itself, at least of some series (`instant`: the selector's values); undefined: it gave samples. */
  bySource: string | undefined;
  series: number;
  /** Samples that were read: none of series that the source computed. */
  samples: number;
}

/** What a query read, in the order in which it was asked for. */
export interface QueryStats {
  reads: QueryRead[];
}

/** One running query: what its nodes share, and how a node evaluates those below it. */
export interface Evaluation {
  readonly source: SampleSource;
  readonly budget: QueryBudget;
  readonly signal: AbortSignal;
  readonly annotations: Annotations;
  readonly stats: QueryStats;
  /** Vectors that the query needs several times. */
  readonly shared: SharedVectors;
  /** Selectors of which no buckets of histograms are needed. */
  readonly withoutBuckets: ReadonlySet<VectorSelector>;
  readonly lookbackMs: number;
  /** The step of subqueries that name none. */
  readonly subqueryStepMs: number;
  /** Prometheus' feature promql-delayed-name-removal; off by default there, too. */
  readonly delayedNameRemoval: boolean;
  /** start() and end() of `@`. */
  readonly startMs: number;
  readonly endMs: number;
  /** Undefined while the event loop may be held on, else a promise of the next turn: waited for between series, and inside of long ones. */
  pause(): Promise<void> | undefined;
  /**
   * Series of an instant vector, in batches. Batches are charged to the budget; whoever takes one releases it. With several times in the
   * grid, series come in any order.
   */
  stream(expr: Expr, grid: Grid): AsyncGenerator<VectorSeries[]>;
  /** The whole vector, charged to the budget. Of an instant query in Prometheus' order where it has one. */
  vector(expr: Expr, grid: Grid): Promise<VectorSeries[]>;
  /** A scalar's value at each time. */
  scalar(expr: Expr, grid: Grid): Promise<Float64Array>;
}

/** Between series: gives others their turn, and stops a query that was given up. Undefined: go on. */
export function giveWay(run: Evaluation): Promise<void> | undefined {
  run.signal.throwIfAborted();
  return run.pause()?.then(() => run.signal.throwIfAborted());
}

export function failed(message: string): PromqlError {
  return new PromqlError("execution", message);
}

/** A string argument; the parser made sure that it is one. */
export function stringArgument(expr: Expr | undefined): string {
  const inner = expr && unwrap(expr);
  if (inner?.kind !== "string") throw new Error("assertion failed: the argument is a string literal");
  return inner.value;
}

/** Without parentheses around it. */
export function unwrap(expr: Expr): Expr {
  let inner = expr;
  while (inner.kind === "paren") inner = inner.expr;
  return inner;
}
