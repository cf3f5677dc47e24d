/** Samples, or their hours in the roll-ups. */
export type StorageKind = "samples" | "hours";

export interface StorageNeed {
  /** From the first window's start to the last one's end. */
  rangeMs: number;
  /** Between points, which lie on multiples of it, and the window of each of them. */
  stepMs: number;
  /** Quantiles over a window's samples (quantile_over_time), which hours don't keep. */
  needsEverySample: boolean;
  /** Are there more samples than a statement should read? Default false. */
  isMuch?: boolean;
}

const HOUR_MS = 3_600_000;
const RANGE_MS_MIN = 7 * 24 * HOUR_MS;

/**
 * Where a query reads. Hours give the same points as samples (see `windowSource`), so this is about speed only: over a week or less samples are fast enough unless they
 * are very many, and nothing is known in hours about a part of an hour.
 */
export function chooseStorage({
  rangeMs,
  stepMs,
  needsEverySample,
  isMuch = false,
}: StorageNeed): StorageKind {
  const isWholeHours = stepMs > 0 && stepMs % HOUR_MS === 0;
  return isWholeHours && (isMuch || rangeMs > RANGE_MS_MIN) && !needsEverySample ? "hours" : "samples";
}
