import type { Matcher } from "./ast.ts";
import type { FloatHistogram } from "./histogram.ts";
import type { Labels } from "./labels.ts";
import type { QueryBudget } from "./budget.ts";

/** One series with its samples, oldest first, at most one at a time. */
export interface Series {
  labels: Labels;
  /** ms since 1970, ascending. */
  times: Float64Array;
  /** One for each time; of a histogram and of a stale marker NaN. */
  values: Float64Array;
  /** 1 where the sample is a stale marker: the series ends there. Absent: none is. */
  stale?: Uint8Array;
  /** The sample's native histogram; undefined where it is a float. Absent: all are floats. */
  histograms?: readonly (FloatHistogram | undefined)[];
}

export interface SelectRequest {
  matchers: readonly Matcher[];
  /** Samples with fromMs < time <= toMs: ranges are open on the left, as in Prometheus 3. */
  fromMs: number;
  toMs: number;
  /** Samples outside of these are not needed; absent: all are. */
  windows?: Windows;
}

/** Times with endMs - rangeMs < time <= endMs, and the same stepMs before that, and so on. All are whole ms, and windows do not touch. */
export interface Windows {
  endMs: number;
  stepMs: number;
  rangeMs: number;
}

/** What the ranges before the times of a grid leave out; undefined: nothing. */
export function toWindows({ startMs, stepMs, count }: Grid, rangeMs: number): Windows | undefined {
  const areWhole = [startMs, stepMs, rangeMs].every(Number.isInteger);
  return areWhole && count > 1 && stepMs > rangeMs ? { endMs: startMs, stepMs, rangeMs } : undefined;
}

/** Times of evaluation: startMs, startMs + stepMs, ... `count` of them. An instant query has one. */
export interface Grid {
  startMs: number;
  stepMs: number;
  count: number;
}

/** What the source may compute itself, for each series alone and each time of the grid. */
export interface GridRequest {
  matchers: readonly Matcher[];
  /** An instant selector (the newest sample within `rangeMs`, unless it is a stale marker), or the function of a range selector. */
  func: "instant" | (string & {});
  /** The range, or the lookback of an instant selector, ms. */
  rangeMs: number;
  /** With the offset already subtracted: times where samples are looked for. */
  grid: Grid;
  /** As of a SelectRequest, for samples. */
  windows?: Windows;
}

/** Values of one series at the times of a grid. */
export interface GridSeries {
  labels: Labels;
  values: Float64Array;
  /** 1 where there is a value: NaN is one, too. */
  present: Uint8Array;
  /** Native histograms instead of the value. */
  histograms?: (FloatHistogram | undefined)[];
}

/** A batch of what the source computed: the grids, and the samples of the series that it left to the engine. */
export interface GridBatch {
  computed: readonly GridSeries[];
  samples: readonly Series[];
}

/**
 * Where the engine reads. What a source holds it adds to the budget while it collects it, and releases when the next batch is asked for (the
 * grids it gives are the engine's, which adds them itself). Each yields batches in any order, each series once; throws BridgeError, and the signal's reason.
 */
export interface SampleSource {
  /** Begins to read what will be asked for, with the same signal. Never rejects: what fails, is asked for again. */
  prepare?(reads: readonly SelectRequest[], signal: AbortSignal): Promise<void>;
  select(request: SelectRequest, budget: QueryBudget, signal: AbortSignal): AsyncIterable<readonly Series[]>;
  /** undefined: the source does not compute this exactly as Prometheus does; read the samples. */
  grids?(
    request: GridRequest,
    budget: QueryBudget,
    signal: AbortSignal,
  ): AsyncIterable<GridBatch> | undefined;
}
