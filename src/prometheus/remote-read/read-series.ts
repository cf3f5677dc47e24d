import { createRefusals } from "#prometheus/refusals.ts";
import { SLICE_BYTES, type SeriesLimits } from "#prometheus/open-series.ts";
import type { RefusedCode, RefusedSeries, ScannedSeries } from "#prometheus/series-sink.ts";
import { CUSTOM_SCHEMA, extentOf, type NativeHistogram } from "./native-histogram.ts";
import { tooLarge } from "./remote-read-error.ts";
import { createSampleColumns, type SampleColumns } from "./sample-columns.ts";

/** A series as a sink of matrix answers takes it, and the bits of its values (SampleColumns). */
export interface ReadSeries extends ScannedSeries {
  valueBits: Uint32Array;
}

/** Where the decoders put what they read. Nothing of it may be kept: the bytes and arrays are used again after the call. */
export interface ReadSink {
  /** Float samples of a series, in several calls when they are many. Returns why it can't take the series: it is then refused, and the others go on. */
  series(series: ReadSeries): string | undefined | void;
  /** One native histogram of a series, which has no samples in this call. `isCustom`: has it custom buckets? Of a stale one: has the one before it in the answer? */
  histogram(series: ReadSeries, histogram: NativeHistogram, isCustom: boolean): void;
}

interface ReadLimits extends SeriesLimits {
  seriesMax: number;
}

export interface ReadOptions {
  /** Left-open, in ms since the epoch: samples outside are dropped, as Prometheus sends whole chunks. */
  window: { fromMs: number; toMs: number };
  limits: ReadLimits;
  sink: ReadSink;
  /** Removes secrets and addresses from the names in the reasons of refused series. */
  hide: (words: string) => string;
}

/** What an answer had inside the window. */
export interface ReadResult {
  series: number;
  samples: number;
  histogramSamples: number;
  refused: RefusedSeries[];
  /** Chunks that begin before the end of their series' chunk before: then samples can have come out of order, and twice. */
  overlappingChunks: number;
}

/** Why a series is refused. `metric`: the beginning of its name. */
export interface Refusal {
  code: RefusedCode;
  problem: string;
  metric: Uint8Array | undefined;
}

/** The series that is being read, and the sums of the answer. Plain fields, as the decoders' loops read and write them. */
export interface OpenRead {
  readonly options: ReadOptions;
  readonly columns: SampleColumns;
  readonly series: ReadSeries;
  readonly result: { series: number; samples: number; histogramSamples: number; overlappingChunks: number };
  labelBytes: number;
  /** Samples of a slice that is handed over. */
  sliceMax: number;
  /** The first sample of the columns that was not handed over. */
  handedOver: number;
  /** Samples of the series that were handed over or refused, and histograms that were refused with it. */
  taken: number;
  /** Histograms of the series that were handed over. */
  histograms: number;
  /** Has the last of them custom buckets? */
  isCustom: boolean;
  refusal: Refusal | undefined;
  /** Bytes of OTLP that were made in the present piece of work, about. */
  output: number;
  seriesSeen: number;
}

const SLICE_SAMPLES_MAX = 16_384;
/** Bytes of a point of OTLP beside its labels, and of each of its buckets. */
const POINT_BYTES = 64;
const BUCKET_BYTES = 4;
/** What a series counts for in a piece of work, even without samples. */
const SERIES_WORK = 256;
const NO_BYTES = Buffer.alloc(0);

export function createOpenRead(options: ReadOptions): OpenRead {
  const columns = createSampleColumns();
  return {
    options,
    columns,
    series: {
      bytes: NO_BYTES,
      nameStart: 0,
      nameEnd: 0,
      labelCount: 0,
      labels: new Int32Array(options.limits.labelsMax * 4),
      sampleCount: 0,
      timestamps: columns.timestamps,
      values: columns.values,
      valueBits: columns.bits,
    },
    result: { series: 0, samples: 0, histogramSamples: 0, overlappingChunks: 0 },
    labelBytes: 0,
    sliceMax: 1,
    handedOver: 0,
    taken: 0,
    histograms: 0,
    isCustom: false,
    refusal: undefined,
    output: 0,
    seriesSeen: 0,
  };
}

