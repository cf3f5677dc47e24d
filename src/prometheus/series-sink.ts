import type { NativeHistogram } from "./remote-read/native-histogram.ts";

/**
 * Where the scanners put the series that they read. Byte ranges point into buffers that are only valid during the call; nothing is kept by the scanner
 * or may be kept by the sink.
 */
export interface SeriesSink {
  /**
   * Takes the samples of a series; one with very many samples comes in several calls. Returns the reason when it can't take the series: the
   * series' samples are then refused, and the other series go on.
   */
  series(series: ScannedSeries): string | undefined | void;
  /**
   * Takes the stale markers of a series, in the same way: the times at which it ended. The values are the markers as Prometheus stores them.
   * Absent: markers are left out. The query API hides them.
   */
  markers?(series: ScannedSeries): string | undefined | void;
  /**
   * Takes one native histogram of a series, or the stale marker that ends some of them; `series` has the labels alone, its samples are not of this
   * call. Absent: they are counted only.
   */
  histogram?(series: ScannedSeries, histogram: NativeHistogram): void;
}

/** One series of a Prometheus matrix. The arrays are longer than their contents: use the counts. */
export interface ScannedSeries {
  /** UTF-8 text of label names and values, unescaped. */
  bytes: Uint8Array;
  /** Range of `__name__`'s value in `bytes`; both 0 when the series has no name. */
  nameStart: number;
  nameEnd: number;
  /** Number of labels other than `__name__`; label i is at labels[4i .. 4i+3] = name start, name end, value start, value end. */
  labelCount: number;
  labels: Int32Array;
  /** Number of samples; `timestamps` in ms since the epoch, `values` as Prometheus gave them, NaN and infinities included. */
  sampleCount: number;
  timestamps: Float64Array;
  values: Float64Array;
}

/** Why a series is refused: it is over a limit, or its labels are no valid text. Or a native histogram: OTLP can't express it. */
export type RefusedCode =
  | "prometheus_label_too_large"
  | "prometheus_answer_invalid"
  | "prometheus_histogram_refused";

/** Series of an answer that can never be stored, with the samples of the window that they had. The others of the answer are not concerned. */
export interface RefusedSeries {
  code: RefusedCode;
  /** Names the metric and the label; at most a few hundred characters. */
  reason: string;
  series: number;
  samples: number;
}
