import { addInterval, missingIn, type Interval } from "./intervals.ts";
import {
  commit,
  lose,
  settledIntervals,
  type AbsentStretch,
  type Loss,
  type QueryProgress,
} from "./progress.ts";

/**
 * Stretches kept per query. Stretches with nothing open between them are neighbours; neighbours that were seen at the same time are one.
 * Beyond the maximum any two neighbours become one, seen when the later one was; without neighbours the oldest is forgotten. Both only
 * delay the time at which they count as lost.
 */
const STRETCHES_MAX = 50;

/**
 * Records that no ready Pod has samples of a window that begins before their oldest ones. The first time the window stays open: a Pod that is
 * just restarting may have them. A stretch that was first seen at least `intervalMs` ago is lost now. Returns the new losses.
 */
export function sawAbsent(
  name: string,
  query: QueryProgress,
  window: Interval,
  times: { nowMs: number; intervalMs: number },
): Loss[] {
  // No sample before `promised` was promised, so that time is complete as it is.
  const promised = query.promised_from ?? query.from;
  const unpromised: Interval = [window[0], Math.min(window[1], promised)];
  if (unpromised[1] > unpromised[0]) commit(query, unpromised, { read: 0, sent: 0 });
  const rest: Interval = [Math.max(window[0], promised), window[1]];
  if (rest[1] <= rest[0]) return [];
  const known = query.absent ?? [];
  const seenBefore = known.filter(({ seen_at }) => seen_at <= times.nowMs - times.intervalMs);
  const losses = seenBefore.flatMap(({ from, to }) =>
    lose(name, query, [Math.max(from, rest[0]), Math.min(to, rest[1])], "no_pod_has_it"),
  );
  const news = missingIn(rest, unionOf(known)).map(([from, to]): AbsentStretch => {
    return { from, to, seen_at: times.nowMs };
  });
  setAbsent(query, [...known, ...news]);
  return losses;
}

/** Forgets stretches that were settled since: read from another Pod, or lost. */
export function pruneAbsent(query: QueryProgress): void {
  setAbsent(query, query.absent ?? []);
}

function setAbsent(query: QueryProgress, stretches: readonly AbsentStretch[]): void {
  const settled = settledIntervals(query);
  const isNothingOpenBetween = (a: AbsentStretch, b: AbsentStretch): boolean =>
    missingIn([a.to, b.from], settled).length === 0;
  const open = stretches.flatMap(({ from, to, seen_at }) =>
    missingIn([from, to], settled).map(([start, end]) => ({ from: start, to: end, seen_at })),
  );
  const merged: AbsentStretch[] = [];
  for (const stretch of open.toSorted((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last && last.seen_at === stretch.seen_at && isNothingOpenBetween(last, stretch)) last.to = stretch.to;
    else merged.push(stretch);
  }
  while (merged.length > STRETCHES_MAX) joinOrForget(merged, isNothingOpenBetween);
  if (merged.length === 0) delete query.absent;
  else query.absent = merged;
}

function joinOrForget(
  stretches: AbsentStretch[],
  isNothingOpenBetween: (a: AbsentStretch, b: AbsentStretch) => boolean,
): void {
  const at = stretches.findIndex((stretch, i) => {
    const next = stretches[i + 1];
    return next !== undefined && isNothingOpenBetween(stretch, next);
  });
  if (at < 0) {
    stretches.shift();
    return;
  }
  const [first, second] = stretches.slice(at, at + 2) as [AbsentStretch, AbsentStretch];
  const seenAt = Math.max(first.seen_at, second.seen_at);
  stretches.splice(at, 2, { from: first.from, to: second.to, seen_at: seenAt });
}

function unionOf(stretches: readonly AbsentStretch[]): Interval[] {
  return stretches.reduce<Interval[]>((all, { from, to }) => addInterval(all, [from, to]), []);
}
