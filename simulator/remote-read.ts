import type { ServerResponse } from "node:http";
import type { ByteSink } from "./answer-body.ts";
import type { PrometheusVersion } from "./answer-format.ts";
import type { RemoteReadFault } from "./fault-kinds.ts";
import type { Matcher } from "./promql.ts";
import { QueryError } from "./query-error.ts";
import { toFrame } from "./remote-read-frames.ts";
import { histogramChunk, writeHistogram } from "./remote-read-histogram.ts";
import { OPERATORS, ProtoWriter, readRequestOf, RESPONSE_TYPES } from "./remote-read-protobuf.ts";
import type { RemoteMatcher, RemoteQuery, RemoteReadRequest } from "./remote-read-protobuf.ts";
import { compressSnappy, decompressSnappy, snappyHead } from "./remote-read-snappy.ts";
import { bitsOf, xorChunk } from "./remote-read-xor.ts";
import { matchSeries } from "./select.ts";
import { compareLabels, createSampleBuffer, readStored } from "./series.ts";
import type { Horizon, Label, SampleBuffer, SimulatedSeries } from "./series.ts";
import { storedSpan } from "./world.ts";
import type { ClusterWorld, ScrapeShape } from "./world.ts";

/** --storage.remote.read-*; the defaults are Prometheus' own. */
export interface RemoteReadLimits {
  /** Samples of one query in an answer of samples; 0: no limit. Default 50,000,000. */
  samplesMax?: number;
  /** Requests at the same time; others wait. Default 10. */
  concurrency?: number;
  /** A frame ends with the chunk that passes so many bytes. Default 1,048,576. */
  frameBytesMax?: number;
}

export interface RemoteReadCall {
  world: { metrics: ClusterWorld["metrics"]; shape: ScrapeShape };
  horizon: Horizon;
  version: PrometheusVersion;
  request: RemoteReadRequest;
  /** Sorted by name. */
  externalLabels: readonly Label[];
  limits: Required<RemoteReadLimits>;
  problem: RemoteReadFault["problem"] | undefined;
  response: ServerResponse;
  /** Begins the body of a 200 answer. */
  sinkOf: (isStreamed: boolean) => ByteSink;
}

/** Of the compressed and of the plain request. */
export const REMOTE_READ_BODY_MAX = 32 * 1024 * 1024;
/** Samples of a chunk, as Prometheus' head cuts them. */
const CHUNK_SAMPLES = 120;
const CHUNK_XOR = 1;
const CHUNK_HISTOGRAM = 2;
/** Writing so much lets others have the thread. */
const TURN_BYTES = 65_536;

/** Throws QueryError when the body is no request. */
export function decodeReadRequest(body: Buffer): RemoteReadRequest {
  return readRequestOf(decompressSnappy(body, REMOTE_READ_BODY_MAX));
}

/**
 * Answers POST /api/v1/read as Prometheus' storage/remote/read_handler.go does. Throws QueryError, whose message
 * is the plain text of the answer, before a part of the body is sent.
 */
export async function answerRemoteRead(call: RemoteReadCall): Promise<void> {
  const type = call.problem === "samples" ? RESPONSE_TYPES.samples : negotiate(call.request.accepted);
  if (type === RESPONSE_TYPES.samples) return sendSamples(call);
  return sendChunks(call);
}

function negotiate(accepted: readonly number[]): number {
  const supported: number[] = [RESPONSE_TYPES.samples, RESPONSE_TYPES.chunks];
  const found =
    accepted.length === 0 ? RESPONSE_TYPES.samples : accepted.find((type) => supported.includes(type));
  if (found !== undefined) return found;
  const problem = "server does not support any of the requested response types";
  const known = "map[SAMPLES:{} STREAMED_XOR_CHUNKS:{}]";
  throw new QueryError(400, "bad_data", `${problem}: [${accepted.join(" ")}]; supported: ${known}`);
}

async function sendSamples(call: RemoteReadCall): Promise<void> {
  const { request, response, problem } = call;
  response.setHeader("content-type", "application/x-protobuf");
  response.setHeader("content-encoding", "snappy");
  const writer = new ProtoWriter();
  for (const query of request.queries) writer.message(1, () => writeResult(writer, call, query));
  const block = compressSnappy(writer.bytes);
  if (problem === "content-type") response.setHeader("content-type", "text/plain; charset=utf-8");
  const sink = call.sinkOf(false);
  await sink.write(problem === "bomb" ? Buffer.concat([snappyHead(0xffffffff), block.subarray(1)]) : block);
  await sink.end();
}

