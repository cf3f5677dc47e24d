import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { errors, request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { readBeginning } from "#lib/read-body.ts";
import { createInterimCounter } from "#lib/interim-answers.ts";
import { createRecord } from "#lib/records.ts";
import { toRemoteText, withoutControls } from "#lib/remote-text.ts";
import { createHider, secretsOfHeader, type Secret } from "#lib/secret.ts";
import { LENGTH_DELIMITED, readFields, VARINT } from "./wire.ts";

const gzip = promisify(zlib.gzip);
const gunzip = promisify(zlib.gunzip);
const zstd = promisify(zlib.zstdCompress);
const unzstd = promisify(zlib.zstdDecompress);

export type Compression = "gzip" | "zstd" | "none";

/** The result of one POST to the Collector. accepted: every point is stored (the Collector's queue waits for the insert). */
export type ExportResult =
  | { kind: "accepted"; message: string }
  /**
   * The Collector took the request but refused some of its points; the OTLP specification forbids to send it again. `rejectedPoints` is
   * what the Collector says, which may be impossible: negative, a fraction, NaN, or more than were sent.
   */
  | { kind: "partial"; rejectedPoints: number; message: string }
  /** May pass later: 429, 502, 503, 504, no connection, no answer in time. */
  | { kind: "retryable"; error: BridgeError; retryAfterMs?: number; status?: number }
  /** Sending the same again is pointless. `divisible`: a part of it may pass. */
  | { kind: "rejected"; error: BridgeError; status: number; divisible: boolean };

/** A compressed request body, made once and sent as often as needed. */
export interface Payload {
  body: Buffer;
  encoding: Compression;
}

export interface Transport {
  /** As it is sent: compresses; the input may be used again afterwards. */
  encode(body: Buffer): Promise<Payload>;
  /** As it is kept until it is sent: always compressed. */
  pack(body: Buffer): Promise<Payload>;
  /** What was packed, as it is sent. */
  unpack(payload: Payload): Promise<Payload>;
  decode(payload: Payload): Promise<Buffer>;
  /** One POST. Never throws but for the signal's own reason. */
  send(payload: Payload, signal: AbortSignal): Promise<ExportResult>;
}

export interface TransportSettings {
  /** Full URL, with path. */
  url: string;
  /** The name of the receiver in error texts. Default: the variable OTEL_COLLECTOR_ENDPOINT. */
  name?: string;
  headers: Readonly<Record<string, Secret>>;
  compression: Compression;
  /** Time for one POST, from connecting to the last byte of the answer. */
  timeoutMs: number;
}

/** The OTLP specification's list of statuses to try again (OTLP/HTTP response, "Retryable response codes"). */
const RETRYABLE_STATUS = new Set([429, 502, 503, 504]);
/** The request reached something that is no OTLP receiver for us: no part of it would pass. */
const MISCONFIGURED_STATUS = new Set([301, 302, 303, 307, 308, 401, 403, 404, 405, 415]);
/** An answer is read so far; an OTLP response has a few bytes, and a longer text says no more. */
const ANSWER_BYTES_MAX = 64 << 10;
/** An open connection ended. */
const CUT = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);
const LOGGED_CHARS_MAX = 2000;
const RETRY_AFTER_MAX_MS = 3_600_000;

