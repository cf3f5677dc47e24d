import type { Readable } from "node:stream";
import { request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createInterimCounter } from "#lib/interim-answers.ts";
import { readBeginning } from "#lib/read-body.ts";
import { toAnswerError, toRequestError, type Authorization } from "./answer-errors.ts";
import type { Compression } from "./compression.ts";
import { decodedBody, isCompressed } from "./decompress.ts";
import { READ_HEADERS, type AnswerForm } from "./remote-read/request.ts";

export interface RequestDeps {
  dispatcher: Dispatcher;
  clock: Clock;
  queryMethod: QueryMethod;
  /** Absent: no answer is asked for compressed. */
  compression?: Compression;
}

export interface RequestSettings {
  /** For example "http://prometheus.invalid"; the dispatcher decides where it leads. */
  origin: string;
  /** Empty, or begins with "/" and does not end with one. */
  pathPrefix: string;
  /** Time that one request may take, from sending it to the end of its answer, our own reading included; pauses for the Collector do not count. */
  timeoutMs: number;
  /** Sent with each request. */
  authorization?: Authorization;
}

export const ERROR_BYTES_MAX = 64 << 10;
const FORM_HEADERS = { "content-type": "application/x-www-form-urlencoded" };
/** A proxy refuses a method like this: kube-rbac-proxy and others may allow the verb of GET alone (prometheus/client_golang#1619). */
const METHOD_REFUSALS: ReadonlySet<number> = new Set([403, 405, 501]);

type RequestOptions = Pick<
  Dispatcher.RequestOptions,
  "signal" | "headersTimeout" | "bodyTimeout" | "onInfo"
> & { dispatcher: Dispatcher };

/** How queries are sent over one connection. */
export interface QueryMethod {
  method: "POST" | "GET";
  /** POST has worked: a refusal is not about the method. */
  isPostAccepted: boolean;
}

/** Queries go by POST, as their length is not limited then, until the source refuses POST and takes GET. */
export function createQueryMethod(): QueryMethod {
  return { method: "POST", isPostAccepted: false };
}

export interface Answer {
  body: AsyncIterable<Buffer>;
  isCompressed: boolean;
}

function limitInterimAnswers(): () => void {
  const isTooMany = createInterimCounter();
  return () => {
    if (!isTooMany()) return;
    const text = "Prometheus sends interim answers (1xx) without end";
    throw new BridgeError("prometheus_unexpected_answer", text);
  };
}

/** Sends a request. Resolves with an answer 200 whose body is not read yet. Throws BridgeError prometheus_*, and what undici throws. */
export async function sendRequest(
  deps: RequestDeps,
  settings: RequestSettings,
  path: string,
  form: Record<string, string>,
  signal: AbortSignal,
): Promise<Answer> {
  const { queryMethod } = deps;
  const send = async (method: "POST" | "GET"): Promise<Dispatcher.ResponseData> =>
    await sendBy(method, deps, settings, { path, form }, signal);
  const isQuery = path.startsWith("/api/v1/query");
  // Prometheus serves metadata by GET alone.
  if (!isQuery || queryMethod.method === "GET") return await accept(await send("GET"), settings, path);
  const byPost = await send("POST");
  if (byPost.statusCode === 200) queryMethod.isPostAccepted = true;
  if (queryMethod.isPostAccepted || !METHOD_REFUSALS.has(byPost.statusCode))
    return await accept(byPost, settings, path);
  const refusal = await errorOf(byPost, settings, path);
  const byGet = await send("GET");
  if (byGet.statusCode === 401 || METHOD_REFUSALS.has(byGet.statusCode)) {
    byGet.body.on("error", () => {}).destroy();
    throw refusal;
  }
  queryMethod.method = "GET";
  return await accept(byGet, settings, path);
}

/** The source answers remote read with a refusal that is no matter of the window: it does not have it, or not for us. */
export class RemoteReadRefused extends BridgeError {
  /** Of the answer. 200: its content type is none of remote read's. */
  readonly status: number;

  constructor(status: number, { code, message, hint, details }: BridgeError) {
    super(code, message, { hint, ...(details ? { details } : {}) });
    this.status = status;
  }
}

const REMOTE_READ_PATH = "/api/v1/read";
/** The content types of the answers, without parameters. */
const ANSWER_TYPES: Record<AnswerForm, string> = {
  samples: "application/x-protobuf",
  chunks: "application/x-streamed-protobuf",
};
const isOf = (type: unknown, expected: string): boolean =>
  typeof type === "string" && type.split(";", 1)[0]!.trim().toLowerCase() === expected;

/**
 * Sends a remote read request. Resolves with an answer in one of the forms, whose body is not read yet. Throws RemoteReadRefused, BridgeError
 * prometheus_*, and what undici throws.
 */
