import { STRETCH_STATES, worseState, type StretchReason, type StretchState } from "./stretch-states.ts";

const HOUR_MS = 3_600_000;
const HOURS = 24;

/** The numbers of samples of a stretch, in the order in which they are shown. */
export const SAMPLE_COUNTS = ["source", "read", "acknowledged", "refused", "late"] as const;

export type SampleCount = (typeof SAMPLE_COUNTS)[number];

/**
 * One query in one stretch of time (from, to], ms. `source`: samples that Prometheus had when that was last compared, `comparedAt`; null: never
 * compared. `late`: samples that reached Prometheus after the stretch was read, and were read since. In the query role, null is also what the
 * bridge did not report.
 */
export interface StretchReport extends Record<SampleCount, number | null> {
  query: string;
  from: number;
  to: number;
  state: StretchState | null;
  /** Of lost, refused, unproved and open stretches. */
  reason: StretchReason | null;
  comparedAt: number | null;
}

/** not_comparable: unproved because the query is an expression. unknown: the bridge did not report it. */
export type StretchKind = StretchState | "not_comparable" | "unknown";

export const STRETCH_KINDS: readonly StretchKind[] = [...STRETCH_STATES, "not_comparable", "unknown"];

/** The sums of stretches. Unknown numbers count as 0. */
interface CompletenessTotals extends Record<SampleCount, number> {
  /** How many there are of each kind. */
  stretches: Record<StretchKind, number>;
}

interface HourState {
  /** RFC 3339; the hour is (from, from + 1 h]. */
  from: string;
  /** null: nothing is known of the hour, or nothing was collected. */
  state: StretchState | null;
}

export interface CompletenessSummary {
  totals: CompletenessTotals;
  /** The oldest first. */
  hours: HourState[];
}

/** The 24 hours that end with the running one, (from, to] in ms. */
export function lastHours(nowMs: number): { from: number; to: number } {
  const to = Math.ceil(nowMs / HOUR_MS) * HOUR_MS;
  return { from: to - HOURS * HOUR_MS, to };
}

/** Adds stretches up, a part at a time. */
export interface Tally {
  add(stretches: readonly StretchReport[]): void;
  summary(): CompletenessSummary;
}

/**
 * Totals, and the state of each hour that the range (from, to] reaches into: the worst of the stretches in it. An expression that has no proof
 * decides only about an hour that has nothing else. Unknown stretches don't count.
 */
export function createTally({ from, to }: { from: number; to: number }): Tally {
  const counts = Object.fromEntries(SAMPLE_COUNTS.map((name) => [name, 0])) as Record<SampleCount, number>;
  const kinds = Object.fromEntries(STRETCH_KINDS.map((kind) => [kind, 0])) as Record<StretchKind, number>;
  const first = Math.floor(from / HOUR_MS);
  const hours = Array.from({ length: Math.ceil(to / HOUR_MS) - first }, (): WorstOfHour => ({}));

  const addToHours = (stretch: StretchReport, state: StretchState, isComparable: boolean): void => {
    const begin = Math.max(0, Math.floor(stretch.from / HOUR_MS) - first);
    const end = Math.min(hours.length, Math.ceil(stretch.to / HOUR_MS) - first);
    for (const hour of hours.slice(begin, end)) {
      const kind = isComparable ? "comparable" : "other";
      hour[kind] = worseState(hour[kind] ?? state, state);
    }
  };

  return {
    add: (stretches) => {
      for (const stretch of stretches) {
        for (const name of SAMPLE_COUNTS) counts[name] += stretch[name] ?? 0;
        const kind = kindOf(stretch);
        kinds[kind]++;
        if (stretch.state !== null) addToHours(stretch, stretch.state, kind !== "not_comparable");
      }
    },
    summary: () => ({
      totals: { ...counts, stretches: { ...kinds } },
      hours: hours.map(({ comparable, other }, hour) => ({
        from: new Date((first + hour) * HOUR_MS).toISOString(),
        state: comparable ?? other ?? null,
      })),
    }),
  };
}

/** The worst state of an hour's stretches: of those that have or lack a proof, and of expressions, which can't have one. */
interface WorstOfHour {
  comparable?: StretchState;
  other?: StretchState;
}

function kindOf({ state, reason }: StretchReport): StretchKind {
  if (state === null) return "unknown";
  return reason === "expression" ? "not_comparable" : state;
}
