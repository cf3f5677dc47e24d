import type { Readable } from "node:stream";
import { request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createInterimCounter } from "#lib/interim-answers.ts";
import { readBeginning } from "#lib/read-body.ts";
import { toAnswerError, toRequestError, type Authorization } from "./answer-errors.ts";
import type { Compression } from "./compression.ts";
import { decodedBody, isCompressed } from "./decompress.ts";

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

interface Answer {
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

async function sendBy(
  method: "POST" | "GET",
  { dispatcher, compression }: RequestDeps,
  { origin, pathPrefix, authorization }: RequestSettings,
  { path, form }: { path: string; form: Record<string, string> },
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const url = `${origin}${pathPrefix}${path}`;
  const onInfo = limitInterimAnswers();
  const options = { dispatcher, signal, method, headersTimeout: 0, bodyTimeout: 0, onInfo };
  const identity = authorization?.headers.map(({ name, value }) => [name, value.expose()]) ?? [];
  const isGzip = compression?.isWanted() === true && path.startsWith("/api/v1/");
  const encoding: Record<string, string> = isGzip ? { "accept-encoding": "gzip" } : {};
  const headers = {
    accept: "application/json",
    ...encoding,
    ...(Object.fromEntries(identity) as Record<string, string>),
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