function writeResult(writer: ProtoWriter, call: RemoteReadCall, query: RemoteQuery): void {
  const { externalLabels, horizon, limits } = call;
  const out = createSampleBuffer();
  let samples = 0;
  for (const series of selectOf(call, query)) {
    const { fromMs, toMs } = rangeOf(query);
    readStored(series, fromMs, toMs, horizon, out);
    samples += out.count;
    if (limits.samplesMax > 0 && samples > limits.samplesMax) {
      throw new QueryError(400, "bad_data", `exceeded sample limit (${limits.samplesMax})`);
    }
    if (out.count === 0 && !hasChunkOver(series, query, horizon)) continue;
    writer.message(1, () => {
      writeLabels(writer, mergeLabels(series.labels, externalLabels));
      if (query.hints?.run === "series") return;
      writeSamples(writer, series, out);
    });
  }
}

function writeLabels(writer: ProtoWriter, labels: readonly Label[]): void {
  for (const [name, value] of labels) {
    writer.message(1, () => {
      writer.text(1, name);
      writer.text(2, value);
    });
  }
}

/** Plain samples first, then native histograms, as the fields of a TimeSeries have it. */
function writeSamples(writer: ProtoWriter, series: SimulatedSeries, out: SampleBuffer): void {
  for (let i = 0; i < out.count; i++) if (!out.histograms[i]) writeSample(writer, out, i);
  for (let i = 0; i < out.histograms.length; i++) {
    const histogram = out.histograms[i];
    if (!histogram) continue;
    const begins = i === 0 || startsChunk(series, out, i);
    const hint = begins ? (isReset(out, i) ? 1 : 0) : 2;
    writer.message(4, () =>
      writeHistogram(writer, out.timestamps[i] ?? 0, histogram, out.isMarker[i] === 1, hint),
    );
  }
}

/** Does a chunk begin with sample `i` (not the first)? Also where the kind of the samples changes, and behind a marker and a reset of histograms. */
function startsChunk(series: SimulatedSeries, out: SampleBuffer, i: number): boolean {
  const [before, now] = [out.histograms[i - 1], out.histograms[i]];
  if ((before === undefined) !== (now === undefined)) return true;
  if (now && (out.isMarker[i - 1] === 1 || isReset(out, i))) return true;
  const number = (at: number): number => chunkNumber(series, out.timestamps[at] ?? 0);
  return number(i - 1) !== number(i);
}

/** Did the histogram's counts go back to 0 since the sample before, as far as the answer tells? */
function isReset({ histograms, isMarker }: SampleBuffer, i: number): boolean {
  const [before, now] = [histograms[i - 1], histograms[i]];
  return (
    before !== undefined && isMarker[i] === 0 && isMarker[i - 1] === 0 && before.startedMs !== now?.startedMs
  );
}

function writeSample(writer: ProtoWriter, { timestamps, values, isMarker }: SampleBuffer, i: number): void {
  const [high, low] = bitsOf(values[i] ?? 0, isMarker[i] === 1);
  writer.message(2, () => {
    writer.double(1, high, low);
    writer.number(2, timestamps[i] ?? 0);
  });
}

interface Chunk {
  minMs: number;
  maxMs: number;
  type: number;
  data: Uint8Array;
}

async function sendChunks(call: RemoteReadCall): Promise<void> {
  const { request, response, horizon, problem } = call;
  const type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
  response.setHeader("content-type", problem === "content-type" ? "text/plain; charset=utf-8" : type);
  const selected = request.queries.map((query) =>
    selectOf(call, query).sort((a, b) => compareLabels(a.labels, b.labels)),
  );
  const sink = call.sinkOf(true);
  const out = createSampleBuffer();
  let sinceTurn = 0;
  for (const [queryIndex, query] of request.queries.entries()) {
    const { fromMs, toMs } = rangeOf(query);
    for (const series of selected[queryIndex] ?? []) {
      readStored(series, fromMs, toMs, horizon, out);
      for (const message of messagesOf(call, series, queryIndex, chunksOf(series, out))) {
        const frame = spoilFrame(toFrame(message), problem);
        await sink.write(frame);
        sinceTurn += frame.length;
      }
      if (sinceTurn < TURN_BYTES) continue;
      sinceTurn = 0;
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }
  await sink.end();
}

/** Where chunks end does not depend on what is asked for; those at the edges of the range hold less. */
function chunkNumber({ target }: SimulatedSeries, timeMs: number): number {
  return Math.floor(timeMs / (CHUNK_SAMPLES * target.intervalMs));
}

function chunksOf(series: SimulatedSeries, out: SampleBuffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let first = 0, end = 0; first < out.count; first = end) {
    end = first + 1;
    while (end < out.count && !startsChunk(series, out, end)) end++;
    const isNative = out.histograms[first] !== undefined;
    chunks.push({
      minMs: out.timestamps[first] ?? 0,
      maxMs: out.timestamps[end - 1] ?? 0,
      type: isNative ? CHUNK_HISTOGRAM : CHUNK_XOR,
      data: isNative ? histogramChunk(out, first, end, isReset(out, first)) : xorChunk(out, first, end),
    });
  }
  return chunks;
}

