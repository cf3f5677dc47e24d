import { refuseField, type QueryLimits } from "./limits.ts";
import { checkRange } from "./range.ts";

/** The times of an answer's points. All in ms; Unix time. */
export interface Grid {
  stepMs: number;
  /** Every point looks back over (time - windowMs, time]. */
  windowMs: number;
  /** Times of the first and last point: multiples of the step. */
  firstMs: number;
  lastMs: number;
  points: number;
}

export interface GridRequest {
  startMs: number;
  endMs: number;
  /** Whole seconds. Left out: from the range. */
  stepMs?: number;
}

const MINUTE_MS = 60_000;
const WEEK_MS = 7 * 24 * 60 * MINUTE_MS;
const HOUR_MINUTES = 60;
const WINDOW_MIN_MS = 2 * MINUTE_MS;
const DEFAULT_POINTS_MAX = 1000;
const STEP_MIN_MS = 1000;
const FIELDS = { from: "start_time", to: "end_time" };

/** Steps that divide an hour or a day, in minutes. */
const DEFAULT_STEPS = [1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440];

/**
 * The multiples of the step in (start, end], and the window of each: the step, at least two minutes, so that two scrapes of one a minute
 * are always in it. Throws `request_invalid` (with the field) and `query_too_large`.
 */
export function planGrid(
  request: GridRequest,
  nowMs: number,
  limits: Pick<QueryLimits, "rangeMaxMs" | "pointsPerSeriesMax">,
): Grid {
  const { startMs, endMs } = request;
  checkRange({ fromMs: startMs, toMs: endMs }, FIELDS, nowMs, limits.rangeMaxMs);
  const stepMs = request.stepMs ?? defaultStep(endMs - startMs);
  if (!Number.isInteger(stepMs) || stepMs < STEP_MIN_MS || stepMs % 1000 !== 0) {
    throw refuseField("step", "is not a whole number of seconds of at least 1", 'Send seconds, or "5m".');
  }
  const firstMs = (Math.floor(startMs / stepMs) + 1) * stepMs;
  const lastMs = Math.floor(endMs / stepMs) * stepMs;
  if (lastMs < firstMs) {
    throw refuseField(
      "step",
      "no multiple of it is in the range, so the answer could have no point",
      `Send a step of at most ${Math.max(1, Math.floor((endMs - startMs) / 1000))} s, or a longer range.`,
    );
  }
  const points = (lastMs - firstMs) / stepMs + 1;
  if (points > limits.pointsPerSeriesMax) {
    const least = Math.ceil((endMs - startMs) / 1000 / (limits.pointsPerSeriesMax - 1));
    throw refuseField(
      "step",
      `is too small: ${points} points a series, more than ${limits.pointsPerSeriesMax}`,
      `Send a step of at least ${least} s, or a shorter range.`,
    );
  }
  return { stepMs, windowMs: Math.max(stepMs, WINDOW_MIN_MS), firstMs, lastMs, points };
}

/** The smallest that gives at most 1,000 points; over more than a week of whole hours, which the roll-ups have. */
function defaultStep(rangeMs: number): number {
  return smallestStep(rangeMs, rangeMs > WEEK_MS ? HOUR_MINUTES : 0);
}

/** The smallest step of whole hours that gives at most 1,000 points; ms. */
export function defaultHourStep(rangeMs: number): number {
  return smallestStep(rangeMs, HOUR_MINUTES);
}

function smallestStep(rangeMs: number, leastMinutes: number): number {
  const fits = (minutes: number): boolean =>
    minutes >= leastMinutes && rangeMs / (minutes * MINUTE_MS) <= DEFAULT_POINTS_MAX;
  const day = 1440;
  const minutes =
    DEFAULT_STEPS.find(fits) ?? Math.ceil(rangeMs / (day * MINUTE_MS * DEFAULT_POINTS_MAX)) * day;
  return minutes * MINUTE_MS;
}
