import { checkRange, RANGE_FIELDS, type TimeRange } from "#query/range.ts";

/** The range of a request; an end that is left out is undefined. */
export type RequestedRange = { [End in keyof TimeRange]?: TimeRange[End] | undefined };

/** The range of an answer, and the time that it describes. */
export interface StateWindow extends TimeRange {
  /** The newest time up to `toMs` to which everything is stored; null: nothing of the window is stored. */
  asOfMs: number | null;
}

export interface WindowRules {
  /** Length of the window when `fromMs` is missing. */
  defaultMs: number;
  maxMs: number;
}

/** Throws `request_invalid` with the field, and `query_too_large` for a range over `maxMs`. */
export function checkRequestedRange(requested: RequestedRange, nowMs: number, rules: WindowRules): void {
  const toMs = requested.toMs ?? nowMs;
  checkRange({ fromMs: requested.fromMs ?? toMs - rules.defaultMs, toMs }, RANGE_FIELDS, nowMs, rules.maxMs);
}

/**
 * The window of an answer. Without `toMs` it ends where the stored data ends, so that the default window is full of data however long ago
 * the last collection was.
 */
export function toStateWindow(
  requested: RequestedRange,
  storedUntilMs: number | null,
  nowMs: number,
  rules: WindowRules,
): StateWindow {
  const endMs = Math.min(requested.toMs ?? nowMs, nowMs);
  const storedMs = storedUntilMs === null ? null : Math.min(storedUntilMs, endMs);
  const isDefault = requested.toMs === undefined && requested.fromMs === undefined;
  const toMs = isDefault ? (storedMs ?? endMs) : endMs;
  const fromMs = requested.fromMs ?? toMs - rules.defaultMs;
  return { fromMs, toMs, asOfMs: storedMs !== null && storedMs > fromMs ? storedMs : null };
}
