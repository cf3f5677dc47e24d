import { refuseField, refuseSize } from "./limits.ts";

/** (fromMs, toMs]; Unix time in ms. */
export interface TimeRange {
  fromMs: number;
  toMs: number;
}

/** What a request calls the ends of its range. */
export interface RangeFields {
  from: string;
  to: string;
}

export const RANGE_FIELDS: RangeFields = { from: "from", to: "to" };

/** The clocks of callers may run ahead a little. */
const AHEAD_MAX_MS = 5 * 60_000;
const HOUR_MS = 3_600_000;

/**
 * Throws `request_invalid` with the field for a range that is empty, reversed or in the future, and `query_too_large` for one that is longer
 * than `maxMs`.
 */
export function checkRange(
  { fromMs, toMs }: TimeRange,
  fields: RangeFields,
  nowMs: number,
  maxMs: number,
): void {
  const future = (field: string) =>
    refuseField(field, "is in the future", `Send a time before ${toTimestamp(nowMs)}.`);
  if (toMs > nowMs + AHEAD_MAX_MS) throw future(fields.to);
  if (fromMs >= nowMs) throw future(fields.from);
  if (fromMs >= toMs) {
    throw refuseField(
      fields.from,
      `is not before ${fields.to}`,
      `Send a ${fields.from} that is earlier than ${fields.to}.`,
    );
  }
  if (toMs - fromMs > maxMs) {
    const hours = Math.floor(maxMs / HOUR_MS);
    throw refuseSize(
      "range",
      `the range is longer than ${hours} h`,
      `Ask for at most ${hours} h in one request.`,
    );
  }
}

/** RFC 3339 in UTC, with ms. */
export function toTimestamp(ms: number): string {
  return new Date(ms).toISOString();
}
