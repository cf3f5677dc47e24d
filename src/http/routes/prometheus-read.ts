import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { closeWhenSent } from "#http/close-when-sent.ts";
import { PROMETHEUS_TAG } from "#http/prometheus-route.ts";
import { prometheusErrors } from "#http/promql-schemas.ts";
import type { Clock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { PromqlError } from "#promql/error.ts";
import { Labels } from "#promql/labels.ts";
import type { SampleSource, Series } from "#promql/source.ts";
import { RemoteReadError } from "#prometheus/remote-read/remote-read-error.ts";
import { CHUNKS_TYPE, encodeSeriesFrames } from "#prometheus/remote-read/served-frames.ts";
import { decodeReadRequest, type ServedRequest } from "#prometheus/remote-read/served-request.ts";
import type { ServedSamples } from "#prometheus/remote-read/served-samples.ts";
import { encodeReadResponse, encodeSeries } from "#prometheus/remote-read/served-series.ts";
import type { AnswerForm, ReadQuery } from "#prometheus/remote-read/request.ts";
import { READ_HEADERS } from "#prometheus/remote-read/request.ts";
import type { Promql } from "#query/promql/promql.ts";
import type { PooledBudget } from "#query/promql/sample-pool.ts";

const REQUEST_BYTES_MAX = 4 * 1024 * 1024;
/** An answer is encoded as a whole: 18 bytes a sample as SAMPLES, compressed and not, and at most that many as chunks. */
const SAMPLES_MAX = 2_000_000;
/** Frames of small series are sent together. */
const PIECE_BYTES = 65_536;

const ANSWER = {
  description: "The series of each query, sorted by their labels",
  content: {
    [READ_HEADERS["content-type"]]: {
      schema: z.unknown().meta({ description: "SAMPLES: prometheus.ReadResponse in a snappy block" }),
    },
    [CHUNKS_TYPE]: {
      schema: z.unknown().meta({
        description:
          "STREAMED_XOR_CHUNKS: frames of a length (uvarint), a CRC-32C (big-endian) and a prometheus.ChunkedReadResponse of at most 1 MiB",
      }),
    },
  },
};

/** A series in a form: one piece as SAMPLES, its frames as STREAMED_XOR_CHUNKS. */
type Encode = (series: ServedSamples, queryIndex: number) => Iterable<Buffer>;

const ENCODE: Record<AnswerForm, Encode> = {
  samples: (series) => [encodeSeries(series)],
  chunks: encodeSeriesFrames,
};

/** POST /api/v1/read: Prometheus' remote read, in the forms SAMPLES and STREAMED_XOR_CHUNKS. */
export function prometheusReadRoute(promql: Promql, answer: AnswerQuery, clock: Clock): RouteModule {
  const turns = createTurns();
  return (app) => {
    app.route({
      method: "POST",
      url: "/api/v1/read",
      config: { scope: "read", onlySeen: true, errorsAs: "prometheus", bytes: true },
      schema: {
        tags: [PROMETHEUS_TAG],
        summary: "Prometheus' remote read, in the forms SAMPLES and STREAMED_XOR_CHUNKS",
        description:
          "The first of the request's accepted_response_types that is known is the answer's form; SAMPLES if it names none.",
        consumes: [READ_HEADERS["content-type"]],
        body: z.unknown().meta({ description: "prometheus.ReadRequest in a snappy block" }),
        response: { 200: ANSWER, ...prometheusErrors },
      },
      handler: async (request, reply) => {
        const { queries, form } = toRequest(request.body);
        const results = await read(queries, form, request, reply);
        await send(reply, form, results);
      },
    });
  };

  /** The series of each query. They count until they are sent. */
  async function read(
    queries: readonly ReadQuery[],
    form: AnswerForm,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Buffer[][]> {
    const { source } = promql.forCaller((id) => request.sees(id));
    const { limits, timeoutMs } = promql.settings;
    const budget = promql.pool.open({ ...limits, samplesMax: Math.min(limits.samplesMax, SAMPLES_MAX) });
    try {
      const results = await answer(request, reply, async (signal) => {
        const found: Buffer[][] = [];
        for (const [index, query] of queries.entries()) {
          const encode = (series: ServedSamples) => ENCODE[form](series, index);
          found.push(await readSeries(source, query, encode, budget, signal));
        }
        return found;
      });
      closeWhenSent(reply, clock, timeoutMs, () => budget.close());
      return results;
    } catch (error) {
      budget.close();
      throw error;
    }
  }

  /** In the order of their labels, which readers take for granted, and which the source does not have: so the first byte is sent when all is read. */
  async function readSeries(
    source: SampleSource,
    { startMs, endMs, matchers }: ReadQuery,
    encode: (series: ServedSamples) => Iterable<Buffer>,
    budget: PooledBudget,
    signal: AbortSignal,
  ): Promise<Buffer[]> {
    const found: { labels: Labels; pieces: Buffer[] }[] = [];
    for await (const batch of source.select({ matchers, fromMs: startMs - 1, toMs: endMs }, budget, signal)) {
      budget.addSeries(batch.length);
      for (const { labels, times, values, stale } of batch.map(withoutHistograms)) {
        if (times.length === 0) continue;
        budget.add(times.length);
        const pieces: Buffer[] = [];
        for (const piece of encode({ labels: labels.entries(), times, values, ...(stale && { stale }) })) {
          pieces.push(piece);
          await turns.pause();
          signal.throwIfAborted();
        }
        found.push({ labels, pieces });
      }
    }
    return found.sort((a, b) => Labels.compare(a.labels, b.labels)).flatMap(({ pieces }) => pieces);
  }
}

async function send(reply: FastifyReply, form: AnswerForm, results: Buffer[][]): Promise<void> {
  if (form === "chunks") await reply.type(CHUNKS_TYPE).send(Readable.from(inPieces(results.flat())));
  else
    await reply
      .type(READ_HEADERS["content-type"])
      .header("content-encoding", READ_HEADERS["content-encoding"])
      .send(encodeReadResponse(results));
}

function* inPieces(frames: readonly Buffer[]): Generator<Buffer> {
  let piece: Buffer[] = [];
  let bytes = 0;
  for (const frame of frames) {
    piece.push(frame);
    bytes += frame.length;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(piece, bytes);
    piece = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(piece, bytes);
}

/** `form`: the first that the caller accepts and this server knows, as Prometheus chooses it. */
function toRequest(body: unknown): { queries: ReadQuery[]; form: AnswerForm } {
  if (!Buffer.isBuffer(body)) throw new PromqlError("bad_data", "the request has no body");
  const { queries, forms, namesForms } = decode(body);
  const [form] = namesForms ? forms : (["samples"] as const);
  if (form === undefined)
    throw new PromqlError(
      "bad_data",
      "none of the requested response types is supported: this server answers SAMPLES and STREAMED_XOR_CHUNKS",
    );
  return { queries, form };
}

function decode(body: Buffer): ServedRequest {
  try {
    return decodeReadRequest(body, REQUEST_BYTES_MAX);
  } catch (error) {
    throw error instanceof RemoteReadError ? new PromqlError("bad_data", error.message) : error;
  }
}

/** Remote read answers floats only. */
function withoutHistograms(series: Series): Series {
  const { labels, times, values, stale, histograms } = series;
  if (!histograms) return series;
  const isFloat = (_number: number, k: number): boolean => histograms[k] === undefined;
  return {
    labels,
    times: times.filter(isFloat),
    values: values.filter(isFloat),
    ...(stale && { stale: stale.filter(isFloat) }),
  };
}
