import type { TextSink } from "./answer-body.ts";
import { formatLabels, formatTime, formatValue } from "./answer-format.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import type { InstantResult, RangeSeries } from "./evaluate.ts";
import type { PrometheusFault } from "./fault-kinds.ts";
import { formatHistogram } from "./native-histogram.ts";
import { createSampleBuffer } from "./series.ts";
import type { SampleBuffer } from "./series.ts";

/** The texts around a matrix; a fault may ask for the layout of another backend. */
interface Frame {
  head: string;
  tail: string;
  series: (labels: string, values: string) => string;
}

const PLAIN: Frame = {
  head: '{"status":"success","data":{"resultType":"matrix","result":[',
  tail: "]}}",
  series: (labels, values) => `{"metric":${labels},"values":[${values}]}`,
};

const FRAMES: Record<"extra-members" | "reordered" | "spaced", Frame> = {
  "extra-members": {
    ...PLAIN,
    head: '{"status":"success","isPartial":false,"data":{"resultType":"matrix","result":[',
    tail: ']},"stats":{"seriesFetched":"1","executionTimeMsec":3}}',
  },
  reordered: {
    head: '{"data":{"result":[',
    tail: '],"resultType":"matrix"},"status":"success"}',
    series: (labels, values) => `{"values":[${values}],"metric":${labels}}`,
  },
  spaced: {
    head: '{ "status" : "success",\n  "data" : { "resultType" : "matrix", "result" : [\n',
    tail: "\n] } }\n",
    series: (labels, values) => `{ "metric" : ${labels}, "values" : [ ${values} ] }`,
  },
};

function frameOf(fault: PrometheusFault | undefined): Frame {
  return fault?.kind === "layout" ? FRAMES[fault.layout] : PLAIN;
}

/** Native histogram samples, as 2.40 and later write them beside or instead of `values`. */
function histogramsOf(fault: PrometheusFault | undefined, firstMs: number): string {
  if (fault?.kind !== "histograms") return "";
  const buckets = '[[0,"0.5","1","3"],[3,"-0.001","0.001","2"]]';
  return `,"histograms":[[${formatTime(firstMs)},{"count":"5","sum":"2.5","buckets":${buckets}}]]`;
}

/** Streams the raw samples of a range selector; series without a sample are left out. */
export async function writeMatrix(
  sink: TextSink,
  { series, read }: Extract<InstantResult, { type: "matrix" }>,
  version: PrometheusVersion,
  fault: PrometheusFault | undefined,
): Promise<void> {
  const frame = frameOf(fault);
  const buffer = createSampleBuffer();
  let written = 0;
  await sink.write(frame.head);
  for (const each of series) {
    read(each, buffer);
    if (buffer.count === 0) continue;
    const samples = formatSamples(buffer.count, buffer.timestamps, buffer.values, buffer.histograms);
    const text = withNative(frame.series(formatLabels(each.labels, version), samples), samples, buffer);
    if (written === 0 && fault?.kind === "extra-series") {
      await sink.write(frame.series(fault.metric, samples));
      written++;
    }
    await sink.write(
      (written > 0 ? "," : "") + withHistograms(text, written, fault, buffer.timestamps[0] ?? 0),
    );
    written++;
  }
  await sink.write(frame.tail);
}

/** Streams the answer of query_range. */
export async function writeRange(
  sink: TextSink,
  series: readonly RangeSeries[],
  version: PrometheusVersion,
  fault: PrometheusFault | undefined,
): Promise<void> {
  const frame = frameOf(fault);
  await sink.write(frame.head);
  for (const [i, { labels, timestamps, values }] of series.entries()) {
    const text = frame.series(
      formatLabels(labels, version),
      formatSamples(values.length, timestamps, values),
    );
    await sink.write((i > 0 ? "," : "") + withHistograms(text, i, fault, timestamps[0] ?? 0));
  }
  await sink.write(frame.tail);
}

function withHistograms(
  text: string,
  index: number,
  fault: PrometheusFault | undefined,
  firstMs: number,
): string {
  return index === 0 ? text.slice(0, -1) + histogramsOf(fault, firstMs) + text.slice(-1) : text;
}

/** The series' native histograms behind its values, or in place of them when it has no other samples. */
function withNative(text: string, values: string, { count, timestamps, histograms }: SampleBuffer): string {
  if (histograms.length === 0) return text;
  const items: string[] = [];
  for (let i = 0; i < count; i++) {
    const histogram = histograms[i];
    if (histogram) items.push(formatHistogram(timestamps[i] ?? 0, histogram));
  }
  const kept = values === "" ? text.replace(',"values":[]', "") : text;
  return `${kept.slice(0, -1)},"histograms":[${items.join(",")}]}`;
}

function formatSamples(
  count: number,
  timestamps: ArrayLike<number>,
  values: ArrayLike<number>,
  histograms: ArrayLike<unknown> = [],
): string {
  let text = "";
  for (let i = 0; i < count; i++) {
    if (histograms[i] !== undefined) continue;
    text += `${text === "" ? "" : ","}[${formatTime(timestamps[i] ?? 0)},"${formatValue(values[i] ?? 0)}"]`;
  }
  return text;
}
