import { createHash } from "node:crypto";
import { connect as connectTcp, type LookupFunction, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";
import { BridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import { errorCode, toUnreachable } from "./api-error.ts";
import type { ApiServerGuard } from "./api-server-guard.ts";
import type { Tunnel } from "./dispatcher.ts";
import { openPool } from "./pool.ts";
import { secure, toClientCertificateError, toTlsError, type SecureOptions } from "./secure.ts";

/** A Prometheus at a URL. */
export interface DirectTarget {
  /** Scheme, host, port and path, without a slash at its end. */
  url: string;
  /** PEM, instead of the system's CAs. */
  ca?: string;
  clientCertificate?: { cert: string; key: string };
  /** Verify the server's certificate. */
  isVerified: boolean;
}

export interface DirectDeps {
  clock: Clock;
  logger: Logger;
  /** Where the server may be; asked again at every connection. */
  guard?: ApiServerGuard;
}

/** As in TunnelSettings. */
interface DirectSettings {
  target: DirectTarget;
  lanes: number;
  timeoutMs: number;
}

/** As in a tunnel: a caller that waits for the whole answer must learn before its own timeout that the connection was the reason. */
const CONNECT_SHARE = 0.8;
/** Load balancers end idle connections after a minute or less, at worst while the next request is on its way. */
const KEEP_ALIVE_MS = 4000;
const KEEP_ALIVE_DELAY_MS = 15_000;
/** Of a name that stands for a Pod's; a Pod's own has at most 253. */
const NAME_CHARS_MAX = 253;
const PLAIN_HINT =
  "Begin prometheus.url with http:// if this server speaks no TLS, or give the port that speaks https.";

/**
 * Connections to a Prometheus without a tunnel, for one round. `pod` stands for what is at the URL: the same for the same URL, so that progress
 * is kept; behind a load balancer it may be several. Requests throw BridgeError api_server_refused, cluster_unreachable, cluster_timeout,
 * prometheus_tls_untrusted, prometheus_unauthorized (the client certificate) and those of HTTP itself. Redirects are not followed.
 */
export async function openDirect(
  deps: DirectDeps,
  settings: DirectSettings,
  signal: AbortSignal,
): Promise<Tunnel> {
  const { target, lanes, timeoutMs } = settings;
  const { origin, hostname } = new URL(target.url);
  deps.guard?.checkHost(hostname);
  const isSent = target.clientCertificate !== undefined;
  // The HTTP client keeps the end of a connection only, not the alert before it.
  let refusal: BridgeError | undefined;
  const connect = createConnector(deps, settings);
  const watched = async (stop: AbortSignal): Promise<Duplex> => {
    const stream = await connect(stop);
    stream.on("error", (error) => (refusal = toClientCertificateError(error, isSent) ?? refusal));
    return stream;
  };
  const pool = await openPool(
    deps.logger,
    { origin, lanes, timeoutMs, keepAliveMs: KEEP_ALIVE_MS },
    watched,
    signal,
  );
  return {
    dispatcher: pool.dispatcher.compose(nameEarlyEnds((error) => toEarlyEnd(error, refusal))),
    origin,
    pod: sourceOf(target.url),
    otherPods: [],
    unreadyPods: [],
    nodeNames: new Map(),
    warnings: [],
    close: (reason) =>
      pool.close(reason ?? new BridgeError("tunnel_closed", "the connections to Prometheus were closed")),
  };
}

/** The name and the id of what is at a URL, in place of a Pod's. */
function sourceOf(url: string): { uid: string; name: string } {
  const hash = createHash("sha256").update(url).digest("hex").slice(0, 32);
  return { uid: `url-${hash}`, name: url.replace(/^https?:\/\//, "").slice(0, NAME_CHARS_MAX) };
}

function createConnector(
  { clock, logger, guard }: DirectDeps,
  { target, timeoutMs }: DirectSettings,
): (signal: AbortSignal) => Promise<Duplex> {
  const url = new URL(target.url);
  const connectMs = Math.ceil(timeoutMs * CONNECT_SHARE);
  const timedOut = (): Error =>
    new BridgeError(
      "cluster_timeout",
      `the server of prometheus.url did not open a connection in ${connectMs} ms`,
    );
  const options = toSecureOptions(target);
  return async (signal) => {
    const started = clock.monotonic();
    const limit = deadline(clock, connectMs, timedOut, signal);
    try {
      const socket = await openSocket(url, guard?.lookup, limit.signal);
      const stream = url.protocol === "https:" ? await secure(socket, options, limit.signal) : socket;
      logger.debug({ ms: Math.round(clock.monotonic() - started) }, "connection to Prometheus open");
      return stream;
    } finally {
      limit.dispose();
    }
  };
}

/** How the TLS connection to a target is made. */
export function toSecureOptions(target: DirectTarget): SecureOptions {
  const { ca, clientCertificate, isVerified } = target;
  return {
    serverName: bareHost(new URL(target.url)),
    isVerified,
    plainHint: PLAIN_HINT,
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate ? { clientCertificate } : {}),
  };
}

function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** 443 or 80 where the URL has none. */
export function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

function openSocket(url: URL, lookup: LookupFunction | undefined, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connectTcp({
      host: bareHost(url),
      port: portOf(url),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
      ...(lookup ? { lookup } : {}),
    });
    const onAbort = (): void => void socket.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    // Stays for good: a late error must not end the process.
    socket.on("error", (error) => {
      signal.removeEventListener("abort", onAbort);
      reject(toSocketError(error, signal));
    });
    socket.once("connect", () => {
      signal.removeEventListener("abort", onAbort);
      resolve(socket);
    });
  });
}

function toSocketError(error: Error, signal: AbortSignal): Error {
  return signal.aborted ? (signal.reason as Error) : toDirectConnectError(error);
}

/** A failure of the TCP connection, or with `options` also of the TLS handshake, as BridgeError. */
export function toDirectConnectError(error: unknown, options?: SecureOptions): BridgeError {
  // Several addresses that all failed: the first one's error says as much.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (first instanceof BridgeError) return first;
  return options && /^(ERR_SSL_|EPROTO$)/.test(errorCode(first))
    ? toTlsError(first, options)
    : toUnreachable(first, "the server of prometheus.url");
}

/** An end in place of an answer: TLS 1.3 refuses a client certificate like this, and some servers do when they are spoken to in another protocol. */
function nameEarlyEnds(
  toNamed: (error: Error) => BridgeError | undefined,
): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    let hasAnswer = false;
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (controller, status, headers, socket) =>
        handler.onRequestUpgrade?.(controller, status, headers, socket),
      onResponseStart: (controller, status, headers, text) => {
        hasAnswer = true;
        handler.onResponseStart?.(controller, status, headers, text);
      },
      onResponseData: (controller, piece) => handler.onResponseData?.(controller, piece),
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => {
        const early = hasAnswer ? undefined : toNamed(error);
        handler.onResponseError?.(controller, early ?? error);
      },
    });
  };
}

const EARLY_ENDS: ReadonlySet<string> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);

function toEarlyEnd(error: Error, refusal: BridgeError | undefined): BridgeError | undefined {
  if (!EARLY_ENDS.has(errorCode(error))) return undefined;
  const text = "the server of prometheus.url closed the connection before it answered";
  return refusal ?? new BridgeError("prometheus_unreachable", text, { cause: error });
}
