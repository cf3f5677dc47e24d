import type { Query } from "#prometheus/catalogue.ts";
import type { Window } from "#prometheus/client.ts";
import { missingIn, type Interval } from "./intervals.ts";
import {
  addGap,
  forgetBefore,
  hashPromql,
  newQueryProgress,
  settledIntervals,
  watermarkOf,
  type ClusterProgress,
  type QueryProgress,
} from "./progress.ts";

export interface PlanSettings {
  /** How far back the first collection of a query reaches. */
  initialLookbackMs: number;
  /** How far back what was missed is read. */
  maxBackfillMs: number;
  /** Longest window that one request reads. */
  windowMsMax: number;
}

/** One window of one query to read. */
export interface ReadTask {
  query: Query;
  window: Window;
}

/** The earliest time that the next windows may begin at: where the queries' watermarks are, or where new queries would begin. */
export function earliestStart(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  settings: PlanSettings,
): number {
  const lookback = endMs - settings.initialLookbackMs;
  return Math.min(
    ...queries.map(({ name, promql }) => {
      const known = progress.queries[name];
      if (!known) return lookback;
      return known.promql_hash === hashPromql(promql) ? watermarkOf(known) : known.attempted;
    }),
  );
}

/**
 * Makes sure that every query has a progress. A new one begins `initialLookbackMs` ago, or at Prometheus' oldest sample if that is later: of the
 * time before nothing is promised. One whose PromQL changed begins where the old one ended. Returns the names of those that are new.
 */
export function preparePlan(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  oldestSampleMs: number | undefined,
  settings: PlanSettings,
): Set<string> {
  const begun = new Set<string>();
  const earliest = Math.max(endMs - settings.initialLookbackMs, (oldestSampleMs ?? 0) - 1);
  for (const { name, promql } of queries) {
    const known = progress.queries[name];
    if (known?.promql_hash === hashPromql(promql)) continue;
    if (known) progress.queries[name] = changedProgress(known, promql);
    else {
      begun.add(name);
      progress.queries[name] = newQueryProgress(promql, earliest);
    }
  }
  return begun;
}

/**
 * The progress of another PromQL under the same name. It begins where the old one was last tried, because it may give other values for times of
 * which a part was sent already; what the old one had not read by then is lost.
 */
function changedProgress(known: QueryProgress, promql: string): QueryProgress {
  const changed: QueryProgress = {
    ...newQueryProgress(promql, known.attempted),
    gaps: known.gaps,
    samples_read: known.samples_read,
    samples_sent: known.samples_sent,
  };
  for (const [from, to] of missingIn([known.from, known.attempted], settledIntervals(known))) {
    const reason = "the query's PromQL was changed before this was read";
    addGap(changed, { from, to, state: "lost", reason, points: 0 });
  }
  return changed;
}

/**
 * The windows to read up to `endMs`, newest first, then from the oldest on: what is happening now matters most, what is oldest is
 * the nearest to being lost. What can't be read any more becomes a lost gap: older than `maxBackfillMs`, or before Prometheus' oldest sample.
 */
export function planWindows(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  oldestSampleMs: number | undefined,
  settings: PlanSettings,
  begun: ReadonlySet<string>,
): ReadTask[] {
  const newest: ReadTask[] = [];
  const older: ReadTask[] = [];
  const floor = endMs - settings.maxBackfillMs;
  for (const query of queries) {
    const state = progress.queries[query.name]!;
    loseBefore(state, floor, "older than MAX_BACKFILL");
    // Of a new query nothing was promised, so nothing can be lost.
    if (oldestSampleMs !== undefined && !begun.has(query.name)) {
      loseBefore(
        state,
        Math.min(oldestSampleMs - 1, endMs),
        "Prometheus has no samples of that time any more",
      );
    }
    forgetBefore(state, floor);
    const windows = missingIn([state.from, endMs], settledIntervals(state)).flatMap((range) =>
      cut(range, state, settings.windowMsMax),
    );
    windows.forEach((window, i) => (i === windows.length - 1 ? newest : older).push({ query, window }));
  }
  return [...newest, ...older.toSorted((a, b) => a.window.fromMs - b.window.fromMs)];
}

function loseBefore(query: QueryProgress, ms: number, reason: string): void {
  for (const [from, to] of missingIn([query.from, ms], settledIntervals(query))) {
    addGap(query, { from, to, state: "lost", reason, points: 0 });
  }
}

/** Pieces of at most `windowMsMax` that do not reach over a change of a metric's type. */
function cut([from, to]: Interval, query: QueryProgress, windowMsMax: number): Window[] {
  const changes = [
    ...new Set(Object.values(query.types).flatMap((types) => types.map((type) => type.since))),
  ];
  const windows: Window[] = [];
  for (let start = from; start < to;) {
    const end = Math.min(to, start + windowMsMax, ...changes.filter((change) => change > start));
    windows.push({ fromMs: start, toMs: end });
    start = end;
  }
  return windows;
}

/** Two halves of a window, or undefined when it is too short to halve (below 2 s). */
export function halve({ fromMs, toMs }: Window): [Window, Window] | undefined {
  if (toMs - fromMs < 2000) return undefined;
  const middle = fromMs + Math.floor((toMs - fromMs) / 2);
  return [
    { fromMs, toMs: middle },
    { fromMs: middle, toMs },
  ];
}