/** The messages of one series: a further one begins where one has reached the limit. */
function* messagesOf(
  { externalLabels, limits, problem }: RemoteReadCall,
  series: SimulatedSeries,
  queryIndex: number,
  chunks: readonly Chunk[],
): Iterable<Buffer> {
  const labels = mergeLabels(series.labels, externalLabels);
  const labelBytes = labels.reduce((sum, [name, value]) => sum + labelSize(name) + labelSize(value), 0);
  const room = limits.frameBytesMax - labelBytes;
  for (let next = 0; next < chunks.length;) {
    const writer = new ProtoWriter();
    writer.message(1, () => {
      writeLabels(writer, labels);
      for (let left = room; next < chunks.length && (left > 0 || left === room); next++) {
        const chunk = chunks[next] as Chunk;
        const before = writer.bytes.length;
        writer.message(2, () => writeChunk(writer, chunk, problem));
        left -= writer.bytes.length - before;
      }
    });
    writer.number(2, problem === "query-index" ? queryIndex + 7 : queryIndex);
    yield writer.bytes;
  }
}

function labelSize(text: string): number {
  return text === "" ? 0 : Buffer.byteLength(text) + 2;
}

function writeChunk(
  writer: ProtoWriter,
  chunk: Chunk,
  problem: RemoteReadFault["problem"] | undefined,
): void {
  const { minMs, maxMs, type, data } = chunk;
  writer.number(1, minMs);
  writer.number(2, maxMs);
  writer.number(3, problem === "encoding" ? 99 : type);
  if (problem !== "chunk-count") return writer.data(4, data);
  const spoiled = Uint8Array.from(data);
  spoiled.fill(255, 0, 2);
  writer.data(4, spoiled);
}

/** Overwrites the checksum, or the length in front of it. */
function spoilFrame(frame: Buffer, problem: RemoteReadFault["problem"] | undefined): Buffer {
  const lengthBytes = frame.findIndex((byte) => byte < 128) + 1;
  if (problem === "checksum") frame.writeUInt32BE(~frame.readUInt32BE(lengthBytes) >>> 0, lengthBytes);
  if (problem === "frame-size") return Buffer.concat([snappyHead(0xffffffff), frame.subarray(lengthBytes)]);
  return frame;
}

function selectOf({ world, version, externalLabels }: RemoteReadCall, query: RemoteQuery): SimulatedSeries[] {
  const { fromMs, toMs } = rangeOf(query);
  const matchers = query.matchers.map((each) => toMatcher(each, externalLabels));
  if (matchers.length === 0) return [];
  try {
    return matchSeries(world.metrics, matchers, storedSpan(world.shape, fromMs, toMs), version);
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    throw new QueryError(500, "internal", error.message.replace(/^.*parse error: /, ""));
  }
}

/** External labels are not stored: what asks for the very value of one is met by each series without the label. */
function toMatcher({ type, name, value }: RemoteMatcher, externalLabels: readonly Label[]): Matcher {
  const operator = OPERATORS[type];
  if (operator === undefined) throw new QueryError(500, "internal", "invalid matcher type");
  const isExternal = externalLabels.some((label) => label[0] === name && label[1] === value);
  return { name, operator, value: operator === "=" && isExternal ? "" : value };
}

/** Prometheus' storage goes by the hints where a query has some. */
function rangeOf(query: RemoteQuery): { fromMs: number; toMs: number } {
  return query.hints ?? query;
}

/** Does a chunk of the series reach over the range, though it has no sample in it? Prometheus answers with such a series without samples. */
function hasChunkOver(series: SimulatedSeries, query: RemoteQuery, horizon: Horizon): boolean {
  const { fromMs, toMs } = rangeOf(query);
  const number = chunkNumber(series, fromMs);
  if (chunkNumber(series, toMs) !== number) return false;
  const lengthMs = CHUNK_SAMPLES * series.target.intervalMs;
  const out = createSampleBuffer();
  readStored(series, number * lengthMs, toMs, horizon, out);
  if (out.count === 0) return false;
  readStored(series, fromMs, (number + 1) * lengthMs - 1, horizon, out);
  return out.count > 0;
}

/** The series' own labels win. */
function mergeLabels(own: readonly Label[], external: readonly Label[]): readonly Label[] {
  const added = external.filter(([name]) => !own.some(([known]) => known === name));
  if (added.length === 0) return own;
  return [...own, ...added].sort(([a], [b]) => (a < b ? -1 : 1));
}
