import { request, type RequestOptions } from "node:https";
import type { IncomingMessage } from "node:http";
import type { KubeConfig } from "@kubernetes/client-node";
import type { z } from "zod";
import { BridgeError, type ErrorCode } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import { createJsonReader, JsonReadError } from "#lib/json-reader.ts";
import { createInterimCounter } from "#lib/interim-answers.ts";
import { readJson } from "#lib/read-body.ts";
import { createTurns, type Turns } from "#lib/turns.ts";
import type { ApiServerGuard } from "./api-server-guard.ts";
import { errorCode, readRefusal, toApiError, toConnectError } from "./api-error.ts";
import { toPick } from "./json-pick.ts";

export interface KubeRequest<T> {
  /** Path with encoded segments: "/api/v1/nodes". */
  path: string;
  query?: Readonly<Record<string, string>>;
  /** For messages: "list nodes". */
  what: string;
  /** The part of the answer that is used: nothing else of it is kept. */
  schema: z.ZodType<T>;
  /** The members of the answer's `items`, handed over one by one as they come; `schema` is about the rest. */
  items?: { schema: z.ZodType; take(item: unknown): void };
  /** Codes for statuses that mean something special here. */
  special?: Partial<Record<number, ErrorCode>>;
}

/** A request that writes, or asks with a body. */
export interface KubeWrite<T> extends KubeRequest<T> {
  method: "POST" | "PATCH";
  /** Sent as JSON; server-side apply takes JSON as YAML. */
  body: unknown;
  /** Default: application/json. */
  contentType?: string;
}

/** Everything that https.request and ws need to reach the API server as the kubeconfig's user. */
export interface KubeConnection {
  url: URL;
  options: RequestOptions;
}

