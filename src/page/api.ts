import { signOut, token } from "./session.ts";

/** An error of the API, or of the way to it, in the form of the API's own. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** What to do about it. */
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(status: number, body: { code: string; message: string; hint: string; details?: object }) {
    super(body.message);
    this.status = status;
    this.code = body.code;
    this.hint = body.hint;
    this.details = (body.details ?? {}) as Record<string, unknown>;
  }
}

/** Requests at once: a fleet of 200 clusters must not take all places of the server's queue. */
const PARALLEL_MAX = 4;

let running = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  if (running >= PARALLEL_MAX) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  try {
    signal.throwIfAborted();
    return await run();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running -= 1;
  }
}

export function unreachable(cause: unknown): ApiError {
  return new ApiError(0, {
    code: "unreachable",
    message: `the program does not answer (${cause instanceof Error ? cause.message : String(cause)})`,
    hint: "Check that it runs and that this computer reaches it. The page tries again by itself.",
  });
}

async function toError(answer: Response): Promise<ApiError> {
  const body = (await answer.json().catch(() => null)) as {
    error?: ConstructorParameters<typeof ApiError>[1];
  } | null;
  const fallback = {
    code: "unexpected_answer",
    message: `the answer has the status ${answer.status} and is not the API's`,
    hint: "A proxy between this page and the program may have written it.",
  };
  return new ApiError(answer.status, body?.error ?? fallback);
}

/** Sends a request. Throws ApiError unless it is answered well; an unknown token also ends the session. */
async function send(
  method: string,
  path: string,
  signal: AbortSignal,
  body?: unknown,
  accept = "application/json",
): Promise<Response> {
  const sent = token.peek();
  const headers: Record<string, string> = { accept };
  if (sent !== null) headers["authorization"] = `Bearer ${sent}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const init = { method, headers, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const answer = await fetch(path, init).catch((error: unknown) => {
    if (signal.aborted) throw error;
    throw unreachable(error);
  });
  if (answer.ok) return answer;
  const error = await toError(answer);
  if (answer.status === 401 && sent === token.peek()) signOut(sent === null ? null : error.message);
  throw error;
}

async function call<T>(method: string, path: string, signal: AbortSignal, body?: unknown): Promise<T> {
  const answer = await send(method, path, signal, body);
  return answer.status === 204 ? (undefined as T) : ((await answer.json()) as T);
}

/** An answer as server-sent events, or as JSON where that is all there is. Throws ApiError. */
export function stream(
  method: "GET" | "POST",
  path: string,
  signal: AbortSignal,
  body?: unknown,
): Promise<Response> {
  return send(method, path, signal, body, "text/event-stream, application/json;q=0.5");
}

/** The path of a cluster's answer, with its query string. */
export function clusterPath(id: string, name: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return `/cluster-metrics/${encodeURIComponent(id)}/${name}${text === "" ? "" : `?${text}`}`;
}

/** Waits for a free place. */
export function get<T>(path: string, signal: AbortSignal): Promise<T> {
  return inTurn(signal, () => call<T>("GET", path, signal));
}

/** An answer that is text. Waits for a free place. */
export function getText(path: string, signal: AbortSignal): Promise<string> {
  return inTurn(signal, async () => (await send("GET", path, signal)).text());
}

/** Waits for a free place. */
export function query<T>(path: string, body: unknown, signal: AbortSignal): Promise<T> {
  return inTurn(signal, () => call<T>("POST", path, signal, body));
}

/** What a person asked for by a button: waits for nothing. */
export function act<T>(
  method: "POST" | "PATCH" | "DELETE",
  path: string,
  signal: AbortSignal,
  body?: unknown,
): Promise<T> {
  return call<T>(method, path, signal, body);
}
