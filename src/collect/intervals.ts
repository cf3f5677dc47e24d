/** A stretch of time, left-open: (from, to], ms since the epoch. */
export type Interval = readonly [from: number, to: number];

/** The intervals and one more: sorted, merged where they touch or overlap. */
export function addInterval(intervals: readonly Interval[], added: Interval): Interval[] {
  const merged: [number, number][] = [];
  for (const [from, to] of [...intervals, added].toSorted((a, b) => a[0] - b[0])) {
    if (to <= from) continue;
    const last = merged.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Are the intervals sorted, not empty, and without overlap? */
export function isDisjoint(intervals: readonly Interval[]): boolean {
  return intervals.every(([from, to], i) => from < to && (i === 0 || intervals[i - 1]![1] <= from));
}

/** The parts of `range` that no interval covers. `intervals` are sorted and do not overlap. */
export function missingIn(range: Interval, intervals: readonly Interval[]): Interval[] {
  const missing: Interval[] = [];
  let from = range[0];
  for (const [start, end] of intervals) {
    if (end <= from) continue;
    if (start >= range[1]) break;
    if (start > from) missing.push([from, start]);
    from = end;
  }
  if (from < range[1]) missing.push([from, range[1]]);
  return missing;
}

/** The end of the interval that covers the time after `from`; `from` itself when none does. */
export function coveredUntil(from: number, intervals: readonly Interval[]): number {
  const first = intervals.find(([start, end]) => start <= from && end > from);
  return first ? first[1] : from;
}

/** The intervals, as far as they lie after `ms`. */
export function dropBefore(ms: number, intervals: readonly Interval[]): Interval[] {
  return intervals.filter(([, to]) => to > ms).map(([from, to]) => [Math.max(from, ms), to]);
}
