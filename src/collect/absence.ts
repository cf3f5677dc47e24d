import { addInterval, missingIn, type Interval } from "./intervals.ts";
import {
  commit,
  lose,
  settledIntervals,
  type AbsentStretch,
  type Loss,
  type QueryProgress,
} from "./progress.ts";

/** Stretches kept per query. Beyond them neighbours become one, seen when the later one was; where there are none, the oldest is forgotten. Both only delay that they count as lost. */
const STRETCHES_MAX = 50;

/**
 * Records that no ready Pod has samples of a window that begins before their oldest ones. The first time the window stays open: a Pod that is
 * just restarting may have them. What was seen like this at least `intervalMs` ago is lost now. Returns what became lost.
 */
export function sawAbsent(
  name: string,
  query: QueryProgress,
  window: Interval,
  times: { nowMs: number; intervalMs: number },
): Loss[] {
  // Nothing of the time before was promised, so it is complete as it is.
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

/** Forgets stretches that are settled meanwhile: read from another Pod, or lost. */
export function pruneAbsent(query: QueryProgress): void {
  setAbsent(query, query.absent ?? []);
}

function setAbsent(query: QueryProgress, stretches: readonly AbsentStretch[]): void {
  const settled = settledIntervals(query);
  const open = stretches.flatMap(({ from, to, seen_at }) =>
    missingIn([from, to], settled).map(([start, end]) => ({ from: start, to: end, seen_at })),
  );
  const merged = mergeNeighbours(open.toSorted((a, b) => a.from - b.from));
  while (merged.length > STRETCHES_MAX) joinOrForget(merged);
  if (merged.length === 0) delete query.absent;
  else query.absent = merged;
}

function joinOrForget(stretches: AbsentStretch[]): void {
  const at = stretches.findIndex(({ to }, i) => stretches[i + 1]?.from === to);
  if (at < 0) {
    stretches.shift();
    return;
  }
  const [first, second] = stretches.slice(at, at + 2) as [AbsentStretch, AbsentStretch];
  const seenAt = Math.max(first.seen_at, second.seen_at);
  stretches.splice(at, 2, { from: first.from, to: second.to, seen_at: seenAt });
}

function mergeNeighbours(stretches: readonly AbsentStretch[]): AbsentStretch[] {
  const merged: AbsentStretch[] = [];
  for (const stretch of stretches) {
    const last = merged.at(-1);
    if (last && last.to === stretch.from && last.seen_at === stretch.seen_at) last.to = stretch.to;
    else merged.push({ ...stretch });
  }
  return merged;
}

function unionOf(stretches: readonly AbsentStretch[]): Interval[] {
  return stretches.reduce<Interval[]>((all, { from, to }) => addInterval(all, [from, to]), []);
}
