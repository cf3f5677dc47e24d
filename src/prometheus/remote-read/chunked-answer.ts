import { assert } from "#lib/assert.ts";
import { createBitReader, setBits } from "./bit-reader.ts";
import { createFrameReader } from "./frame-reader.ts";
import { openHistogramChunk, type HistogramChunk } from "./histogram-chunk.ts";
import {
  createMessageReader,
  LENGTH_DELIMITED,
  readInt64,
  readLength,
  readVarint,
  setMessage,
  skipField,
  tagOf,
  VARINT,
} from "./message-reader.ts";
import { beginLabels, checkLabels, readLabel } from "./read-labels.ts";
import {
  beginSamples,
  createOpenRead,
  createSeriesCount,
  handOver,
  forgetHandedOver,
  handOverHistogram,
  hasSlice,
  isSated,
  type ReadOptions,
  type ReadResult,
  type Refusal,
} from "./read-series.ts";
import { invalid, RemoteReadError } from "./remote-read-error.ts";
import { decodeXorChunk } from "./xor-chunk.ts";
import { decodeXor2Chunk } from "./xor2-chunk.ts";

/** Bytes that one frame may have: Prometheus' default is 1 MiB (--storage.remote.read-max-bytes-in-frame), and one chunk and the labels more. */
const FRAME_BYTES_MAX = 4 << 20;

/** What a chunk's byte counts for in a piece of work, whether or not its samples lie in the window: it can hold four of them. */
const CHUNK_BYTE_WORK = 16;

/** Encodings of chunks, by their numbers in prometheus.Chunk.Encoding. */
const Encoding = { xor: 1, histogram: 2, floatHistogram: 3, xor2: 4, histogramSt: 5, floatHistogramSt: 6 };

/** A decoder of an answer whose bytes come in pieces. */
export interface AnswerDecoder {
  /**
   * Reads on in a piece of the answer from `at`, and calls the sink. Does a bounded piece of work and returns the position that it came to: call it again with the same piece
   * from there until it returns the piece's length. Throws RemoteReadError.
   */
  scan(piece: Uint8Array, at: number): number;
  /** Goes on behind the answer's last byte; false when nothing is left. A bounded piece of work as well. */
  drain(): boolean;
  /** The answer is read. */
  end(): ReadResult;
}

/** What of a frame comes next. */
type Place = "frame" | "response" | "series" | "chunk" | "rest";

/**
 * Decodes an answer in the form STREAMED_XOR_CHUNKS: frames with a prometheus.ChunkedReadResponse each. Memory: one frame and the samples of one chunk and slice. Chunks are given in
 * the order in which they come, samples outside the window are dropped; Prometheus itself merges the chunks of its head and blocks before it sends them.
 */
