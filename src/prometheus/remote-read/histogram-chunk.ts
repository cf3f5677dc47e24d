import {
  chunkEnds,
  readBits,
  readVarbit,
  readVarbitUnsigned,
  readWord64,
  skipStartTime,
  type BitReader,
} from "./bit-reader.ts";
import { signed64, unsigned64 } from "./int64.ts";
import {
  checkCount,
  checkSchema,
  countBuckets,
  createNativeHistogram,
  CUSTOM_SCHEMA,
  doubleOf,
  FIRST_BUCKET,
  setIntegerCounts,
  setStale,
  setSum,
  type CounterReset,
  type NativeHistogram,
  type Span,
} from "./native-histogram.ts";
import { isStaleMarker } from "./stale-marker.ts";
import { createXorValue, readXorValue, type XorValue } from "./xor-chunk.ts";

/** What all samples of a chunk share. */
interface Layout {
  schema: number;
  zeroThreshold: number;
  positiveSpans: readonly Span[];
  negativeSpans: readonly Span[];
  customValues: readonly number[];
  positiveCounts: Float64Array;
  negativeCounts: Float64Array;
}

/** Bits that a bucket has at least in a chunk's first sample. */
const FLOAT_BITS = 64;
const INTEGER_BITS_MIN = 1;

/** Reads the samples of a chunk one after the other, so that a reader can stop between them. */
export interface HistogramChunk {
  /** The next sample, or undefined behind the last one. Throws RemoteReadError. */
  next(): NativeHistogram | undefined;
}

/**
 * Opens a chunk of integer or float histograms (tsdb/chunkenc/histogram.go, float_histogram.go). `hasStartTimes`: one of the encodings that can have start times of samples
 * (histogram_st.go; Prometheus 3.14 and later, histograms-st-encoding); they are passed over.
 */
export function openHistogramChunk(
  reader: BitReader,
  isFloat: boolean,
  hasStartTimes: boolean,
): HistogramChunk {
  const head = readBits(reader, 16);
  const flags = readBits(reader, 8);
  const total = hasStartTimes ? head & 0x3fff : head;
  const resetBits = (hasStartTimes ? head >>> 8 : flags) >>> 6;
  const startTimes = hasStartTimes ? flags : 0;
  const histogram = createNativeHistogram();
  histogram.isFloat = isFloat;
  const sum = createXorValue();
  let layout: Layout | undefined;
  let counts: Counts | undefined;
  let index = 0;
  let delta = 0;

  const readFirst = (): void => {
    layout = readLayout(reader, isFloat ? FLOAT_BITS : INTEGER_BITS_MIN);
    const buckets = layout.positiveCounts.length + layout.negativeCounts.length;
    counts = isFloat ? createFloatCounts(reader, buckets) : createIntegerCounts(reader, buckets);
    readVarbit(reader);
    histogram.timestampMs = signed64(reader);
    counts.readFirst(0, FIRST_BUCKET);
    readWord64(reader);
    sum.high = reader.high;
    sum.low = reader.low;
    counts.readFirst(FIRST_BUCKET, FIRST_BUCKET + buckets);
  };

  const readFurther = (): void => {
    readVarbit(reader);
    delta += signed64(reader);
    histogram.timestampMs += delta;
    counts!.readFurther(0, FIRST_BUCKET);
    readXorValue(reader, sum);
    if (!isStaleMarker(sum.high, sum.low)) counts!.readFurther(FIRST_BUCKET, counts!.length);
  };

  return {
    next: () => {
      if (index === total) return undefined;
      if (index === 0) readFirst();
      else readFurther();
      if (setSum(histogram, sum.high, sum.low)) setStale(histogram);
      else {
        Object.assign(histogram, layout);
        histogram.counterReset = toCounterReset(resetBits, index);
        counts!.copyTo(histogram);
      }
      skipStartTime(reader, startTimes, index++);
      return histogram;
    },
  };
}

/** Of the chunk's header, bits 10 mean a reset before its first sample, 11 a gauge; 01 says nothing about the samples before it (histogram_meta.go). */
function toCounterReset(bits: number, index: number): CounterReset {
  if (bits === 3) return "gauge";
  if (index > 0) return "none";
  return bits === 2 ? "reset" : "unknown";
}

/** `bucketBitsMin`: nothing is allocated for buckets that the chunk can't have. */
function readLayout(reader: BitReader, bucketBitsMin: number): Layout {
  const zeroThreshold = readZeroThreshold(reader);
  readVarbit(reader);
  const schema = reader.low;
  checkSchema(schema);
  const positiveSpans = readSpans(reader);
  const negativeSpans = readSpans(reader);
  const customValues = schema === CUSTOM_SCHEMA ? readCustomValues(reader) : [];
  const positives = countBuckets(positiveSpans);
  const negatives = countBuckets(negativeSpans);
  if ((positives + negatives) * bucketBitsMin > reader.end - reader.at) throw chunkEnds();
  return {
    schema,
    zeroThreshold,
    positiveSpans,
    negativeSpans,
    customValues,
    positiveCounts: new Float64Array(positives),
    negativeCounts: new Float64Array(negatives),
  };
}

