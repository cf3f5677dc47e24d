/**
 * Where the scanners put the series that they read, one call of `series` each. Byte ranges point into buffers that are only valid during
 * the call; nothing is kept by the scanner or may be kept by the sink.
 */
export interface SeriesSink {
  series(series: ScannedSeries): void;
}

/** One series of a Prometheus matrix. Arrays are longer than what they hold: use the counts. */
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
