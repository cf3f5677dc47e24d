import { deltasOf } from "./native-histogram.ts";
import type { NativeHistogram, Span } from "./native-histogram.ts";
import type { ProtoWriter } from "./remote-read-protobuf.ts";
import { bitsOf, BitWriter, writeDeltaClass, XorWriter } from "./remote-read-xor.ts";
import type { ChunkSamples } from "./remote-read-xor.ts";

/** Samples of which each one in question is a histogram, also where it is a marker. */
export interface HistogramSamples extends ChunkSamples {
  histograms: readonly (NativeHistogram | undefined)[];
}

/** prompb.Histogram_ResetHint. */
export type ResetHint = 0 | 1 | 2;

/** Writes the fields of prompb.Histogram. Of a marker only the sum and counts of 0 are left. */
export function writeHistogram(
  writer: ProtoWriter,
  timeMs: number,
  histogram: NativeHistogram,
  isMarker: boolean,
  resetHint: ResetHint,
): void {
  const [high, low] = bitsOf(histogram.sum, isMarker);
  writer.choice(1, isMarker ? 0 : histogram.count);
  writer.double(3, high, low);
  if (isMarker) {
    writer.choice(6, 0);
    return writer.number(15, timeMs);
  }
  writer.signed(4, histogram.schema);
  writer.double(5, ...bitsOf(histogram.zeroThreshold, false));
  writer.choice(6, histogram.zeroCount);
  for (const span of histogram.negativeSpans) writeSpan(writer, 8, span);
  writer.packedSigned(9, deltasOf(histogram.negativeCounts));
  for (const span of histogram.positiveSpans) writeSpan(writer, 11, span);
  writer.packedSigned(12, deltasOf(histogram.positiveCounts));
  writer.number(14, resetHint);
  writer.number(15, timeMs);
  writer.packedDoubles(16, histogram.customValues);
}

function writeSpan(writer: ProtoWriter, field: number, [offset, length]: Span): void {
  writer.message(field, () => {
    writer.signed(1, offset);
    writer.number(2, length);
  });
}

/** Header of a chunk that begins because the counts went back to 0. */
const RESET = 0x80;

/**
 * A chunk of Prometheus' encoding HISTOGRAM (tsdb/chunkenc/histogram.go) with the samples from `first` up to `end`,
 * which share the buckets' layout; a marker may only be the last.
 */
export function histogramChunk(
  samples: HistogramSamples,
  first: number,
  end: number,
  isReset: boolean,
): Uint8Array {
  const out = new BitWriter(3);
  const sums = new XorWriter(out);
  // Time, count, zero count, buckets: the last values and how they changed.
  let values: number[] = [];
  let changes: number[] = [];
  for (let i = first; i < end; i++) {
    const isMarker = samples.isMarker[i] === 1;
    const histogram = samples.histograms[i] as NativeHistogram;
    const sum = bitsOf(histogram.sum, isMarker);
    const buckets = isMarker
      ? []
      : [...deltasOf(histogram.positiveCounts), ...deltasOf(histogram.negativeCounts)];
    const now = [samples.timestamps[i] ?? 0, histogram.count, histogram.zeroCount, ...buckets];
    if (i === first) {
      writeLayout(out, histogram, isMarker);
      writeDeltaClass(out, now[0]!);
      writeUnsignedClass(out, isMarker ? 0 : now[1]!);
      writeUnsignedClass(out, isMarker ? 0 : now[2]!);
      sums.first(...sum);
      for (const bucket of buckets) writeDeltaClass(out, bucket);
      changes = now.map(() => 0);
    } else {
      const change = now.map((value, n) => value - (values[n] ?? 0));
      const ofChange = change.map((value, n) => (isMarker && n > 0 ? 0 : value - (changes[n] ?? 0)));
      for (const value of ofChange.slice(0, 3)) writeDeltaClass(out, value);
      sums.next(...sum);
      for (const value of ofChange.slice(3)) writeDeltaClass(out, value);
      changes = change;
    }
    values = now;
  }
  new DataView(out.bytes.buffer).setUint16(0, end - first);
  out.bytes[2] = isReset ? RESET : 0;
  return out.bytes;
}

function writeLayout(out: BitWriter, histogram: NativeHistogram, isMarker: boolean): void {
  if (isMarker) {
    // No threshold, schema 0, no spans.
    out.write(0, 8);
    return out.write(0, 3);
  }
  const { zeroThreshold, schema, customValues } = histogram;
  out.write(zeroThreshold === 0 ? 0 : Math.log2(zeroThreshold) + 244, 8);
  writeDeltaClass(out, schema);
  for (const spans of [histogram.positiveSpans, histogram.negativeSpans]) {
    writeUnsignedClass(out, spans.length);
    for (const [offset, length] of spans) {
      writeUnsignedClass(out, length);
      writeDeltaClass(out, offset);
    }
  }
  if (schema !== -53) return;
  writeUnsignedClass(out, customValues.length);
  for (const value of customValues) {
    const thousandths = value * 1000;
    if (Number.isInteger(thousandths) && thousandths >= 0 && thousandths <= 33_554_430) {
      writeUnsignedClass(out, thousandths + 1);
    } else {
      out.write(0, 1);
      out.writeLong(...bitsOf(value, false), 64);
    }
  }
}

const CLASSES = [3, 6, 9, 12, 18, 25, 56, 64];

/** putVarbitUint: of a safe integer that is not negative. */
function writeUnsignedClass(out: BitWriter, value: number): void {
  if (value === 0) return out.write(0, 1);
  const at = CLASSES.findIndex((bits) => value < 2 ** bits);
  out.writeClass(at + 1);
  out.writeLong(Math.floor(value / 4294967296), value >>> 0, CLASSES[at] ?? 64);
}
