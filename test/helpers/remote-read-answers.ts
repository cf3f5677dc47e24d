import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createChunkedAnswer, type AnswerDecoder } from "#prometheus/remote-read/chunked-answer.ts";
import type { NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import type { ReadOptions, ReadResult, ReadSink } from "#prometheus/remote-read/read-series.ts";
import { createSamplesAnswer } from "#prometheus/remote-read/samples-answer.ts";
import { SCAN_LIMITS } from "#prometheus/matrix-scanner.ts";

/** A series of a decoded answer: labels with __name__, samples as their time and 64 bits, histograms as they came. */
export interface DecodedSeries {
  labels: Record<string, string>;
  samples: [t: number, bits: bigint][];
  histograms: NativeHistogram[];
}

export interface DecodedAnswer {
  result: ReadResult;
  series: DecodedSeries[];
}

/** Keeps everything, the slices of a series together. */
export function createKeepingSink(): ReadSink & { kept: DecodedSeries[] } {
  const kept: DecodedSeries[] = [];
  const seriesOf = (series: Parameters<ReadSink["series"]>[0]): DecodedSeries => {
    const bytes = Buffer.from(series.bytes);
    const text = (start: number, end: number): string => bytes.toString("utf8", start, end);
    const labels: Record<string, string> = {};
    if (series.nameEnd > 0) labels["__name__"] = text(series.nameStart, series.nameEnd);
    for (let i = 0; i < series.labelCount * 4; i += 4) {
      const [a, b, c, d] = series.labels.subarray(i, i + 4);
      labels[text(a!, b!)] = text(c!, d!);
    }
    const last = kept.at(-1);
    if (last && JSON.stringify(last.labels) === JSON.stringify(labels)) return last;
    kept.push({ labels, samples: [], histograms: [] });
    return kept.at(-1)!;
  };
  return {
    kept,
    series: (series) => {
      const { samples } = seriesOf(series);
      for (let i = 0; i < series.sampleCount; i++) {
        const bits = (BigInt(series.valueBits[i * 2 + 1]!) << 32n) | BigInt(series.valueBits[i * 2]!);
        samples.push([series.timestamps[i]!, bits]);
      }
    },
    histogram: (series, histogram) => void seriesOf(series).histograms.push(structuredClone(histogram)),
  };
}

export const ALL_TIME = { fromMs: -8.64e15, toMs: 8.64e15 };

export function optionsOf(sink: ReadSink, window: ReadOptions["window"] = ALL_TIME): ReadOptions {
  return { sink, window, limits: SCAN_LIMITS, hide: (words) => words };
}

/** Has the decoder read the pieces to their end. Returns the pieces of work that it took. */
export function readPieces(decoder: AnswerDecoder, pieces: readonly Uint8Array[]): number {
  let works = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; works++) at = decoder.scan(piece, at);
  }
  while (decoder.drain()) works++;
  return works;
}

export type AnswerForm = "samples" | "chunks";

export function decodeAnswer(
  form: AnswerForm,
  pieces: readonly Uint8Array[],
  window?: ReadOptions["window"],
): DecodedAnswer {
  const sink = createKeepingSink();
  const create = form === "chunks" ? createChunkedAnswer : createSamplesAnswer;
  const decoder = create(optionsOf(sink, window));
  readPieces(decoder, pieces);
  return { result: decoder.end(), series: sink.kept };
}

/**
 * An answer of a real Prometheus to the read of `writtenSeries`, recorded by test/e2e/remote-read.test.ts's steps: in its default encodings, in those of the features xor2-encoding and
 * histograms-st-encoding, and one that broke off, as 2.42 can't read back a histogram whose counter was reset.
 */
export function recordedAnswer(name: RecordedAnswer): Buffer {
  const path = join(import.meta.dirname, "../fixtures/remote-read", `${name}.base64`);
  return Buffer.from(readFileSync(path, "latin1"), "base64");
}

export type RecordedAnswer =
  | "prometheus-2.42.0-chunks"
  | "prometheus-2.42.0-samples"
  | "prometheus-2.42.0-broken-chunks"
  | "prometheus-3.15.0-chunks"
  | "prometheus-3.15.0-samples"
  | "prometheus-3.15.0-new-encodings-chunks";
