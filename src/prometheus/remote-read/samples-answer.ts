import type { AnswerDecoder } from "./chunked-answer.ts";
import { readHistogramMessage } from "./histogram-message.ts";
import {
  createMessageReader,
  FIXED64,
  LENGTH_DELIMITED,
  readInt64,
  readLength,
  readVarint,
  setMessage,
  skipField,
  tagOf,
  take,
  VARINT,
  type MessageReader,
} from "./message-reader.ts";
import { beginLabels, checkLabels, readLabel } from "./read-labels.ts";
import {
  beginSamples,
  createOpenRead,
  createSeriesCount,
  forgetHandedOver,
  handOver,
  handOverHistogram,
  hasSlice,
  isSated,
  type OpenRead,
  type ReadOptions,
} from "./read-series.ts";
import { invalid, tooLarge, truncated } from "./remote-read-error.ts";
import { makeRoomFor } from "./sample-columns.ts";
import { compressedBytesMax, decompressSnappy, snappyHead } from "./snappy.ts";

/** Bytes that an answer may have when it is decompressed: it is held as a whole, before and after, and MEMORY_BUDGET does not count it. A larger one is for the other form. */
const SAMPLES_BYTES_MAX = 2 << 20;

/** Samples that room is made for at once; the columns double. */
const ROOM_SAMPLES = 512;
const NO_BYTES = Buffer.alloc(0);

type Place = "response" | "result" | "series" | "slice" | "rest";

/**
 * Decodes an answer in the form SAMPLES: a prometheus.ReadResponse in one snappy block. Throws `too_large` as soon as the block's head says that it has more than `bytesMax` bytes. The
 * samples are given by `drain`, behind the answer's last byte. A value of -0 comes as 0: Prometheus leaves both out of the message.
 */
export function createSamplesAnswer(options: ReadOptions, bytesMax = SAMPLES_BYTES_MAX): AnswerDecoder {
  const open = createOpenRead(options);
  const count = createSeriesCount(open);
  const message = createMessageReader();
  let body: Buffer = NO_BYTES;
  let bodyBytes = 0;
  let isHeadKnown = false;
  let isDecompressed = false;
  let isDone = false;
  let place: Place = "response";
  let messageEnd = 0;
  let resultEnd = 0;
  let results = 0;
  let seriesEnd = 0;
  let labelsStart = 0;
  let hasLabels = false;

  const hold = (piece: Uint8Array): void => {
    const length = bodyBytes + piece.length;
    if (length > compressedBytesMax(bytesMax)) {
      throw tooLarge(`the answer has more than ${bytesMax} bytes`);
    }
    if (length > body.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, body.length * 2));
      body.copy(larger, 0, 0, bodyBytes);
      body = larger;
    }
    body.set(piece, bodyBytes);
    bodyBytes = length;
  };

  const checkHead = (): void => {
    const head = snappyHead(body.subarray(0, bodyBytes));
    if (!head) return;
    isHeadKnown = true;
    if (head.size > bytesMax) {
      throw tooLarge(`the answer has ${head.size} bytes when decompressed, more than ${bytesMax}`);
    }
  };

  const decompress = (): void => {
    const bytes = decompressSnappy(body.subarray(0, bodyBytes), bytesMax);
    body = NO_BYTES;
    setMessage(message, bytes, 0, bytes.length);
    messageEnd = bytes.length;
    isDecompressed = true;
  };

  const endLabels = (end: number): void => {
    hasLabels = true;
    checkLabels(open, labelsStart, end);
    beginSamples(open, false);
  };

  const readSeriesField = (): void => {
    const at = message.at;
    const tag = readVarint(message);
    if (tag === tagOf(1, LENGTH_DELIMITED)) {
      if (hasLabels) throw invalid("a series has labels behind its samples");
      readLabel(open, message, readLength(message));
      return;
    }
    if (!hasLabels) endLabels(at);
    if (tag === tagOf(2, LENGTH_DELIMITED)) {
      message.at = at;
      readSamples(open, message);
      place = "slice";
    } else if (tag === tagOf(4, LENGTH_DELIMITED)) {
      const end = readLength(message);
      open.output += end - message.at;
      handOverHistogram(open, readHistogramMessage(message, end));
    } else skipField(message, tag);
  };

  const readField = (): void => {
    const tag = readVarint(message);
    if (tag !== tagOf(1, LENGTH_DELIMITED)) return skipField(message, tag);
    if (place === "response") {
      if (++results > 1) throw invalid("the answer has results of a query that was not asked");
      resultEnd = readLength(message);
      message.end = resultEnd;
      place = "result";
      return;
    }
    seriesEnd = readLength(message);
    message.end = seriesEnd;
    labelsStart = message.at;
    hasLabels = false;
    beginLabels(open, message.bytes);
    place = "series";
  };

  /** The message that is read ends here. */
  const leave = (): void => {
    if (place === "response") isDone = true;
    else if (place === "result") {
      message.end = messageEnd;
      place = "response";
    } else {
      if (!hasLabels) endLabels(seriesEnd);
      message.end = resultEnd;
      place = "rest";
    }
  };

  const step = (): void => {
    if (place === "rest") {
      if (handOver(open)) return;
      count.endSeries(open.refusal);
      place = "result";
    } else if (place === "slice" && hasSlice(open)) handOver(open);
    else if (place === "slice") {
      forgetHandedOver(open);
      place = "series";
    } else if (message.at === message.end) leave();
    else if (place === "series") readSeriesField();
    else readField();
  };

  return {
    scan: (piece, at) => {
      hold(at === 0 ? piece : piece.subarray(at));
      if (!isHeadKnown) checkHead();
      return piece.length;
    },
    drain: () => {
      if (isDone) return false;
      open.output = 0;
      if (!isDecompressed) decompress();
      while (!isDone && !isSated(open)) step();
      return !isDone;
    },
    end: () => {
      if (!isDone) throw truncated("the answer is not read to its end");
      return count.result();
    },
  };
}

/**
 * Reads samples of a series as long as they follow each other and there is no slice. The hot path: Prometheus' own layout, `value` before `timestamp`, is read without a loop
 * over fields.
 */
function readSamples(open: OpenRead, reader: MessageReader): void {
  const { columns } = open;
  const { fromMs, toMs } = open.options.window;
  const { end } = reader;
  makeRoomFor(columns, Math.min(open.sliceMax, ROOM_SAMPLES));
  const { timestamps, bits } = columns;
  const full = Math.min(columns.count + open.sliceMax, timestamps.length);
  const first = reader.at;
  while (reader.at < end && reader.bytes[reader.at] === tagOf(2, LENGTH_DELIMITED) && columns.count < full) {
    reader.at++;
    const sampleEnd = readLength(reader);
    let low = 0;
    let high = 0;
    let t = 0;
    reader.end = sampleEnd;
    while (reader.at < sampleEnd) {
      const tag = readVarint(reader);
      if (tag === tagOf(1, FIXED64)) {
        const at = take(reader, 8);
        low = reader.view.getInt32(at, true);
        high = reader.view.getInt32(at + 4, true);
      } else if (tag === tagOf(2, VARINT)) t = readInt64(reader);
      else skipField(reader, tag);
    }
    reader.end = end;
    if (!(t > fromMs && t <= toMs)) continue;
    const n = columns.count++;
    timestamps[n] = t;
    bits[n * 2] = low;
    bits[n * 2 + 1] = high;
  }
  open.output += reader.at - first;
}
