/** A stretch of time, left-open: (from, to], ms since the epoch. */
export type Interval = readonly [from: number, to: number];

/** The intervals with one more, sorted, merged where they touch or overlap. */
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

/** What of `range` no interval covers. `intervals` are sorted and do not overlap. */
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

/** How far everything after `from` is covered without a break. */
export function coveredUntil(from: number, intervals: readonly Interval[]): number {
  const first = intervals.find(([start, end]) => start <= from && end > from);
  return first ? first[1] : from;
}

/** The intervals without what ends at or before `ms`. */
export function dropBefore(ms: number, intervals: readonly Interval[]): Interval[] {
  return intervals.filter(([, to]) => to > ms).map(([from, to]) => [Math.max(from, ms), to]);
}
