import { crc32c } from "./crc32c.ts";
import { bytesField, labelFields, numberField, varint } from "./message-writer.ts";
import { bitsOf, type ServedSamples } from "./served-samples.ts";
import { CHUNK_SAMPLES_MAX, encodeXorChunk } from "./xor-chunk-writer.ts";

/** The content type of an answer in the form STREAMED_XOR_CHUNKS. */
export const CHUNKS_TYPE = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/** Prometheus' default of --storage.remote.read-max-bytes-in-frame. */
const FRAME_BYTES_MAX = 1 << 20;
/** The fields' heads around the series, and the number of the query. */
const FRAME_HEAD_BYTES = 32;
/** prometheus.Chunk.Encoding. */
const XOR = 1;

/**
 * A series as frames of an answer in the form STREAMED_XOR_CHUNKS: length, CRC-32C, prometheus.ChunkedReadResponse. A frame has one series, of which as many chunks as fit into
 * FRAME_BYTES_MAX; the next ones follow in a frame with the same labels. Without samples: none.
 */
export function* encodeSeriesFrames(series: ServedSamples, queryIndex: number): Generator<Buffer> {
  const labels = labelFields(series.labels);
  const room = FRAME_BYTES_MAX - labels.length - FRAME_HEAD_BYTES;
  let chunks: Buffer[] = [];
  let bytes = 0;
  for (const chunk of chunksOf(series)) {
    if (bytes > 0 && bytes + chunk.length > room) {
      yield toFrame(labels, chunks, queryIndex);
      chunks = [];
      bytes = 0;
    }
    chunks.push(chunk);
    bytes += chunk.length;
  }
  if (chunks.length > 0) yield toFrame(labels, chunks, queryIndex);
}

/** Each as a field of prometheus.ChunkedSeries. */
function* chunksOf(series: ServedSamples): Generator<Buffer> {
  const { times } = series;
  const bits = bitsOf(series);
  for (let start = 0; start < times.length; start += CHUNK_SAMPLES_MAX) {
    const end = Math.min(start + CHUNK_SAMPLES_MAX, times.length);
    yield bytesField(
      2,
      Buffer.concat([
        numberField(1, times[start]!),
        numberField(2, times[end - 1]!),
        numberField(3, XOR),
        bytesField(4, encodeXorChunk(times, bits, start, end)),
      ]),
    );
  }
}

function toFrame(labels: Buffer, chunks: readonly Buffer[], queryIndex: number): Buffer {
  const message = Buffer.concat([
    bytesField(1, Buffer.concat([labels, ...chunks])),
    numberField(2, queryIndex),
  ]);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32c(message));
  return Buffer.concat([Buffer.from(varint(message.length)), checksum, message]);
}