/** The API server of one cluster. Every error is a BridgeError, or the signal's reason when that was aborted. */
export interface KubeClient {
  /** One GET. Bounded in time and in bytes, redirects are not followed. */
  get<T>(request: KubeRequest<T>, signal: AbortSignal): Promise<T>;
  /** One POST or PATCH, bounded as `get` is; 200 and 201 are success. */
  send<T>(request: KubeWrite<T>, signal: AbortSignal): Promise<T>;
  /** `path` as in KubeRequest. May run an exec plugin or read files when the kubeconfig is trusted. */
  connection(
    path: string,
    query: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<KubeConnection>;
}

export interface KubeClientDeps {
  kubeConfig: KubeConfig;
  clock: Clock;
  /** Of a kubeconfig that nobody vouches for: where its server may be. Asked again at every connection. */
  guard?: ApiServerGuard;
  /** The process' own. Default: one for this client alone. */
  turns?: Turns;
}

export interface KubeClientSettings {
  /** One request, from credentials to the last byte. */
  timeoutMs: number;
}

/** `details.problem` of the cluster_api_error about an answer that is too large as a whole: a part of it may pass. */
export const ANSWER_TOO_LARGE = "answer_too_large";

/**
 * A page of a list is made smaller until it fits; a single object is at most 1.5 MiB (etcd's limit of a request). Only what is wanted of it
 * is kept: a slice of 1,000 endpoints (the API's limit) has some 10,000 wanted values.
 */
const ANSWER_LIMITS = { bytesMax: 8 << 20, depthMax: 64, valuesMax: 50_000, textBytesMax: 16 << 10 };

/**
 * Requests go over node:https with the agent that client-node makes for the kubeconfig, the same that the WebSocket uses: one
 * translation of credentials, CA and proxy for both. client-node's own API classes would build a new undici Agent for every call.
 */
export function createKubeClient(deps: KubeClientDeps, settings: KubeClientSettings): KubeClient {
  const { turns = createTurns() } = deps;
  const connection: KubeClient["connection"] = async (path, query, signal) => {
    const cluster = deps.kubeConfig.getCurrentCluster();
    const url = URL.parse(cluster?.server ?? "");
    if (url?.protocol !== "https:")
      throw new BridgeError("kubeconfig_invalid", "the kubeconfig names no https server");
    deps.guard?.checkHost(url.hostname);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
    url.search = new URLSearchParams(query).toString();
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED can't decide; client-node turns it off where skipTLSVerify says so. Every
    // certificate of the CA bundle is trusted, as by Go (crypto/x509): an intermediate as well, or the server's own.
    const options: RequestOptions = { rejectUnauthorized: true, allowPartialTrustChain: true };
    if (deps.guard) options.lookup = deps.guard.lookup;
    await authenticate(deps.kubeConfig, options, signal);
    return { url, options };
  };

  const exchange = async <T>(wanted: KubeRequest<T> | KubeWrite<T>, signal: AbortSignal): Promise<T> => {
    const timeout = (): Error =>
      new BridgeError(
        "cluster_timeout",
        `the API server did not answer to ${wanted.what} in ${settings.timeoutMs} ms`,
      );
    const limit = deadline(deps.clock, settings.timeoutMs, timeout, signal);
    try {
      const { url, options } = await connection(wanted.path, wanted.query ?? {}, limit.signal);
      return await fetchAnswer(url, options, wanted, turns, limit.signal);
    } finally {
      limit.dispose();
    }
  };
  return { connection, get: exchange, send: exchange };
}

async function authenticate(
  kubeConfig: KubeConfig,
  options: RequestOptions,
  signal: AbortSignal,
): Promise<void> {
  try {
    await abortable(kubeConfig.applyToHTTPSOptions(options), signal);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const code = errorCode(error);
    // An exec plugin's output may hold anything, a secret too.
    throw new BridgeError(
      "cluster_unauthorized",
      `the kubeconfig's credentials can't be obtained${code && ` (${code})`}`,
      {
        hint: "Run `kubectl get --raw /version` with the same kubeconfig: its files must be readable and its plugin must work here.",
      },
    );
  }
}

async function fetchAnswer<T>(
  url: URL,
  options: RequestOptions,
  wanted: KubeRequest<T> | KubeWrite<T>,
  turns: Turns,
  signal: AbortSignal,
): Promise<T> {
  let onAbort: (() => void) | undefined;
  const isWrite = "method" in wanted;
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      signal.throwIfAborted();
      const sent = request(url, { ...options, method: isWrite ? wanted.method : "GET" });
      sent.setHeader("accept", "application/json");
      if (isWrite) sent.setHeader("content-type", wanted.contentType ?? "application/json");
      sent.on("error", reject);
      sent.on("response", (answer) => {
        answer.on("error", () => {});
        resolve(answer);
      });
      const isTooMany = createInterimCounter();
      sent.on("information", () => {
        if (!isTooMany()) return;
        const text = `the API server sends interim answers (1xx) to ${wanted.what} without end`;
        sent.destroy(new BridgeError("cluster_api_error", text));
      });
      onAbort = () => sent.destroy(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      sent.end(isWrite ? JSON.stringify(wanted.body) : undefined);
    });
    if (response.statusCode !== 200 && !(isWrite && response.statusCode === 201))
      throw toApiError(await readRefusal(response, options), wanted.what, wanted.special);
    return await readAnswer(response, wanted, turns);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw toConnectError(error);
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}

/** Reads the wanted part of an answer as it comes. Throws BridgeError cluster_api_error. */
async function readAnswer<T>(response: IncomingMessage, wanted: KubeRequest<T>, turns: Turns): Promise<T> {
  const { what, items } = wanted;
  const each = items && ((item: unknown): void => items.take(check(items.schema, item, what, "items")));
  const pick = toPick(wanted.schema, items && { schema: items.schema, each: each! });
  try {
    const answer = await readJson(response, createJsonReader(pick, ANSWER_LIMITS), turns);
    return check(wanted.schema, answer, what);
  } catch (error) {
    if (!(error instanceof JsonReadError)) throw error;
    if (error.problem === "invalid" || error.problem === "truncated") {
      const text = `the API server's answer to ${what} is not JSON`;
      throw new BridgeError("cluster_api_error", text, { cause: error });
    }
    const text = `the API server's answer to ${what} ${error.message}`;
    throw new BridgeError("cluster_api_error", text, {
      cause: error,
      details: { problem: error.problem === "bytes" ? ANSWER_TOO_LARGE : "answer_refused" },
      hint: "Check what answers at the API server's address: Kubernetes keeps its objects smaller than this. A proxy between may answer in its place.",
    });
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, what: string, where = ""): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const field = [where, ...(parsed.error.issues[0]?.path ?? [])].filter((part) => part !== "").join(".");
  throw new BridgeError(
    "cluster_api_error",
    `the API server's answer to ${what} has an unexpected ${field || "form"}`,
  );
}

/** Joins path segments, each encoded. */
export function kubePath(root: string, ...segments: string[]): string {
  return [root, ...segments.map(encodeURIComponent)].join("/");
}
