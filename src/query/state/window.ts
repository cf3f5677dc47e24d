import { toTimestamp } from "#query/grid.ts";
import { refuseField, refuseSize } from "#query/limits.ts";

/** A stretch of time as the caller gave it: RFC 3339 or Unix seconds, each may be missing. */
export interface TimeRange {
  from?: string;
  to?: string;
}

/** (fromMs, toMs] as asked for, and the time that the answer describes. Unix time in ms. */
export interface StateWindow {
  fromMs: number;
  toMs: number;
  /** The newest time up to `toMs` that is stored; null: nothing of the window is. */
  asOfMs: number | null;
}

export interface WindowRules {
  /** Length of the window when `from` is missing. */
  defaultMs: number;
  maxMs: number;
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i;
const UNIX_SECONDS = /^\d{1,11}(\.\d{1,9})?$/;
const FORMS = 'Send RFC 3339 with a time zone ("2025-06-01T12:00:00Z") or Unix seconds ("1748779200").';
/** Callers' clocks may run ahead a little. */
const AHEAD_MAX_MS = 60_000;
const HOUR_MS = 3_600_000;

/**
 * What the caller asked for, checked before anything is read. Throws `request_invalid` with the field for a bad time, one in the future or
 * from >= to, and `query_too_large` for a range over `maxMs`.
 */
export function parseRange(
  range: TimeRange,
  nowMs: number,
  rules: WindowRules,
): { fromMs?: number; toMs?: number } {
  const fromMs = range.from === undefined ? undefined : parseTime("from", range.from);
  const toMs = range.to === undefined ? undefined : parseTime("to", range.to);
  if (toMs !== undefined && toMs > nowMs + AHEAD_MAX_MS) throw refuseFuture("to", nowMs);
  if (fromMs !== undefined && fromMs >= nowMs) throw refuseFuture("from", nowMs);
  if (fromMs !== undefined) {
    const endMs = toMs ?? nowMs;
    if (fromMs >= endMs)
      throw refuseField("from", "is not before to", "Send a from that is earlier than to.");
    if (endMs - fromMs > rules.maxMs) {
      const hours = Math.floor(rules.maxMs / HOUR_MS);
      throw refuseSize(
        "range",
        `the range is longer than ${hours} h`,
        `Ask for at most ${hours} h: move from and to together.`,
      );
    }
  }
  return { ...(fromMs === undefined ? {} : { fromMs }), ...(toMs === undefined ? {} : { toMs }) };
}

/**
 * The window of an answer. Without `to` it ends where the stored data ends, so that the default window is full of data however long ago
 * the last collection was.
 */
export function toStateWindow(
  asked: { fromMs?: number; toMs?: number },
  storedUntilMs: number | null,
  nowMs: number,
  rules: WindowRules,
): StateWindow {
  const endMs = Math.min(asked.toMs ?? nowMs, nowMs);
  const storedMs = storedUntilMs === null ? null : Math.min(storedUntilMs, endMs);
  const toMs = asked.toMs === undefined && asked.fromMs === undefined ? (storedMs ?? endMs) : endMs;
  const fromMs = asked.fromMs ?? toMs - rules.defaultMs;
  return { fromMs, toMs, asOfMs: storedMs !== null && storedMs > fromMs ? storedMs : null };
}

/** ms since the epoch. Throws `request_invalid`. */
function parseTime(field: string, text: string): number {
  if (UNIX_SECONDS.test(text)) return Math.round(Number(text) * 1000);
  if (/^\d{12,}$/.test(text))
    throw refuseField(field, "is too large for Unix seconds", "Send seconds, not ms.");
  // A "+" that is not encoded in a URL arrives as a space.
  const written = text.replace(/ (?=\d\d:\d\d$)/, "+");
  const date = RFC3339.exec(written)?.[1];
  const timeMs = date === undefined ? Number.NaN : Date.parse(written);
  // V8 takes February 30 for March 2.
  const dayMs = Date.parse(`${date}T00:00:00Z`);
  if (Number.isNaN(timeMs) || !toTimestamp(dayMs).startsWith(date!)) {
    throw refuseField(field, "is not a time", FORMS);
  }
  return timeMs;
}

function refuseFuture(field: string, nowMs: number): Error {
  return refuseField(field, "is in the future", `Send a time before ${toTimestamp(nowMs)}.`);
}
