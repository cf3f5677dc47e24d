import type { OpenSeries } from "./open-series.ts";
import { refusalText } from "./series-labels.ts";
import type { RefusedSeries } from "./series-sink.ts";

/** Reasons that are counted separately; series with further ones are counted together. */
const REASONS_MAX = 5;

/** The refused series of one answer, counted by reason. */
export interface Refusals {
  /** Notes the open series as refused, with that many samples. */
  add(open: Pick<OpenSeries, "refusal">, samples: number): void;
  list(): RefusedSeries[];
}

/** `hide` removes secrets and addresses from the names. */
export function createRefusals(hide: (words: string) => string): Refusals {
  const byReason = new Map<string, RefusedSeries>();
  return {
    add: ({ refusal }, samples) => {
      if (!refusal) return;
      const { code } = refusal;
      const own = hide(refusalText(refusal.metric, refusal.problem));
      const reason =
        byReason.has(own) || byReason.size < REASONS_MAX
          ? own
          : "further series are refused: their labels are too large or not valid UTF-8";
      const same = byReason.get(reason) ?? { code, reason, series: 0, samples: 0 };
      same.series++;
      same.samples += samples;
      byReason.set(reason, same);
    },
    list: () => [...byReason.values()],
  };
}
