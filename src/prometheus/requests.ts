import { request, type Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { readBeginning } from "#lib/read-body.ts";
import { toAnswerError, toRequestError, type Authorization } from "./answer-errors.ts";

export interface RequestDeps {
  dispatcher: Dispatcher;
  clock: Clock;
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
const COMPRESSIONS: ReadonlySet<string> = new Set(["gzip", "x-gzip", "deflate", "br", "zstd", "compress"]);
const FORM_HEADERS = { "content-type": "application/x-www-form-urlencoded", accept: "application/json" };

/** Sends a request. Resolves with an answer 200 whose body is not read yet. Throws BridgeError prometheus_*, and what undici throws. */
export async function sendRequest(
  { dispatcher }: RequestDeps,
  settings: RequestSettings,
  path: string,
  form: Record<string, string>,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const { origin, pathPrefix, authorization } = settings;
  const url = `${origin}${pathPrefix}${path}`;
  const options = { dispatcher, signal, headersTimeout: 0, bodyTimeout: 0 };
  const identity = authorization ? { authorization: authorization.header.expose() } : {};
  const text = new URLSearchParams(form).toString();
  // Queries by POST, as their length is not limited then; Prometheus serves metadata by GET alone.
  const answer = path.startsWith("/api/v1/query")
    ? await request(url, {
        ...options,
        method: "POST",
        headers: { ...FORM_HEADERS, ...identity },
        body: text,
      })
    : await request(`${url}?${text}`, {
        ...options,
        method: "GET",
        headers: { accept: "application/json", ...identity },
      });
  if (answer.statusCode !== 200) {
    const body = await readBeginning(answer.body, ERROR_BYTES_MAX);
    throw toAnswerError(answer.statusCode, answer.headers, body, authorization);
  }
  refuseCompressed(answer);
  return answer;
}

function refuseCompressed({ headers, body }: Dispatcher.ResponseData): void {
  const encoding = String(headers["content-encoding"]).toLowerCase();
  if (!COMPRESSIONS.has(encoding)) return;
  body.on("error", () => {}).destroy();
  throw new BridgeError(
    "prometheus_unexpected_answer",
    `the answer is compressed (${encoding}), although compression was not requested: a proxy on the path changes Prometheus' answers`,
  );
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
