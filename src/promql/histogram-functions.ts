import type { Call } from "./ast.ts";
import { type Evaluation, giveWay } from "./evaluation.ts";
import { isEmpty, type VectorSeries } from "./grid.ts";
import { histogramVariance } from "./histogram-values.ts";
import type { FloatHistogram } from "./histogram.ts";
import type { Grid } from "./source.ts";

/** Functions of a native histogram; floats are left out. */
export const HISTOGRAM_FUNCTIONS: ReadonlyMap<string, (h: FloatHistogram) => number> = new Map<
  string,
  (h: FloatHistogram) => number
>([
  ["histogram_count", ({ count }) => count],
  ["histogram_sum", ({ sum }) => sum],
  ["histogram_avg", ({ sum, count }) => sum / count],
  ["histogram_stdvar", histogramVariance],
  ["histogram_stddev", (h) => Math.sqrt(histogramVariance(h))],
]);

export async function* streamHistogramCall(
  run: Evaluation,
  call: Call,
  compute: (h: FloatHistogram) => number,
  grid: Grid,
): AsyncGenerator<VectorSeries[]> {
  for await (const batch of run.stream(call.args[0]!, grid)) {
    const kept: VectorSeries[] = [];
    for (const series of batch) {
      const { values, present, histograms } = series;
      for (let i = 0; i < present.length; i++) {
        const histogram = histograms?.[i];
        if (!histogram) present[i] = 0;
        else if (present[i] === 1) values[i] = compute(histogram);
      }
      series.histograms = undefined;
      if (!run.delayedNameRemoval) series.labels = series.labels.withoutMetadata();
      series.dropName = true;
      if (isEmpty(series)) run.budget.release(grid.count);
      else kept.push(series);
      await giveWay(run);
    }
    if (kept.length > 0) yield kept;
  }
}