/** Has a piece of work given as much as it may? */
export function isSated(open: OpenRead): boolean {
  return open.output >= SLICE_BYTES;
}

/** The labels are known: sizes the slices. Throws when there are too many series. */
export function beginSamples(open: OpenRead, isContinued: boolean): void {
  const { limits } = open.options;
  if (!isContinued) {
    if (++open.seriesSeen > limits.seriesMax) {
      throw tooLarge(`the answer has more than ${limits.seriesMax} series`);
    }
    open.taken = 0;
    open.histograms = 0;
    open.isCustom = false;
  }
  open.output += open.labelBytes + SERIES_WORK;
  const fitting = Math.floor(SLICE_BYTES / (open.labelBytes + POINT_BYTES));
  open.sliceMax = Math.min(SLICE_SAMPLES_MAX, Math.max(1, fitting));
  open.columns.count = 0;
  open.handedOver = 0;
}

/** Are there samples enough for a slice? */
export function hasSlice(open: OpenRead): boolean {
  return open.columns.count - open.handedOver >= open.sliceMax;
}

/** Hands over one slice at most; returns whether there is more. */
export function handOver(open: OpenRead): boolean {
  const { columns, series, handedOver } = open;
  const count = Math.min(open.sliceMax, columns.count - handedOver);
  if (count > 0) {
    series.sampleCount = count;
    series.timestamps = handedOver === 0 ? columns.timestamps : columns.timestamps.subarray(handedOver);
    series.values = handedOver === 0 ? columns.values : columns.values.subarray(handedOver);
    series.valueBits = handedOver === 0 ? columns.bits : columns.bits.subarray(handedOver * 2);
    if (!open.refusal) {
      open.output += count * (open.labelBytes + POINT_BYTES);
      refuse(open, open.options.sink.series(series));
    }
    open.taken += count;
    if (!open.refusal) open.result.samples += count;
    open.handedOver += count;
  }
  if (open.handedOver < columns.count) return true;
  columns.count = 0;
  open.handedOver = 0;
  return false;
}

/** Moves the samples that are left to the front of the columns. */
export function forgetHandedOver(open: OpenRead): void {
  const { columns, handedOver } = open;
  if (handedOver === 0) return;
  columns.timestamps.copyWithin(0, handedOver, columns.count);
  columns.bits.copyWithin(0, handedOver * 2, columns.count * 2);
  columns.count -= handedOver;
  open.handedOver = 0;
}

/** Hands over a histogram when it lies in the window. */
export function handOverHistogram(open: OpenRead, histogram: NativeHistogram): void {
  const { window, sink } = open.options;
  const { timestampMs } = histogram;
  if (!(timestampMs > window.fromMs && timestampMs <= window.toMs)) return;
  if (open.refusal) {
    open.taken++;
    return;
  }
  if (!histogram.isStale) open.isCustom = histogram.schema === CUSTOM_SCHEMA;
  open.output += open.labelBytes + POINT_BYTES + extentOf(histogram) * BUCKET_BYTES;
  open.series.sampleCount = 0;
  sink.histogram(open.series, histogram, open.isCustom);
  open.histograms++;
  open.result.histogramSamples++;
}

function refuse(open: OpenRead, problem: string | undefined | void): void {
  if (problem === undefined) return;
  const { bytes, nameStart, nameEnd } = open.series;
  const metric = Uint8Array.from(bytes.subarray(nameStart, nameEnd));
  open.refusal = { code: "prometheus_label_too_large", problem, metric };
}

/** Counts a series that is whole. */
export function createSeriesCount(open: OpenRead) {
  const refusals = createRefusals(open.options.hide);
  return {
    endSeries: (refusal: Refusal | undefined): void => {
      if (open.taken + open.histograms === 0) return;
      if (refusal) refusals.add({ refusal }, open.taken);
      else open.result.series++;
      open.taken = 0;
      open.histograms = 0;
    },
    result: (): ReadResult => ({ ...open.result, refused: refusals.list() }),
  };
}
