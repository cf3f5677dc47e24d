import { request, type RequestOptions } from "node:https";
import type { IncomingMessage } from "node:http";
import type { KubeConfig } from "@kubernetes/client-node";
import type { z } from "zod";
import { BridgeError, type ErrorCode } from "#errors.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import type { ApiServerGuard } from "./api-server-guard.ts";
import { errorCode, readBody, readRefusal, toApiError, toConnectError } from "./api-error.ts";

export interface KubeRequest<T> {
  /** Path with encoded segments: "/api/v1/nodes". */
  path: string;
  query?: Readonly<Record<string, string>>;
  /** For messages: "list nodes". */
  what: string;
  /** The part of the answer that is used. */
  schema: z.ZodType<T>;
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
}

export interface KubeClientSettings {
  /** One request, from credentials to the last byte. */
  timeoutMs: number;
}

const ANSWER_BYTES_MAX = 32 * 1024 * 1024;

/**
 * Requests go over node:https with the agent that client-node makes for the kubeconfig, the same that the WebSocket uses: one
 * translation of credentials, CA and proxy for both. client-node's own API classes would build a new undici Agent for every call.
 */
export function createKubeClient(deps: KubeClientDeps, settings: KubeClientSettings): KubeClient {
  const connection: KubeClient["connection"] = async (path, query, signal) => {
    const cluster = deps.kubeConfig.getCurrentCluster();
    const url = URL.parse(cluster?.server ?? "");
    if (url?.protocol !== "https:")
      throw new BridgeError("kubeconfig_invalid", "the kubeconfig names no https server");
    deps.guard?.checkHost(url.hostname);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
    url.search = new URLSearchParams(query).toString();
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED can't decide; client-node turns it off where skipTLSVerify says so.
    const options: RequestOptions = { rejectUnauthorized: true };
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
      const body = await fetchBody(url, options, wanted, limit.signal);
      return parseAnswer(body, wanted);
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

async function fetchBody(
  url: URL,
  options: RequestOptions,
  wanted: KubeRequest<unknown> | KubeWrite<unknown>,
  signal: AbortSignal,
): Promise<Buffer> {
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
      onAbort = () => sent.destroy(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
      sent.end(isWrite ? JSON.stringify(wanted.body) : undefined);
    });
    if (response.statusCode !== 200 && !(isWrite && response.statusCode === 201))
      throw toApiError(await readRefusal(response, options), wanted.what, wanted.special);
    return await readBody(response, ANSWER_BYTES_MAX);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw toConnectError(error);
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}

function parseAnswer<T>(body: Buffer, wanted: KubeRequest<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new BridgeError("cluster_api_error", `the API server's answer to ${wanted.what} is not JSON`, {
      cause: error,
    });
  }
  const parsed = wanted.schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const field = parsed.error.issues[0]?.path.join(".") ?? "";
  throw new BridgeError(
    "cluster_api_error",
    `the API server's answer to ${wanted.what} has an unexpected ${field || "form"}`,
  );
}

/** Joins path segments, each encoded. */
export function kubePath(root: string, ...segments: string[]): string {
  return [root, ...segments.map(encodeURIComponent)].join("/");
}
