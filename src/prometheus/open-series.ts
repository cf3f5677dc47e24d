import { BridgeError } from "#errors/error.ts";
import { extentOf, type NativeHistogram } from "./remote-read/native-histogram.ts";
import type { RefusedCode, ScannedSeries, SeriesSink } from "./series-sink.ts";

/** Bounds of one series. */
export interface SeriesLimits {
  labelsMax: number;
  /** Bytes of the names and values of one series' labels together, `__name__` included, as they stand in the JSON. */
  labelBytesMax: number;
}

/** Points of a series are handed over in slices of about that many bytes of OTLP, so that no single call works for long. */
export const SLICE_BYTES = 4 << 20;
const SLICE_SAMPLES_MAX = 16_384;
const FIRST_SAMPLES = 128;
/** Bytes of a point beside its labels. */
const POINT_BYTES = 64;
/** Bytes of each bucket of a histogram. */
const BUCKET_BYTES = 4;
/** Bytes of points that are buffered when the samples of a series come before its labels. */
const AHEAD_BYTES_MAX = 16 << 20;
const NO_BYTES = Buffer.alloc(0);

/**
 * The series that is being read. Both ways of reading fill it: the fast one for Prometheus' own layout, and the one for everything else. Its fields
 * are plain so that the fast one's machine code outlives a scanner.
 */
export interface OpenSeries {
  readonly fromMs: number;
  readonly toMs: number;
  readonly limits: SeriesLimits;
  readonly sink: SeriesSink;
  /** Goes to the sink. `timestamps` and `values` hold `sampleCount` samples that were not handed over yet. */
  readonly series: ScannedSeries;
  readonly ranges: Int32Array;
  /** Where the labels lie in `series.bytes`, and how many bytes their texts have. */
  labelsStart: number;
  labelsEnd: number;
  labelBytes: number;
  /** Are `series.bytes` bytes of the answer, which are gone after the present piece of it? */
  isBorrowed: boolean;
  /** The series' own copy of its label texts. */
  own: Buffer;
  hasMetric: boolean;
  /** Samples that a slice may have. */
  sliceMax: number;
  /** At that many samples the reader has to call `makeRoom`. */
  full: number;
  /** Samples that were handed over or refused, and histograms that were refused. */
  taken: number;
  /** Histograms that were handed over. */
  histograms: number;
  /** Histograms that came before the labels, and about how many bytes of OTLP their points have. */
  early: { histograms: NativeHistogram[]; bytes: number };
  /** Why the series is refused. `metric`: the beginning of its name. */
  refusal: { code: RefusedCode; problem: string; metric: Uint8Array | undefined } | undefined;
  /** Bytes of OTLP that were made of the samples so far, about. */
  output: number;
}

export function createOpenSeries(
  window: { fromMs: number; toMs: number },
  limits: SeriesLimits,
  sink: SeriesSink,
): OpenSeries {
  const ranges = new Int32Array(limits.labelsMax * 4);
  return {
    fromMs: window.fromMs,
    toMs: window.toMs,
    limits,
    sink,
    series: {
      bytes: NO_BYTES,
      nameStart: 0,
      nameEnd: 0,
      labelCount: 0,
      labels: ranges,
      sampleCount: 0,
      timestamps: new Float64Array(FIRST_SAMPLES),
      values: new Float64Array(FIRST_SAMPLES),
    },
    ranges,
    labelsStart: 0,
    labelsEnd: 0,
    labelBytes: 0,
    isBorrowed: false,
    own: NO_BYTES,
    hasMetric: false,
    sliceMax: SLICE_SAMPLES_MAX,
    full: FIRST_SAMPLES,
    taken: 0,
    histograms: 0,
    early: { histograms: [], bytes: 0 },
    refusal: undefined,
    output: 0,
  };
}

/** Begins a series without labels and samples. */
export function beginSeries(open: OpenSeries): void {
  const { series } = open;
  series.nameStart = 0;
  series.nameEnd = 0;
  series.labelCount = 0;
  series.sampleCount = 0;
  open.labelBytes = 0;
  open.isBorrowed = false;
  open.hasMetric = false;
  open.sliceMax = SLICE_SAMPLES_MAX;
  open.full = series.timestamps.length;
  open.taken = 0;
  open.histograms = 0;
  open.early.histograms.length = 0;
  open.early.bytes = 0;
  open.refusal = undefined;
}