export function createChunkedAnswer(options: ReadOptions, frameBytesMax = FRAME_BYTES_MAX): AnswerDecoder {
  const { fromMs, toMs } = options.window;
  const open = createOpenRead(options);
  const count = createSeriesCount(open);
  const frames = createFrameReader(frameBytesMax);
  const message = createMessageReader();
  const bits = createBitReader();
  let place: Place = "frame";
  let frameEnd = 0;
  let seriesEnd = 0;
  let labelsStart = 0;
  let hasLabels = false;
  let histograms: HistogramChunk | undefined;
  /** The labels of the series before, as they stand in the message: a series can go on in the next frame. */
  let lastLabels = Buffer.alloc(1024);
  let lastLabelBytes = -1;
  let lastRefusal: Refusal | undefined;
  let lastChunkEndMs = Number.NEGATIVE_INFINITY;

  const beginSeries = (end: number): void => {
    seriesEnd = end;
    labelsStart = message.at;
    hasLabels = false;
    lastRefusal = open.refusal;
    beginLabels(open, message.bytes);
    place = "series";
  };

  /** The labels end where the first chunk begins. */
  const endLabels = (end: number): void => {
    hasLabels = true;
    const length = end - labelsStart;
    const labels = message.bytes.subarray(labelsStart, end);
    const isContinued = length === lastLabelBytes && lastLabels.compare(labels, 0, length, 0, length) === 0;
    if (isContinued) open.refusal ??= lastRefusal;
    else {
      count.endSeries(lastRefusal);
      if (lastLabels.length < length) lastLabels = Buffer.alloc(length * 2);
      lastLabels.set(labels);
      lastLabelBytes = length;
      lastChunkEndMs = Number.NEGATIVE_INFINITY;
    }
    checkLabels(open, labelsStart, end);
    beginSamples(open, isContinued);
  };

  const readSeriesField = (): void => {
    const at = message.at;
    const tag = readVarint(message);
    if (tag === tagOf(1, LENGTH_DELIMITED)) {
      if (hasLabels) throw invalid("a series has labels behind its chunks");
      readLabel(open, message, readLength(message));
    } else if (tag === tagOf(2, LENGTH_DELIMITED)) {
      if (!hasLabels) endLabels(at);
      readChunk(readLength(message));
    } else skipField(message, tag);
  };

  const readChunk = (end: number): void => {
    const outer = message.end;
    message.end = end;
    let minMs = 0;
    let maxMs = 0;
    let encoding = 0;
    let dataStart = end;
    let dataEnd = end;
    while (message.at < end) {
      const tag = readVarint(message);
      if (tag === tagOf(1, VARINT)) minMs = readInt64(message);
      else if (tag === tagOf(2, VARINT)) maxMs = readInt64(message);
      else if (tag === tagOf(3, VARINT)) encoding = readVarint(message);
      else if (tag === tagOf(4, LENGTH_DELIMITED)) {
        dataEnd = readLength(message);
        dataStart = message.at;
        message.at = dataEnd;
      } else skipField(message, tag);
    }
    message.end = outer;
    if (minMs <= lastChunkEndMs) open.result.overlappingChunks++;
    lastChunkEndMs = maxMs;
    open.output += (dataEnd - dataStart) * CHUNK_BYTE_WORK;
    setBits(bits, message.bytes, dataStart, dataEnd);
    decodeChunk(encoding);
    place = "chunk";
  };

  const decodeChunk = (encoding: number): void => {
    switch (encoding) {
      case Encoding.xor:
        return decodeXorChunk(bits, fromMs, toMs, open.columns);
      case Encoding.xor2:
        return decodeXor2Chunk(bits, fromMs, toMs, open.columns);
      case Encoding.histogram:
      case Encoding.histogramSt:
        histograms = openHistogramChunk(bits, false, encoding === Encoding.histogramSt);
        return;
      case Encoding.floatHistogram:
      case Encoding.floatHistogramSt:
        histograms = openHistogramChunk(bits, true, encoding === Encoding.floatHistogramSt);
        return;
      default:
        throw new RemoteReadError("unknown_encoding", `a chunk has the unknown encoding ${encoding}`);
    }
  };

  /** Hands over what the chunk gave, as far as one piece of work may. */
  const emptyChunk = (): void => {
    while (histograms && !isSated(open)) {
      const histogram = histograms.next();
      if (histogram) handOverHistogram(open, histogram);
      else histograms = undefined;
    }
    while (!isSated(open) && hasSlice(open)) handOver(open);
    if (histograms || hasSlice(open)) return;
    forgetHandedOver(open);
    place = "series";
  };

  const readResponseField = (): void => {
    const tag = readVarint(message);
    if (tag === tagOf(1, LENGTH_DELIMITED)) beginSeries(readLength(message));
    else if (tag === tagOf(2, VARINT)) {
      if (readVarint(message) !== 0) throw invalid("the answer has results of a query that was not asked");
    } else skipField(message, tag);
  };

  /** Reads in the frame until it is read or the piece of work is done. Returns whether it is read. */
  const readFrame = (): boolean => {
    while (place !== "frame" && !isSated(open)) {
      if (place === "response") {
        if (message.at === frameEnd) place = "frame";
        else readResponseField();
      } else if (place === "chunk") emptyChunk();
      else if (place === "rest") {
        if (!handOver(open)) place = "response";
      } else if (message.at < seriesEnd) {
        message.end = seriesEnd;
        readSeriesField();
      } else {
        message.end = frameEnd;
        if (!hasLabels) endLabels(seriesEnd);
        place = "rest";
      }
    }
    return place === "frame";
  };

  return {
    scan: (piece, at) => {
      open.output = 0;
      let p = at;
      if (place === "frame") {
        p = frames.read(piece, at);
        const { frame } = frames;
        if (!frame) return p;
        setMessage(message, frame.bytes, frame.start, frame.end);
        frameEnd = frame.end;
        place = "response";
      } else {
        // The byte that was kept back.
        p++;
        assert(p <= piece.length, "a piece is scanned to its end");
      }
      if (!readFrame()) return p - 1;
      frames.release();
      return p;
    },
    drain: () => false,
    end: () => {
      frames.end();
      count.endSeries(open.refusal);
      return count.result();
    },
  };
}
