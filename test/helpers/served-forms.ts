import type { FormSeries } from "../forms/series.ts";
import type { ServedSeries } from "./served-cases.ts";

const MINUTE_MS = 60_000;
const EVERY_MS = 30_000;

/** Series of a form as a Prometheus has them: scraped every half minute, their minutes counted back from startMs. */
export function toServed(all: readonly FormSeries[], startMs: number): ServedSeries[] {
  return all.map(({ metric, labels, value, scrapedSeconds = 1 }) => ({
    metric,
    labels,
    everyMs: EVERY_MS,
    offsetMs: (scrapedSeconds * 1000) % EVERY_MS,
    valueAt: (timeMs) => (typeof value === "number" ? value : value((startMs - timeMs) / MINUTE_MS)),
  }));
}
