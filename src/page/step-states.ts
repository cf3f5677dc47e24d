import type { HourState, Stretch } from "./api-types.ts";
import type { ChartData } from "./chart-data.ts";
import { HOUR_TEXTS } from "./hour-states.ts";

/** What became of the samples of a step of a chart. `text` says why it has none, or not all. */
export interface StepState {
  state: HourState | null;
  text: string;
}

const RANKS = Object.keys(HOUR_TEXTS) as HourState[];
const GOOD: ReadonlySet<HourState> = new Set(["proved", "pending"]);

/** The worst stretch of each time; a stretch includes its end, but not its start. */
function worstOf(times: readonly number[], stretches: readonly Stretch[]): (Stretch | null)[] {
  const worst = times.map((): Stretch | null => null);
  const [start = 0, second = start + 1] = times;
  const step = second - start;
  const placeOf = (time: string): number => Math.floor((Date.parse(time) / 1000 - start) / step);
  const rankOf = (stretch: Stretch | null): number =>
    stretch === null || stretch.state === null ? RANKS.length : RANKS.indexOf(stretch.state);
  for (const stretch of stretches) {
    const end = Math.min(times.length - 1, placeOf(stretch.to));
    for (let i = Math.max(0, placeOf(stretch.from) + 1); i <= end; i += 1) {
      if (rankOf(stretch) <= rankOf(worst[i] ?? null)) worst[i] = stretch;
    }
  }
  return worst;
}

function textOf(stretch: Stretch | null, isGap: boolean): string {
  const state = stretch?.state ?? null;
  if (state !== null && !GOOD.has(state)) return `${state}: ${stretch?.message ?? HOUR_TEXTS[state]}`;
  if (!isGap) return "";
  if (state === "proved") return "no value: proved, everything that Prometheus had is stored";
  return state === "pending"
    ? "no value: pending, not compared with Prometheus yet"
    : "nothing was collected";
}

/** The state of each time of a chart. `asOfMs`: later steps are not whole yet. */
export function toStepStates(
  { times, lines }: ChartData,
  stretches: readonly Stretch[],
  asOfMs: number,
): StepState[] {
  return worstOf(times, stretches).map((stretch, i) => {
    const state = stretch?.state ?? null;
    if ((times[i] ?? 0) * 1000 > asOfMs) return { state, text: "" };
    return {
      state,
      text: textOf(
        stretch,
        lines.every(({ values }) => values[i] === null),
      ),
    };
  });
}

/** Neighbouring steps of one state and text. `from` and `to`: places of times, both included. */
export interface StepRun extends StepState {
  from: number;
  to: number;
}

export function toRuns(states: readonly StepState[]): StepRun[] {
  const runs: StepRun[] = [];
  for (const [i, { state, text }] of states.entries()) {
    const last = runs.at(-1);
    if (last?.state === state && last.text === text) last.to = i;
    else runs.push({ state, text, from: i, to: i });
  }
  return runs;
}
