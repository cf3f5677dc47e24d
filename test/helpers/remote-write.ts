import protobuf from "protobufjs";
import type { Sample } from "./stored-series.ts";

const { Writer } = protobuf;

interface WrittenSeries {
  /** With __name__. */
  labels: Record<string, string>;
  samples: readonly Sample[];
  /** The time (ms) of a stale marker after them: a number of JavaScript would lose its bits. */
  endMs?: number;
}

const LITERAL_BYTES_MAX = 65_536;
/** Tag of a literal whose length less one follows in two bytes (snappy's format description, 2.1). */
const LITERAL_TAG = 61 << 2;

/** A WriteRequest of Prometheus' remote write 1.0 as its body wants it: protobuf in one snappy block. */
export function toWriteRequest(series: readonly WrittenSeries[]): Buffer {
  const writer = Writer.create();
  for (const { labels, samples, endMs } of series) {
    writer.uint32((1 << 3) | 2).fork();
    for (const [name, value] of Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      writer.uint32((1 << 3) | 2).fork();
      writer
        .uint32((1 << 3) | 2)
        .string(name)
        .uint32((2 << 3) | 2)
        .string(value);
      writer.ldelim();
    }
    for (const [ms, value] of samples) {
      writer.uint32((2 << 3) | 2).fork();
      writer.uint32((1 << 3) | 1).double(value);
      writer.uint32(2 << 3).int64(ms);
      writer.ldelim();
    }
    if (endMs !== undefined) {
      writer.uint32((2 << 3) | 2).fork();
      writer
        .uint32((1 << 3) | 1)
        .fixed32(2)
        .fixed32(0x7ff00000);
      writer.uint32(2 << 3).int64(endMs);
      writer.ldelim();
    }
    writer.ldelim();
  }
  return toSnappyBlock(Buffer.from(writer.finish()));
}

/** Nothing is compressed: the block is one literal after the other. */
function toSnappyBlock(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from(Writer.create().uint32(bytes.length).finish())];
  for (let at = 0; at < bytes.length; at += LITERAL_BYTES_MAX) {
    const literal = bytes.subarray(at, at + LITERAL_BYTES_MAX);
    const head = Buffer.alloc(3);
    head.writeUInt8(LITERAL_TAG, 0);
    head.writeUInt16LE(literal.length - 1, 1);
    parts.push(head, literal);
  }
  return Buffer.concat(parts);
}