/** 0, the exponent of a power of two, or 255 before a number in full. */
function readZeroThreshold(reader: BitReader): number {
  const byte = readBits(reader, 8);
  if (byte === 0) return 0;
  if (byte < 255) return 2 ** (byte - 244);
  readWord64(reader);
  return doubleOf(reader.high, reader.low);
}

function readSpans(reader: BitReader): Span[] {
  const spans: Span[] = [];
  for (let left = readCount(reader, "spans"); left > 0; left--) {
    const length = readCount(reader, "buckets");
    readVarbit(reader);
    spans.push({ offset: reader.low, length });
  }
  return spans;
}

function readCount(reader: BitReader, what: string): number {
  readVarbitUnsigned(reader);
  const count = unsigned64(reader);
  checkCount(count, what);
  return count;
}

/** Bounds in thousandths plus one, or 0 before a number in full. */
function readCustomValues(reader: BitReader): number[] {
  const values: number[] = [];
  for (let left = readCount(reader, "custom values"); left > 0; left--) {
    readVarbitUnsigned(reader);
    const thousandths = unsigned64(reader);
    if (thousandths > 0) values.push((thousandths - 1) / 1000);
    else {
      readWord64(reader);
      values.push(doubleOf(reader.high, reader.low));
    }
  }
  return values;
}

/** Count, zero count and buckets of the present sample, in that order. */
interface Counts {
  length: number;
  /** Reads the counts [from, to) of a chunk's first sample. */
  readFirst(from: number, to: number): void;
  /** Reads how they change. */
  readFurther(from: number, to: number): void;
  copyTo(histogram: NativeHistogram): void;
}

/** Integers: the changes of the changes, in 64 bits as two halves, as Prometheus computes them. A bucket is stored less the one before it. */
function createIntegerCounts(reader: BitReader, buckets: number): Counts {
  const length = FIRST_BUCKET + buckets;
  const stored = new Int32Array(length * 2);
  const changes = new Int32Array(length * 2);
  const absolute = new Int32Array(length * 2);
  return {
    length,
    readFirst: (from, to) => {
      for (let i = from; i < to; i++) {
        if (i < FIRST_BUCKET) readVarbitUnsigned(reader);
        else readVarbit(reader);
        stored[i * 2] = reader.low;
        stored[i * 2 + 1] = reader.high;
      }
    },
    readFurther: (from, to) => {
      for (let i = from; i < to; i++) {
        readVarbit(reader);
        add64(changes, i, reader.high, reader.low);
        add64(stored, i, changes[i * 2 + 1]!, changes[i * 2]!);
      }
    },
    copyTo: (histogram) => {
      toAbsolute(stored, absolute, histogram.positiveCounts.length);
      setIntegerCounts(histogram, absolute);
    },
  };
}

function add64(words: Int32Array, i: number, high: number, low: number): void {
  const sum = (words[i * 2]! >>> 0) + (low >>> 0);
  words[i * 2] = sum | 0;
  words[i * 2 + 1] = (words[i * 2 + 1]! + high + (sum > 0xffffffff ? 1 : 0)) | 0;
}

/** Adds up the buckets of each side. */
export function toAbsolute(stored: Int32Array, absolute: Int32Array, positives: number): void {
  absolute.set(stored);
  const length = absolute.length / 2;
  for (let i = FIRST_BUCKET + 1; i < length; i++) {
    if (i !== FIRST_BUCKET + positives) add64(absolute, i, absolute[i * 2 - 1]!, absolute[i * 2 - 2]!);
  }
}

function createFloatCounts(reader: BitReader, buckets: number): Counts {
  const length = FIRST_BUCKET + buckets;
  const values: XorValue[] = Array.from({ length }, createXorValue);
  const numberAt = (i: number): number => doubleOf(values[i]!.high, values[i]!.low);
  return {
    length,
    readFirst: (from, to) => {
      for (let i = from; i < to; i++) {
        readWord64(reader);
        values[i]!.high = reader.high;
        values[i]!.low = reader.low;
      }
    },
    readFurther: (from, to) => {
      for (let i = from; i < to; i++) readXorValue(reader, values[i]!);
    },
    copyTo: (histogram) => {
      const { positiveCounts, negativeCounts } = histogram;
      histogram.count = numberAt(0);
      histogram.zeroCount = numberAt(1);
      const negatives = FIRST_BUCKET + positiveCounts.length;
      for (let i = 0; i < positiveCounts.length; i++) positiveCounts[i] = numberAt(FIRST_BUCKET + i);
      for (let i = 0; i < negativeCounts.length; i++) negativeCounts[i] = numberAt(negatives + i);
      histogram.exact = undefined;
    },
  };
}
