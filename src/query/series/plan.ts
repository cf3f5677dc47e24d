import { chooseStorage, type StorageKind } from "#storage/choose-storage.ts";
import { defaultHourStep, planGrid, type Grid } from "#query/grid.ts";
import { refuseField, refuseSize, type QueryLimits } from "#query/limits.ts";
import { isQuantile } from "./aggregations.ts";
import type { Scope } from "./series-sql.ts";
import type { SeriesRequest } from "./series.ts";

const SERIES_DEFAULT = 100;
/** A statement reads so many samples in a few seconds; hours of them take a hundredth. */
const SAMPLES_MAX = 20_000_000;

/** What is read for a request, and of what. */
export interface QueryPlan {
  grid: Grid;
  /** Series of the answer. */
  limit: number;
  scope: Scope;
  storage: StorageKind;
}

/** Throws `request_invalid` and `query_too_large` for what the request's range, step and limit can't be. */
export function toPlan(request: SeriesRequest, nowMs: number, limits: QueryLimits): QueryPlan {
  const { clusterId, metric } = request;
  const grid = planGrid(request, nowMs, limits);
  const limit = toLimit(request.limit, grid, limits);
  const scope = { clusterId, metric, fromMs: grid.firstMs - grid.windowMs, toMs: grid.lastMs };
  return { grid, limit, scope, storage: chooseStorage(toNeed(request, grid)) };
}

/** Of more samples than this, hours are read where hours give the same points. */
export function samplesMax(limits: QueryLimits): number {
  return Math.min(SAMPLES_MAX, limits.rowsReadMax);
}

/**
 * The plan for a scope with more samples than `samplesMax`: from hours where the step is one of whole hours, or where the request leaves it open. Else the same plan, which
 * the limits may refuse.
 */
export function toHourPlan(
  plan: QueryPlan,
  request: SeriesRequest,
  nowMs: number,
  limits: QueryLimits,
): QueryPlan {
  const isOpen = request.stepMs === undefined && !isQuantile(request.aggregation);
  const rangeMs = request.endMs - request.startMs;
  const hourly =
    isOpen && rangeMs >= defaultHourStep(rangeMs)
      ? { ...request, stepMs: defaultHourStep(rangeMs) }
      : request;
  const hours = toPlan(hourly, nowMs, limits);
  const storage = chooseStorage({ ...toNeed(hourly, hours.grid), isMuch: true });
  return storage === "hours" ? { ...hours, storage } : plan;
}

function toNeed(request: SeriesRequest, grid: Grid): Parameters<typeof chooseStorage>[0] {
  return {
    rangeMs: grid.lastMs - grid.firstMs + grid.windowMs,
    stepMs: grid.stepMs,
    needsEverySample: isQuantile(request.aggregation),
  };
}

function toLimit(asked: number | undefined, grid: Grid, limits: QueryLimits): number {
  const most = Math.max(1, Math.floor(limits.pointsMax / grid.points));
  if (asked === undefined) return Math.min(SERIES_DEFAULT, most);
  if (!Number.isInteger(asked) || asked < 1 || asked > limits.seriesMax) {
    throw refuseField(
      "limit",
      `is not a whole number from 1 to ${limits.seriesMax}`,
      `Send at most ${limits.seriesMax}.`,
    );
  }
  if (asked > most) {
    throw refuseSize(
      "points",
      `${asked} series of ${grid.points} points are more than ${limits.pointsMax}`,
      `Send a limit of at most ${most}, a greater step or a shorter range.`,
    );
  }
  return asked;
}
