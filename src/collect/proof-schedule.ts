import type { StretchProof } from "./proof.ts";

/** When stretches are compared with the source. */
export interface ProofSettings {
  /** Length of a stretch. */
  stretchMs: number;
  /** The first comparison is so long after a stretch's end. */
  delayMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** A short delay finds only what is hardly late: the comparison is repeated until the stretch is as old as the default delay. */
const REPEATED_UNTIL_MS = 15 * MINUTE_MS;
const REPEATED_AFTER = 3;
/** The last comparison: before the stretch can't be read again any more, and not later than a day after its end. */
const LAST_BEFORE_MS = 2 * HOUR_MS;
const LAST_AFTER_MS = 24 * HOUR_MS;

/** How many comparisons of a stretch (from, from + stretchMs] are due at `nowMs`. */
export function comparisonsDue(
  from: number,
  nowMs: number,
  { stretchMs, delayMs }: ProofSettings,
  maxBackfillMs: number,
): number {
  const to = from + stretchMs;
  const margin = Math.min(LAST_BEFORE_MS, maxBackfillMs / 4);
  const last = Math.min(from + maxBackfillMs - margin, to + LAST_AFTER_MS);
  let due = 0;
  let ageMs = delayMs;
  do {
    if (nowMs >= to + ageMs) due++;
    ageMs = Math.max(1, ageMs) * REPEATED_AFTER;
  } while (ageMs <= REPEATED_UNTIL_MS && to + ageMs < last);
  return nowMs >= last && last > to + delayMs ? due + 1 : due;
}

/** Is the stretch to be compared, by the schedule or because it was read again? */
export function isDue(stretch: StretchProof, due: number): boolean {
  const isReadAgain = stretch.source !== null && stretch.comparedAt === null;
  return stretch.reread === null && (due > stretch.comparisons || isReadAgain);
}
