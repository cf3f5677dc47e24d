import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { Window } from "#prometheus/window.ts";
import { addInterval, isDisjoint, missingIn, type Interval } from "./intervals.ts";
import type { QueryProgress } from "./progress.ts";
import { isLongRead, type ReadEnd } from "./read-end.ts";
import { afterSuccess, afterTooMuch, longestWindow, type WindowLength } from "./window-length.ts";

/** One window of one query to read. */
export interface ReadTask {
  query: Query;
  window: Window;
  /** When the read began, monotonic ms. */
  startedAt: number;
}

/** The windows of one round: their order and their length. Lives for one round; it records in the progress how long each query's windows may be. */
export interface ReadPlan {
  /** The window to read next, or undefined while there is none: a window that is under way may still be given back in two halves. */
  next(): ReadTask | undefined;
  /**
   * Must be called once for each task of `next`. `bytes`: of the answer of a window that is done, compressed. Returns true when the window will be
   * read again in this round, in smaller pieces.
   */
  ended(task: ReadTask, end: ReadEnd, bytes?: number): boolean;
  /** Queries that still have windows to read. */
  pending(): Query[];
  /** The number of queries with windows to read or under way. */
  unfinished(): number;
  /** The windows that are under way, oldest first. */
  reading(): readonly ReadTask[];
}

export interface ReadPlanSettings {
  /** Longest window that one request reads, ms. */
  windowMsMax: number;
  /** Fresh time, ms before the end: it is read before any back-fill. */
  freshMs: number;
  /** Windows that are read at once. */
  lanes: number;
  /** Bytes that may be kept of one answer, compressed. */
  keptBytesMax: number;
}

/** The time that one query has to read. */
export interface QueryReads {
  query: Query;
  progress: QueryProgress;
  /** Stretches that are not settled: sorted, disjoint. */
  open: readonly Interval[];
  /** No window reaches over one of these times. */
  boundaries: readonly number[];
}

/** Shortest length of a slow window: a source that can't answer one minute of one query in time can't be collected. */
const SLOW_WINDOW_MS_MIN = 60_000;
/** Shortest length of a window with too many samples. */
const WINDOW_MS_MIN = 1000;
/** Slow reads of one query in one round: each may occupy a connection for the whole request timeout. */
const SLOW_READS_MAX = 3;
const SKIP_DOUBLINGS_MAX = 20;
/** Of `keptBytesMax`: the size that a window is planned for. No answer is like the one before. */
const PLANNED_SHARE = 3 / 4;

/** In the order in which queries are served: see `rankOf`. */
type Rank = 0 | 1 | 2 | 3 | 4;

interface QueryState extends QueryReads {
  open: Interval[];
  /** A read of it ended in this round. */
  wasTried: boolean;
  /** Reads of it that were slow in this round. */
  slowReads: number;
  underWay: number;
  /** Windows that were read in this round: their length and the bytes of their answers. */
  doneMs: number;
  doneBytes: number;
  /** Fresh windows that failed one after another in this round. */
  freshFailures: number;
}

/**
 * The order: the newest window of every query, then the rest of the fresh time, then the back-fill from the oldest window on. Within each, the
 * query that was read longest ago comes first, and one that was slow in this round comes last: a slow query delays only itself.
 * Several windows of one query are read at once only when no other query has anything to read, and queries that are slow leave one lane to the
 * others: many of them, each with a time-out of its own, would use up the round.
 */
export function createReadPlan(
  deps: { clock: Clock },
  settings: ReadPlanSettings,
  reads: readonly QueryReads[],
  endMs: number,
): ReadPlan {
  assert(
    reads.every(({ open }) => isDisjoint(open)),
    "open stretches are sorted and disjoint",
  );
  return new RoundPlan(deps.clock, settings, reads, endMs);
}

class RoundPlan implements ReadPlan {
  readonly #clock: Clock;
  readonly #settings: ReadPlanSettings;
  readonly #endMs: number;
  readonly #freshFromMs: number;
  readonly #startedAt: number;
  readonly #states: ReadonlyMap<string, QueryState>;
  readonly #underWay = new Set<ReadTask>();

  constructor(clock: Clock, settings: ReadPlanSettings, reads: readonly QueryReads[], endMs: number) {
    this.#clock = clock;
    this.#settings = settings;
    this.#endMs = endMs;
    this.#freshFromMs = endMs - settings.freshMs;
    this.#startedAt = clock.monotonic();
    this.#states = new Map(reads.map((each) => [each.query.name, toState(each, clock.now())]));
  }

