import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { toFrame } from "./remote-read-frames.ts";
import { ProtoWriter } from "./remote-read-protobuf.ts";
import { snappyHead } from "./remote-read-snappy.ts";

/**
 * Answers of remote read that harm a reader without limits; all frames have the right CRC-32C.
 * empty-frames: frames without a byte; garbage: frames of random bytes; filler: frames of a field that nobody knows;
 * empty-series, series: each series another one, without a chunk or with one; names: with another name of a metric
 * as well; labels: 100,000 labels each; label: a label of 3 MiB each; chunks: chunks of 65,535 samples in 16 KB, all
 * in the window; samples, samples-empty: a snappy block of `blockBytes` bytes that is copies of one sample or of
 * empty series; block: a snappy block of zeros, as long as `bytes` says.
 */
export interface RemoteReadFlood {
  content:
    | "empty-frames"
    | "garbage"
    | "filler"
    | "empty-series"
    | "series"
    | "names"
    | "labels"
    | "label"
    | "chunks"
    | "samples"
    | "samples-empty"
    | "block";
  /** Of the whole answer; ignored for samples and samples-empty. */
  bytes: number;
  /** Of a snappy block, by its head. Default 2 MiB. */
  blockBytes?: number;
}

type Content = RemoteReadFlood["content"];

const MIB = 1 << 20;
const SERIES_OF_FRAME = 1000;
const LABELS = 100_000;
const LABEL_BYTES = 3 * MIB;
const GARBAGE_BYTES = 64 << 10;
const EMPTY_FRAMES_OF_PIECE = 4096;
const CHUNK_SAMPLES = 65_535;
const CHUNKS_OF_FRAME = 8;
const COPY_BYTES = 64;
const SAMPLES: ReadonlySet<Content> = new Set(["samples", "samples-empty", "block"]);

