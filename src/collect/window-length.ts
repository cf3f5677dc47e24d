/**
 * How long the windows of one query may be. A window that is too much for the source halves the length. When one window after another is slow,
 * the second quarters it and so on: each costs a time-out, and the shortest window must be reached within a few. Windows that succeed double it
 * again.
 * It is part of the query's progress record, so a slow source does not have to be measured anew in each round.
 */
export interface WindowLength {
  /** Longest window that is read, ms. */
  ms: number;
  /** Windows of this length that succeeded one after another. */
  streak: number;
  /** The streak that doubles the length. */
  streakToGrow: number;
  /** The length was doubled and no window of it has succeeded yet. */
  isUnproven: boolean;
  /** Windows that were too much one after another; of the shortest length, once that is reached. */
  failures: number;
}

/** A length that failed is not tried again until this many shorter windows succeeded. */
const STREAK_TO_GROW_MIN = 2;
/** After this many successes a doubled length is tried again, however often it failed before. */
const STREAK_TO_GROW_MAX = 32;

const DIVISIONS_MAX = 10;

export function longestWindow(msMax: number): WindowLength {
  return { ms: msMax, streak: 0, streakToGrow: 1, isUnproven: false, failures: 0 };
}

/**
 * The length after a window of `windowMs` was read to its end. Shorter windows than the length prove nothing. `mayGrow`: false when the answer of a
 * window of twice the length would be too large.
 */
export function afterSuccess(
  length: WindowLength,
  windowMs: number,
  { msMax, mayGrow = true }: { msMax: number; mayGrow?: boolean },
): WindowLength {
  if (windowMs < length.ms) return length;
  const streakToGrow = length.isUnproven ? Math.max(1, length.streakToGrow >> 1) : length.streakToGrow;
  const streak = length.streak + 1;
  const proven = { ms: length.ms, streak, streakToGrow, isUnproven: false, failures: 0 };
  if (!mayGrow || length.ms >= msMax || streak < streakToGrow) return proven;
  return { ...proven, ms: Math.min(msMax, length.ms * 2), streak: 0, isUnproven: true };
}

/**
 * The length after a window of `windowMs` was too much for the source. A length that was doubled too early takes twice as many successes
 * before it is tried again: a source that always fails at 30 minutes is not asked for 30 minutes every second time.
 */
export function afterTooMuch(
  length: WindowLength,
  windowMs: number,
  { msMin, isSlow }: { msMin: number; isSlow: boolean },
): WindowLength {
  if (windowMs <= msMin) return { ...length, streak: 0, failures: length.failures + 1 };
  const divisor = isSlow ? 2 ** Math.min(length.failures + 1, DIVISIONS_MAX) : 2;
  const ms = Math.max(msMin, Math.floor(windowMs / divisor));
  // A longer one that was under way when the length was halved says nothing new.
  if (ms >= length.ms || windowMs > length.ms) return length;
  const streakToGrow = length.isUnproven
    ? Math.min(STREAK_TO_GROW_MAX, length.streakToGrow * 2)
    : Math.max(STREAK_TO_GROW_MIN, length.streakToGrow);
  const failures = ms === msMin ? 0 : length.failures + 1;
  return { ms, streak: 0, streakToGrow, isUnproven: false, failures };
}
