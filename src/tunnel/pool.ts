import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Pool, type Dispatcher } from "undici";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import { copyIfSmall } from "#lib/read-body.ts";
import type { Logger } from "#telemetry/logger.ts";

export interface PoolSettings {
  /** Scheme, host and port: takes requests for it alone. */
  origin: string;
  /** Connections at once. */
  lanes: number;
  /** Each of: waiting for an answer's headers, silence within a body. */
  timeoutMs: number;
  /** How long an idle connection is kept. */
  keepAliveMs: number;
}

/** Connections of HTTP/1.1 that `connect` opens when requests need them. */
export interface ConnectionPool {
  dispatcher: Dispatcher;
  /** Ends every connection at once; requests in flight fail with `reason`. May be called twice. */
  close(reason?: Error): Promise<void>;
}

/** Aborting the signal closes the pool with the signal's reason. What `connect` throws, requests throw: not wrapped. */
export async function openPool(
  logger: Logger,
  settings: PoolSettings,
  connect: (stop: AbortSignal) => Promise<Duplex>,
  signal: AbortSignal,
): Promise<ConnectionPool> {
  const { origin, lanes, timeoutMs, keepAliveMs } = settings;
  const stop = new AbortController();
  const pool = new Pool(origin, {
    connections: lanes,
    pipelining: 1,
    allowH2: false,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    connect: (_options, callback) => {
      connect(stop.signal)
        .then(
          (stream) => callback(null, stream as unknown as Socket),
          (error: unknown) => callback(toBridgeError(error), null),
        )
        // A defect in undici's handling of it must not end the process.
        .catch((error: unknown) => logger.error({ err: error }, "the connection could not be used"));
    },
  });
  const close = async (reason?: Error): Promise<void> => {
    signal.removeEventListener("abort", onAbort);
    const error = reason ?? new BridgeError("tunnel_closed", "the tunnel was closed");
    stop.abort(error);
    await pool.destroy(error);
  };
  const onAbort = (): void => void close(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) {
    await close(signal.reason as Error);
    throw signal.reason;
  }
  return { dispatcher: pool.compose(copySmallPieces, onlyOrigin(origin)), close };
}

/**
 * A body's piece is a slice of the socket's buffer. A reader that keeps a byte of payload from each buffer keeps all of them alive (chunk extensions
 * of HTTP may be 16 KB for each byte): small slices are copied before anybody queues them.
 */
const copySmallPieces: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) =>
  dispatch(options, {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, status, headers, socket) =>
      handler.onRequestUpgrade?.(controller, status, headers, socket),
    onResponseStart: (controller, status, headers, text) =>
      handler.onResponseStart?.(controller, status, headers, text),
    onResponseData: (controller, piece) => handler.onResponseData?.(controller, copyIfSmall(piece)),
    onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
    onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
  });

/** Refuses requests that were meant for another cluster's tunnel. */
function onlyOrigin(origin: string): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) => {
    const wanted = options.origin === undefined ? origin : URL.parse(String(options.origin))?.origin;
    if (wanted === origin) return dispatch(options, handler);
    throw new BridgeError("internal", "a request for another origin was given to this tunnel");
  };
}
