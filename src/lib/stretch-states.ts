/**
 * The states of one query in one stretch of time, the worst first. docs/completeness.md says what to do
 * about each.
 *
 * - lost: a part of it can't be read any more.
 * - refused: some of its samples were refused for good; the others may be proved or not.
 * - unproved: it can't be compared with the source, or differs.
 * - open: a part of it is still to be read, or is read again because the source has more samples.
 * - pending: it has not ended, or was not compared with the source yet.
 * - proved: every sample that the source had is acknowledged by the Collector.
 */
export const STRETCH_STATES = ["lost", "refused", "unproved", "open", "pending", "proved"] as const;

export type StretchState = (typeof STRETCH_STATES)[number];

/**
 * Why a stretch is lost, refused, unproved or open. `number` is its value in budcluster_stretch_reason: it never changes. `text` is a sentence
 * without a full stop.
 */
export const STRETCH_REASONS = {
  lost: { number: 1, text: "a part of it can't be read any more" },
  older_than_max_backfill: { number: 2, text: "older than MAX_BACKFILL" },
  no_pod_has_it: { number: 3, text: "no ready Prometheus Pod has samples of that time any more" },
  query_changed: { number: 4, text: "the query's PromQL was changed before this was read" },
  refused: { number: 10, text: "the Collector or the bridge refused some of its samples" },
  expression: {
    number: 20,
    text: "an expression is evaluated on a grid: it has no samples at the source to compare with",
  },
  not_counted: { number: 21, text: "it was read before its samples were counted" },
  not_compared: { number: 22, text: "it left MAX_BACKFILL before it was compared" },
  source_has_fewer: {
    number: 23,
    text: "the source has fewer samples now than were read: it deleted some, so the others can't be compared",
  },
  differs_again: {
    number: 24,
    text: "the source has more samples than were read, also after reading them again",
  },
  several_prometheus: {
    number: 25,
    text: "it was read from several Prometheus Pods, which scrape at different times",
  },
  other_prometheus: {
    number: 26,
    text: "the Prometheus Pod that it was read from does not answer any more",
  },
  partial_answers: {
    number: 27,
    text: "prometheus.accept_partial accepts answers that lack a part of the data",
  },
  too_old: {
    number: 29,
    text: "the source has more samples than were read, and MAX_BACKFILL is over: they can't be read any more",
  },
  comparison_failed: { number: 28, text: "its samples could not be counted at the source" },
  not_read: { number: 40, text: "a part of it is still to be read" },
  read_again: {
    number: 41,
    text: "the source has more samples than were read: it is being read again",
  },
} as const satisfies Record<string, { number: number; text: string }>;

export type StretchReason = keyof typeof STRETCH_REASONS;

/** The values of budcluster_stretch_state; they never change. A larger one is worse. */
export const STATE_NUMBERS = {
  proved: 0,
  pending: 1,
  open: 2,
  unproved: 3,
  refused: 4,
  lost: 5,
} as const satisfies Record<StretchState, number>;

/** The worse of two states. */
export function worseState(a: StretchState, b: StretchState): StretchState {
  return STATE_NUMBERS[a] >= STATE_NUMBERS[b] ? a : b;
}

/** The state with this number; null: there is none. */
export function stateOfNumber(number: number | null): StretchState | null {
  return STRETCH_STATES.find((state) => STATE_NUMBERS[state] === number) ?? null;
}

/** The reason with this number; null: there is none. */
export function reasonOfNumber(number: number | null): StretchReason | null {
  const names = Object.keys(STRETCH_REASONS) as StretchReason[];
  return names.find((name) => STRETCH_REASONS[name].number === number) ?? null;
}