/** One POST of an ExportMetricsServiceRequest to an OTLP/HTTP receiver (OTLP 1.x, binary protobuf). */
export function createTransport(
  deps: { clock: Clock; dispatcher: Dispatcher },
  settings: TransportSettings,
): Transport {
  const { clock } = deps;
  const secrets = Object.values(settings.headers).flatMap((header) => secretsOfHeader(header.expose()));
  const words: Words = {
    hide: createHider(secrets),
    place: settings.name ?? "OTEL_COLLECTOR_ENDPOINT",
    compression: settings.compression,
  };

  const post = async (payload: Payload, signal: AbortSignal): Promise<ExportResult> => {
    const headers = createRecord({
      "content-type": "application/x-protobuf",
      "user-agent": "budcluster",
    });
    if (payload.encoding !== "none") headers["content-encoding"] = payload.encoding;
    for (const [name, value] of Object.entries(settings.headers)) headers[name] = value.expose();
    const answer = await request(settings.url, {
      method: "POST",
      headers,
      body: payload.body,
      signal,
      dispatcher: deps.dispatcher,
      headersTimeout: 0,
      bodyTimeout: 0,
      onInfo: limitInterimAnswers(words.place),
    });
    const body = await readBeginning(answer.body, ANSWER_BYTES_MAX);
    // Half of a response may look like another one; the beginning of a refusal is told.
    const isWhole = answer.statusCode >= 300 || body.length < ANSWER_BYTES_MAX;
    const type = isWhole ? String(answer.headers["content-type"] ?? "") : "";
    return toExportResult(
      answer.statusCode,
      type,
      body,
      retryAfterMs(answer.headers["retry-after"], clock.now()),
      words,
    );
  };

  const { compression } = settings;
  const packing = compression === "none" ? "zstd" : compression;
  const encode = async (encoding: Compression, body: Buffer): Promise<Payload> => ({
    body: await compress(encoding, body),
    encoding,
  });

  return {
    encode: (body) => encode(compression, body),
    pack: (body) => encode(packing, body),
    unpack: async (payload) =>
      packing === compression ? payload : { body: await decompress(payload), encoding: "none" },
    decode: (payload) => decompress(payload),
    send: async (payload, signal) => {
      const timeout = new BridgeError(
        "collector_timeout",
        `the Collector did not answer in ${Math.round(settings.timeoutMs / 1000)} s`,
      );
      const limit = deadline(clock, settings.timeoutMs, () => timeout, signal);
      try {
        // A request that waits for a free connection does not hear its signal.
        return await abortable(post(payload, limit.signal), limit.signal);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (limit.signal.aborted) return { kind: "retryable", error: timeout };
        return { kind: "retryable", error: toConnectionError(error, words.place) };
      } finally {
        limit.dispose();
      }
    },
  };
}

async function compress(compression: Compression, body: Buffer): Promise<Buffer> {
  if (compression === "gzip") return await gzip(body, { level: 1 });
  if (compression === "zstd")
    return await zstd(body, { params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 } });
  return Buffer.from(body);
}

async function decompress(payload: Payload): Promise<Buffer> {
  if (payload.encoding === "gzip") return await gunzip(payload.body);
  return payload.encoding === "zstd" ? await unzstd(payload.body) : payload.body;
}

function limitInterimAnswers(place: string): () => void {
  const isTooMany = createInterimCounter();
  return () => {
    if (!isTooMany()) return;
    throw new BridgeError("collector_misconfigured", `${place} sends interim answers (1xx) without end`);
  };
}

/** What the connection failed with before the answer was whole. */
function toConnectionError(error: unknown, place: string): BridgeError {
  if (error instanceof BridgeError) return error;
  const code = (error as { code?: unknown }).code;
  const what = typeof code === "string" ? code : error instanceof Error ? error.name : "unknown failure";
  if (error instanceof errors.HTTPParserError || what === "UND_ERR_HEADERS_OVERFLOW") {
    const text = `what answers at ${place} does not speak HTTP (${what})`;
    return new BridgeError("collector_misconfigured", text, { cause: error });
  }
  if (CUT.has(what)) {
    const text = `the Collector closed the connection before its answer was whole (${what})`;
    return new BridgeError("collector_unavailable", text, { cause: error });
  }
  return new BridgeError("collector_unreachable", `no connection to the Collector: ${what}`, {
    cause: error,
  });
}

/** How answers are put into words. */
interface Words {
  hide: (text: string) => string;
  place: string;
  compression: Compression;
}

function toExportResult(
  status: number,
  type: string,
  body: Buffer,
  retryAfter: number | undefined,
  words: Words,
): ExportResult {
  if (status >= 200 && status < 300) {
    // Anything at all may answer 204 or an empty 200; only an OTLP response says that the points are stored.
    const partial = status === 200 ? readPartialSuccess(type, body) : undefined;
    if (!partial) return misconfigured(status, words, `answered ${status} without an OTLP response`);
    const message = toRemoteText(partial.message, words);
    return partial.rejectedPoints === 0
      ? { kind: "accepted", message }
      : { kind: "partial", rejectedPoints: partial.rejectedPoints, message };
  }
  const text = readStatusMessage(type, body);
  const said = toRemoteText(text, words);
  const answered = `answered ${status}${said === "" ? "" : `: ${said}`}`;
  const options = causeOf(text, words);
  if (RETRYABLE_STATUS.has(status)) {
    const error = new BridgeError("collector_unavailable", `the Collector ${answered}`, options);
    return {
      kind: "retryable",
      error,
      status,
      ...(retryAfter === undefined ? {} : { retryAfterMs: retryAfter }),
    };
  }
  if (MISCONFIGURED_STATUS.has(status) || status < 400)
    return misconfigured(status, words, answered, options);
  const error = new BridgeError("collector_refused", `the Collector ${answered}`, options);
  return { kind: "rejected", error, status, divisible: true };
}

