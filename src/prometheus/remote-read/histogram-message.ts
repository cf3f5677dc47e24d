import { toAbsolute } from "./histogram-chunk.ts";
import {
  FIXED64,
  LENGTH_DELIMITED,
  readInt64,
  readLength,
  readSint64,
  readVarint,
  readVarint64,
  skipField,
  tagOf,
  take,
  VARINT,
  type MessageReader,
} from "./message-reader.ts";
import {
  checkCount,
  checkSchema,
  countBuckets,
  COUNTER_RESETS,
  createNativeHistogram,
  FIRST_BUCKET,
  setIntegerCounts,
  setStale,
  setSum,
  type NativeHistogram,
  type Span,
} from "./native-histogram.ts";
import { invalid } from "./remote-read-error.ts";

/** The fields of a message as they come. */
interface Parts {
  histogram: NativeHistogram;
  sumHigh: number;
  sumLow: number;
  /** Words of count and zero count. */
  words: [low: number, high: number, zeroLow: number, zeroHigh: number];
  positive: Side;
  negative: Side;
  customValues: number[];
}

interface Side {
  spans: Span[];
  /** Low and high half of each integer bucket less the one before it. */
  deltas: number[];
  counts: number[];
}

/** Reads a prometheus.Histogram up to `end`. Throws RemoteReadError. */
export function readHistogramMessage(reader: MessageReader, end: number): NativeHistogram {
  const outer = reader.end;
  reader.end = end;
  const parts: Parts = {
    histogram: createNativeHistogram(),
    sumHigh: 0,
    sumLow: 0,
    words: [0, 0, 0, 0],
    positive: { spans: [], deltas: [], counts: [] },
    negative: { spans: [], deltas: [], counts: [] },
    customValues: [],
  };
  while (reader.at < end) readField(reader, readVarint(reader), parts);
  reader.end = outer;
  return toHistogram(parts);
}

function readField(reader: MessageReader, tag: number, parts: Parts): void {
  const { histogram, words } = parts;
  switch (tag) {
    case tagOf(1, VARINT):
      readVarint64(reader);
      [words[0], words[1]] = [reader.low, reader.high];
      return;
    case tagOf(2, FIXED64):
      histogram.isFloat = true;
      histogram.count = readDouble(reader);
      return;
    case tagOf(3, FIXED64): {
      const at = take(reader, 8);
      parts.sumLow = reader.view.getInt32(at, true);
      parts.sumHigh = reader.view.getInt32(at + 4, true);
      return;
    }
    case tagOf(4, VARINT):
      readSint64(reader);
      histogram.schema = reader.low;
      return;
    case tagOf(5, FIXED64):
      histogram.zeroThreshold = readDouble(reader);
      return;
    case tagOf(6, VARINT):
      readVarint64(reader);
      [words[2], words[3]] = [reader.low, reader.high];
      return;
    case tagOf(7, FIXED64):
      histogram.zeroCount = readDouble(reader);
      return;
    case tagOf(14, VARINT):
      histogram.counterReset = COUNTER_RESETS[readVarint(reader)] ?? "unknown";
      return;
    case tagOf(15, VARINT):
      histogram.timestampMs = readInt64(reader);
      return;
    default:
      readBuckets(reader, tag, parts);
  }
}

function readBuckets(reader: MessageReader, tag: number, { positive, negative, customValues }: Parts): void {
  switch (tag) {
    case tagOf(8, LENGTH_DELIMITED):
      return readSpan(reader, negative.spans);
    case tagOf(11, LENGTH_DELIMITED):
      return readSpan(reader, positive.spans);
    case tagOf(9, LENGTH_DELIMITED):
    case tagOf(9, VARINT):
      return readRepeated(reader, tag, VARINT, () => readDelta(reader, negative.deltas));
    case tagOf(12, LENGTH_DELIMITED):
    case tagOf(12, VARINT):
      return readRepeated(reader, tag, VARINT, () => readDelta(reader, positive.deltas));
    case tagOf(10, LENGTH_DELIMITED):
    case tagOf(10, FIXED64):
      return readRepeated(reader, tag, FIXED64, () => pushDouble(reader, negative.counts, "buckets"));
    case tagOf(13, LENGTH_DELIMITED):
    case tagOf(13, FIXED64):
      return readRepeated(reader, tag, FIXED64, () => pushDouble(reader, positive.counts, "buckets"));
    case tagOf(16, LENGTH_DELIMITED):
    case tagOf(16, FIXED64):
      return readRepeated(reader, tag, FIXED64, () => pushDouble(reader, customValues, "custom values"));
    default:
      skipField(reader, tag);
  }
}

/** Numbers, packed or one by one. */
function readRepeated(reader: MessageReader, tag: number, type: number, readOne: () => void): void {
  if (tag % 8 === type) return readOne();
  const outer = reader.end;
  const end = readLength(reader);
  reader.end = end;
  while (reader.at < end) readOne();
  reader.end = outer;
}

function readDelta(reader: MessageReader, deltas: number[]): void {
  readSint64(reader);
  deltas.push(reader.low, reader.high);
  checkCount(deltas.length / 2, "buckets");
}

function pushDouble(reader: MessageReader, values: number[], what: string): void {
  values.push(readDouble(reader));
  checkCount(values.length, what);
}

function readDouble(reader: MessageReader): number {
  return reader.view.getFloat64(take(reader, 8), true);
}

function readSpan(reader: MessageReader, spans: Span[]): void {
  const outer = reader.end;
  const end = readLength(reader);
  reader.end = end;
  const span = { offset: 0, length: 0 };
  while (reader.at < end) {
    const tag = readVarint(reader);
    if (tag === tagOf(1, VARINT)) {
      readSint64(reader);
      span.offset = reader.low;
    } else if (tag === tagOf(2, VARINT)) span.length = readVarint(reader);
    else skipField(reader, tag);
  }
  reader.end = outer;
  spans.push(span);
  checkCount(spans.length, "spans");
}

function toHistogram(parts: Parts): NativeHistogram {
  const { histogram, positive, negative, words } = parts;
  if (setSum(histogram, parts.sumHigh, parts.sumLow)) {
    setStale(histogram);
    return histogram;
  }
  checkSchema(histogram.schema);
  const positives = countBuckets(positive.spans);
  const negatives = countBuckets(negative.spans);
  const countsOf = ({ counts, deltas }: Side): number =>
    histogram.isFloat ? counts.length : deltas.length / 2;
  if (countsOf(positive) !== positives || countsOf(negative) !== negatives) {
    throw invalid("a histogram has another number of buckets than its spans");
  }
  histogram.positiveSpans = positive.spans;
  histogram.negativeSpans = negative.spans;
  histogram.customValues = parts.customValues;
  if (histogram.isFloat) {
    histogram.positiveCounts = Float64Array.from(positive.counts);
    histogram.negativeCounts = Float64Array.from(negative.counts);
    return histogram;
  }
  histogram.positiveCounts = new Float64Array(positives);
  histogram.negativeCounts = new Float64Array(negatives);
  const stored = new Int32Array((FIRST_BUCKET + positives + negatives) * 2);
  stored.set(words);
  stored.set(positive.deltas, FIRST_BUCKET * 2);
  stored.set(negative.deltas, (FIRST_BUCKET + positives) * 2);
  const absolute = new Int32Array(stored.length);
  toAbsolute(stored, absolute, positives);
  setIntegerCounts(histogram, absolute);
  return histogram;
}
