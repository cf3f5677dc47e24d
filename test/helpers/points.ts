import type { SeriesAnswer } from "#query/series/series.ts";
import { keyOfLabels, type Points } from "./promql-reference.ts";

const NUMBERS: Record<string, number> = { NaN: Number.NaN, "+Inf": Infinity, "-Inf": -Infinity };

export function toPoints(answer: SeriesAnswer): Points {
  return new Map(
    answer.series.map(({ labels, points }) => [
      keyOfLabels(labels),
      new Map(
        points.map(({ timestamp, value }) => [
          Date.parse(timestamp),
          typeof value === "number" ? value : NUMBERS[value]!,
        ]),
      ),
    ]),
  );
}

/** Differences, at most 10 lines; empty when all points exist with values within 1e-9 relative. */
export function differences(expected: Points, actual: Points): string[] {
  const lines: string[] = [];
  const keys = new Set([...expected.keys(), ...actual.keys()]);
  for (const key of keys) {
    const wanted = expected.get(key) ?? new Map<number, number>();
    const found = actual.get(key) ?? new Map<number, number>();
    for (const ms of new Set([...wanted.keys(), ...found.keys()])) {
      if (isClose(wanted.get(ms), found.get(ms))) continue;
      lines.push(`${key} at ${ms}: expected ${wanted.get(ms)}, was ${found.get(ms)}`);
      if (lines.length === 10) return lines;
    }
  }
  return lines;
}

/** The largest relative distance between values of the same point, infinite where one of them is not a number that the other is. */
export function largestDeviation(expected: Points, actual: Points): number {
  let largest = 0;
  for (const [key, points] of expected) {
    for (const [ms, a] of points) {
      const b = actual.get(key)?.get(ms);
      if (b === undefined || Object.is(a, b) || a === b) continue;
      const deviation = Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b));
      largest = Math.max(largest, Number.isNaN(deviation) ? Infinity : deviation);
    }
  }
  return largest;
}

function isClose(a: number | undefined, b: number | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  if (Object.is(a, b) || a === b) return true;
  // Beside an infinite value any distance would be small.
  if (!Number.isFinite(a) || !Number.isFinite(b)) return false;
  return Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
}
