import { assert } from "#lib/assert.ts";
import { bytesField, labelFields, varint } from "./message-writer.ts";
import { bitsOf, type ServedSamples } from "./served-samples.ts";
import { toSnappyBlock } from "./snappy.ts";

/** prometheus.TimeSeries of float samples. */
export function encodeSeries(series: ServedSamples): Buffer {
  const { times } = series;
  const bits = bitsOf(series);
  // Tag and length, the value with its tag, the time with its tag: a varint of at most ten bytes.
  const samples = Buffer.allocUnsafe(times.length * 22);
  let at = 0;
  for (let k = 0; k < times.length; k++) {
    const time = timeBytes(times[k]!);
    samples[at++] = (2 << 3) | 2;
    samples[at++] = 10 + time.length;
    samples[at++] = (1 << 3) | 1;
    samples.writeUInt32LE(bits[k * 2]!, at);
    samples.writeUInt32LE(bits[k * 2 + 1]!, at + 4);
    at += 8;
    samples[at++] = (2 << 3) | 0;
    samples.set(time, at);
    at += time.length;
  }
  return Buffer.concat([labelFields(series.labels), samples.subarray(0, at)]);
}

/** prometheus.ReadResponse in a snappy block: the series of each query. */
export function encodeReadResponse(results: readonly (readonly Buffer[])[]): Buffer {
  return toSnappyBlock(
    Buffer.concat(
      results.map((series) => bytesField(1, Buffer.concat(series.map((one) => bytesField(1, one))))),
    ),
  );
}

function timeBytes(ms: number): number[] {
  assert(Number.isSafeInteger(ms) && ms >= 0, "a stored time is after 1970");
  return varint(ms);
}