/** All labels are known now: sizes the slices. Throws `prometheus_answer_too_large` when more samples came before than may be held. */
export function endLabels(open: OpenSeries): void {
  const { series, labelBytes } = open;
  open.hasMetric = true;
  for (const histogram of open.early.histograms.splice(0)) handHistogramOver(open, histogram);
  if (open.refusal) return;
  if (series.sampleCount * (labelBytes + POINT_BYTES) > AHEAD_BYTES_MAX)
    throw tooManyAhead(series.sampleCount);
  const fitting = Math.floor(SLICE_BYTES / (labelBytes + POINT_BYTES));
  open.sliceMax = Math.min(SLICE_SAMPLES_MAX, Math.max(1, fitting));
  open.full = Math.min(open.sliceMax, series.timestamps.length);
}

function tooManyAhead(samples: number): BridgeError {
  return new BridgeError(
    "prometheus_answer_too_large",
    `a series has ${samples} samples or more before its labels, in a layout that Prometheus does not use`,
  );
}

/** Adds a sample when it lies in the window. */
export function addSample(open: OpenSeries, ms: number, value: number): void {
  if (!(ms > open.fromMs && ms <= open.toMs)) return;
  const { series } = open;
  if (series.sampleCount >= open.full) makeRoom(open);
  series.timestamps[series.sampleCount] = ms;
  series.values[series.sampleCount] = value;
  series.sampleCount++;
}

/** Hands a native histogram over when it lies in the window. */
export function addHistogram(open: OpenSeries, histogram: NativeHistogram): void {
  const { timestampMs } = histogram;
  if (!(timestampMs > open.fromMs && timestampMs <= open.toMs)) return;
  if (open.hasMetric) return handHistogramOver(open, histogram);
  const { early } = open;
  early.histograms.push(histogram);
  early.bytes += POINT_BYTES + extentOf(histogram) * BUCKET_BYTES;
  if (early.bytes > AHEAD_BYTES_MAX) throw tooManyAhead(early.histograms.length);
}

function handHistogramOver(open: OpenSeries, histogram: NativeHistogram): void {
  if (open.refusal) {
    open.taken++;
    return;
  }
  open.output += open.labelBytes + POINT_BYTES + extentOf(histogram) * BUCKET_BYTES;
  open.histograms++;
  open.sink.histogram?.(open.series, histogram);
}

/** Makes the arrays larger, or hands a slice over. */
export function makeRoom(open: OpenSeries): void {
  const { series } = open;
  if (series.timestamps.length < open.sliceMax) {
    series.timestamps = doubled(series.timestamps);
    series.values = doubled(series.values);
  } else if (open.hasMetric) handOver(open);
  else throw tooManyAhead(series.sampleCount);
  open.full = Math.min(open.sliceMax, series.timestamps.length);
}

function doubled(array: Float64Array): Float64Array {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}

function handOver(open: OpenSeries): void {
  const { series } = open;
  if (!open.refusal) {
    open.output += series.sampleCount * (open.labelBytes + POINT_BYTES);
    const refusal = open.sink.series(series);
    if (refusal !== undefined) {
      const metric = Uint8Array.from(series.bytes.subarray(series.nameStart, series.nameEnd));
      open.refusal = { code: "prometheus_label_too_large", problem: refusal, metric };
    }
  }
  open.taken += series.sampleCount;
  series.sampleCount = 0;
}

/** The series is read: hands the rest of it over. Returns how many samples of the window it had. */
export function endSeries(open: OpenSeries): number {
  if (open.series.sampleCount > 0) handOver(open);
  return open.taken;
}

/** Lets go of the answer's bytes: labels that lie in them are copied, when the series goes on. */
export function releaseBytes(open: OpenSeries, isSeriesOpen: boolean): void {
  if (!open.isBorrowed) return;
  open.isBorrowed = false;
  if (!isSeriesOpen) {
    open.series.bytes = NO_BYTES;
    return;
  }
  const { series, ranges, labelsStart, labelsEnd } = open;
  const length = labelsEnd - labelsStart;
  if (open.own.length < length) open.own = Buffer.allocUnsafeSlow(length);
  open.own.set(series.bytes.subarray(labelsStart, labelsEnd));
  series.bytes = open.own;
  series.nameStart = Math.max(0, series.nameStart - labelsStart);
  series.nameEnd = Math.max(0, series.nameEnd - labelsStart);
  for (let i = 0; i < series.labelCount * 4; i++) ranges[i]! -= labelsStart;
}