/** Sends the flood as a 200 answer about a window that ends at `toMs`, as fast as it is read. Resolves when it is sent or nobody reads any more. */
export async function sendRemoteReadFlood(
  response: ServerResponse,
  { content, bytes, blockBytes = 2 * MIB }: RemoteReadFlood,
  toMs: number,
): Promise<void> {
  const isBlock = SAMPLES.has(content);
  response.writeHead(200, {
    "content-type": isBlock
      ? "application/x-protobuf"
      : "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
    ...(isBlock ? { "content-encoding": "snappy" } : {}),
  });
  const closed = new AbortController();
  response.once("close", () => closed.abort());
  try {
    for (const piece of isBlock
      ? blockOf(content, bytes, blockBytes, toMs)
      : framesOf(content, bytes, toMs)) {
      if (closed.signal.aborted) return;
      if (!response.write(piece)) await once(response, "drain", { signal: closed.signal });
      // Others have the thread between the pieces.
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
    response.end();
  } catch (error) {
    if (!closed.signal.aborted) throw error;
  }
}

function* framesOf(content: Content, bytes: number, toMs: number): Iterable<Buffer> {
  let number = 0;
  const fixed = fixedPiece(content, toMs);
  for (let sent = 0; sent < bytes;) {
    const piece = fixed ?? toFrame(seriesMessage(content, number++ * SERIES_OF_FRAME, toMs));
    sent += piece.length;
    yield piece;
  }
}

/** Messages of frames that are all the same. */
const MESSAGES: Partial<Record<Content, (writer: ProtoWriter, toMs: number) => void>> = {
  filler: (writer) => writer.data(15, Buffer.alloc(LABEL_BYTES)),
  labels: (writer, toMs) =>
    writer.message(1, () => {
      for (let i = 0; i < LABELS; i++) writeLabel(writer, `l${i}`, "v");
      writeChunk(writer, 1, toMs);
    }),
  label: (writer, toMs) =>
    writer.message(1, () => {
      writeLabel(writer, "a", "x".repeat(LABEL_BYTES));
      writeChunk(writer, 1, toMs);
    }),
  chunks: (writer, toMs) =>
    writer.message(1, () => {
      writeLabel(writer, "__name__", "node_load15");
      for (let i = 0; i < CHUNKS_OF_FRAME; i++) writeChunk(writer, CHUNK_SAMPLES, toMs);
    }),
};

/** What is sent again and again; undefined: each piece is another one. */
function fixedPiece(content: Content, toMs: number): Buffer | undefined {
  if (content === "empty-frames") {
    return Buffer.concat(Array.from({ length: EMPTY_FRAMES_OF_PIECE }, () => toFrame(Buffer.alloc(0))));
  }
  if (content === "garbage") {
    return toFrame(Buffer.from(Array.from({ length: GARBAGE_BYTES }, (_, i) => (i * 7919 + (i >> 3)) & 255)));
  }
  const write = MESSAGES[content];
  if (!write) return undefined;
  const writer = new ProtoWriter();
  write(writer, toMs);
  return toFrame(writer.bytes);
}

function seriesMessage(content: Content, first: number, toMs: number): Buffer {
  const writer = new ProtoWriter();
  for (let i = first; i < first + SERIES_OF_FRAME; i++) {
    writer.message(1, () => {
      writeLabel(writer, "__name__", content === "names" ? `name_of_a_metric_${i}` : "node_load15");
      writeLabel(writer, "a", String(i));
      if (content !== "empty-series") writeChunk(writer, 1, toMs);
    });
  }
  return writer.bytes;
}

function writeLabel(writer: ProtoWriter, name: string, value: string): void {
  writer.message(1, () => {
    writer.text(1, name);
    writer.text(2, value);
  });
}

/** `count` samples of the value 0 at the time `ms`. */
function writeChunk(writer: ProtoWriter, count: number, ms: number): void {
  const data = Buffer.alloc(2 + 10 + 8 + 1 + Math.ceil(count / 4));
  data.writeUInt16BE(count);
  let rest = BigInt(ms) * 2n;
  let at = 2;
  for (; rest > 127n; rest >>= 7n) data[at++] = Number(rest & 127n) | 128;
  data[at] = Number(rest);
  writer.message(2, () => {
    writer.number(1, ms);
    writer.number(2, ms);
    writer.number(3, 1);
    writer.data(4, data);
  });
}

function* blockOf(content: Content, bytes: number, blockBytes: number, toMs: number): Iterable<Buffer> {
  if (content === "block") {
    yield snappyHead(blockBytes);
    const literal = Buffer.concat([Buffer.of(61 << 2, 255, 255), Buffer.alloc(GARBAGE_BYTES)]);
    for (let sent = 0; sent < bytes; sent += literal.length) yield literal;
    return;
  }
  const writer = new ProtoWriter();
  writer.message(1, () => writeSample(writer, toMs));
  const sample = content === "samples" ? Buffer.from(writer.bytes.subarray(2)) : Buffer.of(0x0a, 0);
  // The lengths of result and series are written with five bytes, so that they are known.
  const count = Math.floor((blockBytes - 64) / sample.length);
  const inner = count * sample.length;
  const labels = Buffer.from("\n\u0017\n\b__name__\u0012\u000Bnode_load15", "latin1");
  const series =
    content === "samples"
      ? Buffer.concat([Buffer.of(0x0a), fixed(labels.length + inner), labels])
      : Buffer.alloc(0);
  const head = Buffer.concat([Buffer.of(0x0a), fixed(series.length + inner), series, sample]);
  yield Buffer.concat([snappyHead(head.length - sample.length + inner), literalOf(head)]);
  let left = inner - sample.length;
  const copies: number[] = [];
  for (; left > 0; left -= COPY_BYTES) {
    copies.push(((Math.min(COPY_BYTES, left) - 1) << 2) | 2, sample.length, 0);
  }
  yield Buffer.from(copies);
}

function writeSample(writer: ProtoWriter, ms: number): void {
  writer.message(2, () => writer.number(2, ms));
}

/** A varint of five bytes. */
function fixed(value: number): Buffer {
  return Buffer.from([0, 7, 14, 21, 28].map((shift) => ((value >>> shift) & 127) | (shift < 28 ? 128 : 0)));
}

function literalOf(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.of(61 << 2, (bytes.length - 1) & 255, (bytes.length - 1) >> 8), bytes]);
}
