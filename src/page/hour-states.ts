import type { HourState } from "./api-types.ts";

/** The worst first, as in docs/completeness.md. */
export const HOUR_TEXTS: Record<HourState, string> = {
  lost: "lost: a part can't be read any more",
  refused: "refused: the Collector or the bridge refused samples",
  unproved: "unproved: stored, but not compared with the source",
  open: "open: still to be read",
  pending: "pending: not over, or not compared yet",
  proved: "proved: every sample of the source is stored",
};
