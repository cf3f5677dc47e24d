import { Readable } from "node:stream";
import { formatFloat } from "#promql/go-numbers.ts";
import type { QueryResult, QueryValue, ResultSeries } from "#promql/engine.ts";
import type { Labels } from "#promql/labels.ts";
import { toHistogramJson } from "./promql-histogram.ts";

/** Remarks beside an answer. */
export interface Remarks {
  warnings?: readonly string[];
  infos?: readonly string[];
}

export const CUT = "results truncated due to limit";

const CHUNK_CHARS = 65_536;

/** The answer of a query; `more`: data beside the result. It may be large, so it is printed as it is sent. */
export function toQueryStream(
  result: QueryResult,
  limit: number | undefined,
  more: Readonly<Record<string, object>>,
): Readable {
  return Readable.from(inChunks(printAnswer(result, limit, more)));
}

function* printAnswer(
  result: QueryResult,
  limit: number | undefined,
  more: Readonly<Record<string, object>>,
): Generator<string> {
  const { type, warnings, infos } = result;
  const isCut = limit !== undefined && "series" in result && result.series.length > limit;
  yield `{"status":"success","data":{"resultType":"${type}","result":`;
  yield* printValue(result, limit);
  for (const [name, data] of Object.entries(more)) yield `,"${name}":${JSON.stringify(data)}`;
  yield `}${printRemarks({ warnings: isCut ? [...warnings, CUT] : warnings, infos })}}`;
}

function* printValue(value: QueryValue, limit: number | undefined): Generator<string> {
  switch (value.type) {
    case "scalar":
      yield `[${printTime(value.timeMs)},"${formatFloat(value.value)}"]`;
      break;
    case "string":
      yield `[${printTime(value.timeMs)},${JSON.stringify(value.value)}]`;
      break;
    case "vector":
    case "matrix": {
      yield "[";
      const print = value.type === "vector" ? printSample : printSeries;
      const series = limit === undefined ? value.series : value.series.slice(0, limit);
      for (const [i, one] of series.entries()) {
        if (i > 0) yield ",";
        yield* print(one);
      }
      yield "]";
    }
  }
}

function* printSample({ labels, times, values, histograms }: ResultSeries): Generator<string> {
  const histogram = histograms?.[0];
  const time = printTime(times[0]!);
  yield histogram
    ? `{"metric":${printLabels(labels)},"histogram":[${time},${toHistogramJson(histogram)}]}`
    : `{"metric":${printLabels(labels)},"value":[${time},"${formatFloat(values[0]!)}"]}`;
}

function* printSeries({ labels, times, values, histograms }: ResultSeries): Generator<string> {
  yield `{"metric":${printLabels(labels)}`;
  let separator = ',"values":[';
  for (let k = 0; k < times.length; k++) {
    if (histograms?.[k]) continue;
    yield `${separator}[${printTime(times[k]!)},"${formatFloat(values[k]!)}"]`;
    separator = ",";
  }
  if (separator === ",") yield "]";
  separator = ',"histograms":[';
  for (const [k, histogram] of histograms?.entries() ?? []) {
    if (!histogram) continue;
    yield `${separator}[${printTime(times[k]!)},${toHistogramJson(histogram)}]`;
    separator = ",";
  }
  yield separator === "," ? "]}" : "}";
}

/** Seconds, with ms only where there are some. */
function printTime(ms: number): string {
  const text = (Math.abs(ms) / 1000).toFixed(3);
  return `${ms < 0 ? "-" : ""}${text.endsWith(".000") ? text.slice(0, -4) : text}`;
}

export function printLabels(labels: Labels): string {
  const pairs: string[] = [];
  for (const [name, value] of labels.entries())
    pairs.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `{${pairs.join(",")}}`;
}

/** Any other answer, whose data are printed already. */
export function toSuccess(data: string, remarks: Remarks = {}): string {
  return `{"status":"success","data":${data}${printRemarks(remarks)}}`;
}

/** A list, printed as it is sent. */
export function toListStream<T>(list: readonly T[], print: (one: T) => string, remarks: Remarks): Readable {
  function* pieces(): Generator<string> {
    yield '{"status":"success","data":[';
    for (const [i, one] of list.entries()) yield i === 0 ? print(one) : `,${print(one)}`;
    yield `]${printRemarks(remarks)}}`;
  }
  return Readable.from(inChunks(pieces()));
}

function printRemarks({ warnings = [], infos = [] }: Remarks): string {
  const print = (name: string, texts: readonly string[]): string =>
    texts.length === 0 ? "" : `,"${name}":${JSON.stringify(texts)}`;
  return print("warnings", warnings) + print("infos", infos);
}

function* inChunks(pieces: Iterable<string>): Generator<string> {
  let chunk = "";
  for (const piece of pieces) {
    chunk += piece;
    if (chunk.length < CHUNK_CHARS) continue;
    yield chunk;
    chunk = "";
  }
  yield chunk;
}