  next(): ReadTask | undefined {
    const { windowMsMax, freshMs } = this.#settings;
    const state = this.#choose();
    if (!state) return undefined;
    const lengthMs = Math.min(lengthOf(state, windowMsMax).ms, this.#fittingMs(state));
    const window = takeWindow(state, lengthMs, this.#endMs, freshMs);
    state.underWay++;
    const task = { query: state.query, window, startedAt: this.#clock.monotonic() };
    this.#underWay.add(task);
    return task;
  }

  ended(task: ReadTask, end: ReadEnd, bytes = 0): boolean {
    const state = this.#states.get(task.query.name);
    assert(state !== undefined && state.underWay > 0, "a window that ended was under way");
    state.underWay--;
    this.#underWay.delete(task);
    state.wasTried = true;
    if (this.#hadItsTurn(task, end)) state.progress.read_at = this.#clock.now();
    if (end !== "done") return this.#failed(state, task, end);
    const windowMs = task.window.toMs - task.window.fromMs;
    if (task.window.toMs > this.#freshFromMs) state.freshFailures = 0;
    else if (state.progress.backfill) state.progress.backfill.failures = 0;
    state.doneMs += windowMs;
    state.doneBytes += bytes;
    const { windowMsMax, keptBytesMax } = this.#settings;
    const length = lengthOf(state, windowMsMax);
    const mayGrow = bytes * 2 <= keptBytesMax;
    setLength(state, afterSuccess(length, windowMs, { msMax: windowMsMax, mayGrow }), windowMsMax);
    return false;
  }

  /** The length of window whose answer can be kept, by the windows that were read before in this round. */
  #fittingMs({ doneMs, doneBytes }: QueryState): number {
    if (doneBytes === 0) return Infinity;
    const bytesMax = PLANNED_SHARE * this.#settings.keptBytesMax;
    return Math.max(WINDOW_MS_MIN, Math.floor((bytesMax * doneMs) / doneBytes));
  }

  pending(): Query[] {
    return [...this.#states.values()].filter(({ open }) => open.length > 0).map(({ query }) => query);
  }

  unfinished(): number {
    let count = 0;
    for (const { open, underWay } of this.#states.values()) if (open.length > 0 || underWay > 0) count++;
    return count;
  }

  reading(): readonly ReadTask[] {
    return [...this.#underWay];
  }

  #choose(): QueryState | undefined {
    const best = this.#chooseAmong(() => true);
    if (!best || !isSlow(best)) return best;
    const slowUnderWay = [...this.#states.values()].reduce(
      (sum, state) => sum + (isSlow(state) ? state.underWay : 0),
      0,
    );
    return slowUnderWay < Math.max(1, this.#settings.lanes - 1)
      ? best
      : (this.#chooseAmong((state) => !isSlow(state)) ?? best);
  }

  #chooseAmong(isCandidate: (state: QueryState) => boolean): QueryState | undefined {
    let best: QueryState | undefined;
    for (const state of this.#states.values()) {
      if (state.open.length === 0 || !isCandidate(state)) continue;
      if (state.underWay > 0 && (state.slowReads > 0 || !state.wasTried)) continue;
      if (!best || isBefore(state, best, this.#freshFromMs)) best = state;
    }
    return best;
  }

  /** Returns true when the window will be read again in this round, in smaller pieces. */
  #failed(state: QueryState, { window, startedAt }: ReadTask, end: Exclude<ReadEnd, "done">): boolean {
    if (end === "slow") state.slowReads++;
    // A proxy on the path may have cut a read that fails after some time; one that fails at once says nothing about the window.
    const isLate = isLongRead(this.#clock.monotonic() - startedAt) && (end === "cut" || end === "failed");
    const isTooMuch = end === "too_much" || end === "slow";
    const isShorter =
      (isTooMuch || isLate) && shorten(state, window.toMs - window.fromMs, end, this.#settings.windowMsMax);
    const isReadAgain = isShorter && isTooMuch;
    if (isReadAgain) state.open = addInterval(state.open, [window.fromMs, window.toMs]);
    else if (end !== "aborted" && end !== "unreachable") skip(state, window, this.#freshFromMs);
    const isTooSlow = end === "slow" && (!isShorter || state.slowReads >= SLOW_READS_MAX);
    if (!isTooSlow) return isReadAgain;
    // The progress has the new length: the next round begins with shorter windows, or elsewhere.
    state.open = [];
    return false;
  }

  /** Did this read count as the query's turn? One that the round's end cut short counts only when it had most of the round. */
  #hadItsTurn(task: ReadTask, end: ReadEnd): boolean {
    const nowMs = this.#clock.monotonic();
    return end !== "aborted" || nowMs - task.startedAt >= (nowMs - this.#startedAt) / 2;
  }
}

function toState(reads: QueryReads, nowMs: number): QueryState {
  const { progress } = reads;
  // The clock was set back since then: the query must not wait until that time comes again.
  if ((progress.read_at ?? 0) > nowMs) delete progress.read_at;
  return {
    ...reads,
    open: [...reads.open],
    wasTried: false,
    slowReads: 0,
    underWay: 0,
    doneMs: 0,
    doneBytes: 0,
    freshFailures: 0,
  };
}

/** Makes the query's windows shorter than this one. False when they can't be. */
function shorten(state: QueryState, windowMs: number, end: ReadEnd, windowMsMax: number): boolean {
  const msMin = end === "too_much" ? WINDOW_MS_MIN : SLOW_WINDOW_MS_MIN;
  const length = afterTooMuch(lengthOf(state, windowMsMax), windowMs, { msMin, isSlow: end === "slow" });
  setLength(state, length, windowMsMax);
  return windowMs > msMin;
}

function lengthOf({ progress }: QueryState, windowMsMax: number): WindowLength {
  const length = progress.window ?? longestWindow(windowMsMax);
  // The setting may be lower than it was when the record was written.
  return length.ms > windowMsMax ? longestWindow(windowMsMax) : length;
}

function setLength({ progress }: QueryState, length: WindowLength, windowMsMax: number): void {
  if (length.ms >= windowMsMax && !length.isUnproven && length.streakToGrow === 1) delete progress.window;
  else progress.window = length;
}

/**
 * Leaves a window that failed to a later round. The back-fill goes on behind it: a stretch that can't be read must not block the time behind
 * it. When several windows fail one after another, more and more of the stretch is left out, so a long one does not use up the round.
 */
function skip(state: QueryState, { fromMs, toMs }: Window, freshFromMs: number): void {
  const { progress } = state;
  const extraMs = (failures: number): number =>
    (toMs - fromMs) * (2 ** Math.min(failures, SKIP_DOUBLINGS_MAX) - 1);
  if (toMs > freshFromMs) {
    const floorMs = Math.max(Math.min(fromMs, freshFromMs), fromMs - extraMs(state.freshFailures++));
    state.open = without(state.open, { fromMs: floorMs, toMs: fromMs });
    return;
  }
  const failures = progress.backfill?.failures ?? 0;
  const from = Math.min(toMs + extraMs(failures), freshFromMs);
  state.open = without(state.open, { fromMs: toMs, toMs: from });
  progress.backfill = { from, failures: failures + 1 };
}

function without(open: readonly Interval[], { fromMs, toMs }: Window): Interval[] {
  return toMs <= fromMs ? [...open] : open.flatMap((stretch) => missingIn(stretch, [[fromMs, toMs]]));
}

/** Did the query's last window take too long, in this round or before? */
function isSlow({ slowReads, progress }: QueryState): boolean {
  return slowReads > 0 || (progress.window?.failures ?? 0) > 0;
}

/** 0: not read yet in this round; 1: has something fresh to read, 2: as well, but was slow in this round; 3 and 4: the same for back-fill. */
function rankOf(state: QueryState, freshFromMs: number): Rank {
  if (!state.wasTried && state.underWay === 0) return 0;
  const isFresh = state.open.at(-1)![1] > freshFromMs;
  if (state.slowReads > 0) return isFresh ? 2 : 4;
  return isFresh ? 1 : 3;
}

function isBefore(a: QueryState, b: QueryState, freshFromMs: number): boolean {
  if (a.underWay > 0 !== b.underWay > 0) return b.underWay > 0;
  const ranks = rankOf(a, freshFromMs) - rankOf(b, freshFromMs);
  if (ranks !== 0) return ranks < 0;
  return (a.progress.read_at ?? 0) < (b.progress.read_at ?? 0);
}

/** Takes the next window out of the query's open stretches: fresh time from the newest on, back-fill from the oldest on. */
function takeWindow(state: QueryState, lengthMs: number, endMs: number, freshMs: number): Window {
  const newest = state.open.at(-1)!;
  const freshFromMs = endMs - freshMs;
  const window =
    newest[1] > freshFromMs
      ? endOf(freshPart(newest, freshFromMs, freshMs), lengthMs, state.boundaries)
      : startOf(state.wasTried ? oldestFrom(state) : newest, lengthMs, state.boundaries);
  assert(window.fromMs < window.toMs, "a window is not empty");
  assert(
    state.open.some(([from, to]) => from <= window.fromMs && window.toMs <= to),
    "a window lies inside an open stretch",
  );
  state.open = without(state.open, window);
  return window;
}

/** The fresh part of the newest stretch, so that new data do not wait for a long window. A short rest before it is read with it. */
function freshPart([from, to]: Interval, freshFromMs: number, freshMs: number): Interval {
  return freshFromMs - from <= freshMs / 2 ? [from, to] : [freshFromMs, to];
}

/** The oldest open stretch behind the place where the back-fill goes on; the very oldest when there is none. */
function oldestFrom({ open, progress }: QueryState): Interval {
  const from = progress.backfill?.from ?? 0;
  const next = open.find(([, to]) => to > from);
  if (next && next[0] <= from) return [from, next[1]];
  if (next) return next;
  delete progress.backfill;
  return open[0]!;
}

function endOf([from, to]: Interval, lengthMs: number, boundaries: readonly number[]): Window {
  const before = boundaries.filter((at) => at > from && at < to);
  return { fromMs: Math.max(from, to - lengthMs, ...before), toMs: to };
}

function startOf([from, to]: Interval, lengthMs: number, boundaries: readonly number[]): Window {
  const after = boundaries.filter((at) => at > from && at < to);
  return { fromMs: from, toMs: Math.min(to, from + lengthMs, ...after) };
}
