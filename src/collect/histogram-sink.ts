import type { KeptAnswer } from "#otlp/kept-answer.ts";
import { toHistogramPoint, type HistogramKind } from "#otlp/histogram-point.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { ReadTask } from "./read-plan.ts";
import { createSeriesDescriber } from "./series-describer.ts";
import type { WindowLedger, WindowRead } from "./window-ledger.ts";

/** The description of the native histograms of a metric. */
export type DescribeHistogram = (task: ReadTask, metric: string, kind: HistogramKind) => MetricDescription;

type Describer = (series: ScannedSeries) => MetricDescription;

/**
 * Takes the native histograms of a window, one by one. One that OTLP can't express is refused by name: the others of its series are not
 * concerned.
 */
export function createHistogramSink(
  deps: { ledger: WindowLedger; describeHistogram: DescribeHistogram },
  read: WindowRead,
  answer: () => Pick<KeptAnswer, "histogram">,
): (series: ScannedSeries, histogram: NativeHistogram) => void {
  const { ledger, describeHistogram } = deps;
  const { task } = read;
  const describer = (kind: HistogramKind): Describer =>
    createSeriesDescriber(task, (of, metric) => describeHistogram(of, metric, kind));
  const describe: Record<HistogramKind, Describer> = {
    histogram: describer("histogram"),
    exponential_histogram: describer("exponential_histogram"),
  };
  /** Returns why it can't be taken. */
  const put = (series: ScannedSeries, histogram: NativeHistogram): string | undefined => {
    // What an expression gives is no counter any more.
    if (task.query.kind === "expression")
      return "it is the result of an expression, a gauge histogram, which OTLP does not have";
    const point = toHistogramPoint(histogram);
    if (typeof point === "string") return point;
    return answer().histogram(series, point, describe[point.kind](series));
  };
  return (series, histogram) => {
    ledger.totals.groupsSeen.add(task.query.group);
    const refusal = put(series, histogram);
    const { timestampMs } = histogram;
    if (refusal !== undefined) ledger.refuseHistogram(read, refusal, timestampMs);
    else if (histogram.isStale) ledger.addMarker(read, timestampMs);
    else ledger.addHistogram(read, timestampMs);
  };
}