export async function sendRemoteRead(
  { dispatcher }: RequestDeps,
  settings: RequestSettings,
  body: Buffer,
  signal: AbortSignal,
): Promise<Answer & { form: AnswerForm }> {
  const { options, identity } = optionsOf(dispatcher, settings, signal);
  const url = `${settings.origin}${settings.pathPrefix}${REMOTE_READ_PATH}`;
  const headers = { ...READ_HEADERS, ...identity };
  const answer = await request(url, { ...options, method: "POST", headers, body });
  const type = answer.headers["content-type"];
  const form = (["samples", "chunks"] as const).find((each) => isOf(type, ANSWER_TYPES[each]));
  if (answer.statusCode === 200 && form) {
    return {
      body: decodedBody(answer.headers, answer.body),
      isCompressed: isCompressed(answer.headers),
      form,
    };
  }
  const error = await errorOf(answer, settings, REMOTE_READ_PATH);
  throw isRefusal(answer.statusCode, error) ? new RemoteReadRefused(answer.statusCode, error) : error;
}

/** Statuses that are about the moment or the window: a timeout, too many requests. Of the others, 501 alone is an answer of the 5xx for good. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 425, 429]);

function isRefusal(status: number, { code }: BridgeError): boolean {
  if (code === "prometheus_too_many_samples" || PASSING_STATUSES.has(status)) return false;
  return status < 500 || status === 501;
}

function optionsOf(
  dispatcher: Dispatcher,
  { authorization }: RequestSettings,
  signal: AbortSignal,
): { options: RequestOptions; identity: Record<string, string> } {
  const onInfo = limitInterimAnswers();
  const headers = authorization?.headers.map(({ name, value }) => [name, value.expose()]) ?? [];
  return {
    options: { dispatcher, signal, headersTimeout: 0, bodyTimeout: 0, onInfo },
    identity: Object.fromEntries(headers) as Record<string, string>,
  };
}

async function sendBy(
  method: "POST" | "GET",
  { dispatcher, compression }: RequestDeps,
  settings: RequestSettings,
  { path, form }: { path: string; form: Record<string, string> },
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const { origin, pathPrefix, authorization } = settings;
  const url = `${origin}${pathPrefix}${path}`;
  const { options: common, identity } = optionsOf(dispatcher, settings, signal);
  const options = { ...common, method };
  const isGzip = compression?.isWanted() === true && path.startsWith("/api/v1/");
  const encoding: Record<string, string> = isGzip ? { "accept-encoding": "gzip" } : {};
  const headers = {
    accept: "application/json",
    ...encoding,
    ...identity,
  };
  // A space is %20 in every part of a URL; "+" is one only for those who read it as a form.
  const text = new URLSearchParams(form).toString().replaceAll("+", "%20");
  const sign = async (target: string, signed: Record<string, string>, body: string) =>
    (await authorization?.sign?.({ method, url: target, headers: signed, body }, signal)) ?? {};
  if (method === "GET") {
    const target = text === "" ? url : `${url}?${text}`;
    return await request(target, { ...options, headers: { ...headers, ...(await sign(target, {}, "")) } });
  }
  const signature = await sign(url, FORM_HEADERS, text);
  return await request(url, {
    ...options,
    headers: { ...FORM_HEADERS, ...headers, ...signature },
    body: text,
  });
}

async function accept(
  answer: Dispatcher.ResponseData,
  settings: RequestSettings,
  path: string,
): Promise<Answer> {
  const isPage = /html/i.test(String(answer.headers["content-type"]));
  if (answer.statusCode !== 200 || isPage) throw await errorOf(answer, settings, path);
  return { body: decodedBody(answer.headers, answer.body), isCompressed: isCompressed(answer.headers) };
}

async function errorOf(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  { pathPrefix, authorization }: RequestSettings,
  path: string,
): Promise<BridgeError> {
  const beginning = await beginningOf(headers, body);
  const asked = `${pathPrefix}${path}`;
  return toAnswerError({ status: statusCode, headers, body: beginning, asked }, authorization);
}

/** Empty where it can't be decompressed: the status says more than that. */
async function beginningOf(headers: Record<string, unknown>, body: Readable): Promise<Buffer> {
  try {
    return await readBeginning(decodedBody(headers, body), ERROR_BYTES_MAX);
  } catch (error) {
    if (error instanceof BridgeError && error.code === "prometheus_unexpected_answer") return Buffer.alloc(0);
    throw error;
  }
}

/** Sends a request and reads its whole answer with `take`, within the time for one request. Throws BridgeError. */
export async function requestWhole<T>(
  deps: RequestDeps,
  settings: RequestSettings,
  { path, form }: { path: string; form: Record<string, string> },
  take: (body: AsyncIterable<Uint8Array>) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const limit = deadline(deps.clock, settings.timeoutMs, () => timedOut(settings.timeoutMs), signal);
  const answered = async (): Promise<T> =>
    await take((await sendRequest(deps, settings, path, form, limit.signal)).body);
  try {
    return await abortable(answered(), limit.signal);
  } catch (error) {
    throw limit.signal.aborted ? limit.signal.reason : toRequestError(error);
  } finally {
    limit.dispose();
  }
}

export function timedOut(timeoutMs: number): BridgeError {
  return new BridgeError(
    "prometheus_timeout",
    `Prometheus did not answer in ${Math.round(timeoutMs / 1000)} s`,
  );
}