/** For the operator's log alone: what the Collector says with the addresses and users in it, which show what is wrong behind it. */
function causeOf(text: string, { hide }: Words): { cause?: Error } {
  const logged = withoutControls(hide(text)).trim().slice(0, LOGGED_CHARS_MAX);
  return logged === "" ? {} : { cause: new Error(logged) };
}

function misconfigured(
  status: number,
  { place, compression }: Words,
  what: string,
  options: { cause?: Error } = {},
): ExportResult {
  const hint =
    status === 415
      ? {
          hint: `The Collector does not take OTLP_COMPRESSION=${compression} or protobuf: set another compression (gzip, none), or let it take this one.`,
        }
      : {};
  const error = new BridgeError("collector_misconfigured", `${place} ${what}`, { ...options, ...hint });
  return { kind: "rejected", error, status, divisible: false };
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3). */
function retryAfterMs(header: string | string[] | undefined, now: number): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS);
}

/** ExportMetricsServiceResponse{1: partial_success{1: rejected_data_points, 2: error_message}}; undefined when it is none. */
function readPartialSuccess(
  type: string,
  body: Buffer,
): { rejectedPoints: number; message: string } | undefined {
  try {
    if (type.includes("json")) return readJsonPartialSuccess(body.toString("utf8"));
    if (!type.includes("protobuf")) return undefined;
    const result = { rejectedPoints: 0, message: "" };
    for (const outer of readFields(body)) {
      if (outer.number !== 1 || outer.type !== LENGTH_DELIMITED) continue;
      for (const field of readFields(body, outer.start, outer.end)) {
        if (field.number === 1 && field.type === VARINT) {
          result.rejectedPoints = readInt64(body, field.start, field.end);
        } else if (field.number === 1) result.rejectedPoints = Number.NaN;
        if (field.number === 2) result.message = body.toString("utf8", field.start, field.end);
      }
    }
    return result;
  } catch {
    return undefined;
  }
}

function readJsonPartialSuccess(text: string): { rejectedPoints: number; message: string } | undefined {
  const response: unknown = JSON.parse(text);
  if (typeof response !== "object" || response === null || Array.isArray(response)) return undefined;
  const { partialSuccess } = response as { partialSuccess?: unknown };
  if (typeof partialSuccess !== "object" || partialSuccess === null)
    return { rejectedPoints: 0, message: "" };
  const { rejectedDataPoints: count, errorMessage } = partialSuccess as Record<string, unknown>;
  // Protobuf's JSON form of an int64 is a text or a number.
  const isCount = typeof count === "number" || (typeof count === "string" && /^-?\d+$/.test(count));
  return {
    rejectedPoints: isCount ? Number(count) : count === undefined || count === null ? 0 : Number.NaN,
    message: typeof errorMessage === "string" ? errorMessage : "",
  };
}

/** A varint as the int64 that it stands for; inexact beyond 2^53. */
function readInt64(bytes: Uint8Array, start: number, end: number): number {
  let value = 0n;
  for (let i = end - 1; i >= start; i--) value = (value << 7n) | BigInt(bytes[i]! & 0x7f);
  return Number(BigInt.asIntN(64, value));
}

/** The message of a google.rpc.Status (protobuf or JSON), or a text; empty when there is none. */
function readStatusMessage(type: string, body: Buffer): string {
  try {
    if (type.includes("json")) {
      const { message } = JSON.parse(body.toString("utf8")) as { message?: unknown };
      return typeof message === "string" ? message : "";
    }
    if (type.includes("protobuf")) {
      for (const field of readFields(body))
        if (field.number === 2) return body.toString("utf8", field.start, field.end);
    } else if (type.startsWith("text/plain")) return body.toString("utf8");
  } catch {
    // A body that is none of these has nothing to say.
  }
  return "";
}
