import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { promisify } from "node:util";
import { constants, gunzip, zstdDecompress } from "node:zlib";
import { BridgeError, toBridgeError, type ErrorCode } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Secret } from "#lib/secret.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { EmbeddedDatabase } from "./chdb.ts";
import { createOtlpCodec, type OtlpCodec } from "./otlp-proto.ts";
import { countPoints, toRows } from "./otlp-rows.ts";
import { limitShape } from "./otlp-shape.ts";
import { COLUMNS } from "./otlp-tables.ts";
import { createPool } from "./pool.ts";

export interface OtlpReceiverDeps {
  database: Pick<EmbeddedDatabase, "insertRowBinary">;
  /** Where the tables of storage/migrations are. */
  databaseName: string;
  /** The token that a sender must give as `Authorization: Bearer`. */
  token: Secret;
  clock: Clock;
  logger: Logger;
}

export interface OtlpReceiverLimits {
  /** Bytes of a body as sent. Default 20 MiB, as the Collector's. */
  compressedBytesMax: number;
  /** Bytes of a body after decompression. Default 20 MiB, as the Collector's. */
  bytesMax: number;
  /** Fields and packed numbers of one request. Default 4,000,000. */
  fieldsMax: number;
  /** Of one request. Default 200,000. */
  pointsMax: number;
  /** Of one table's rows made of one request. Default 512 MiB. */
  rowsBytesMax: number;
}

export interface OtlpReceiver {
  /** Listens; port 0 takes any free one. `url` has no path. Throws BridgeError `config_invalid` when the address can't be listened on. */
  start(host: string, port: number): Promise<{ url: string }>;
  /** Takes no more requests, lets those under way finish for 5 s and then cuts them. */
  stop(): Promise<void>;
}

const LIMITS: OtlpReceiverLimits = {
  compressedBytesMax: 20 * 1024 * 1024,
  bytesMax: 20 * 1024 * 1024,
  fieldsMax: 4_000_000,
  pointsMax: 200_000,
  rowsBytesMax: 512 * 1024 * 1024,
};
/** Requests worked on at once; the engine has one more connection, left to queries. */
const SLOTS = ["first", "second"];
const WAITING_MAX = 64;
/** The sender's connections have no limit of their own: it is the same process. */
const ANONYMOUS_CONNECTIONS_MAX = 64;
const HEADERS_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;
/** Bytes of a refused body that are still read: closing the socket before them would lose the answer. */
const DROPPED_BYTES_MAX = 1 << 20;
const REQUEST_TIMEOUT_MS = 60_000;
const STOP_MS = 5_000;
const PROTOBUF = "application/x-protobuf";

const unzip = promisify(gunzip);
const unzstd = promisify(zstdDecompress);
/** 8 MiB, the largest window that RFC 9659 allows for HTTP: a frame's head alone could ask for 2 GiB. */
const ZSTD_WINDOW_LOG_MAX = 23;

interface Answer {
  status: number;
  body: Uint8Array;
  headers?: Record<string, string>;
}

/**
 * A server for OTLP/HTTP metrics (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"): POST /v1/metrics in protobuf, plain, gzip or zstd. Answers
 * 200 only after the rows are stored, with a partial success when points can't be; 400, 413 and 415 for what will never be accepted; 503
 * with Retry-After when the engine is busy or fails, whatever the reason, since the points are not to blame. It serves the process that it is
 * a part of: a request without the token gets 401 and its body is not read; at most the newest 64 connections without a token are kept.
 */
export function createOtlpReceiver(
  deps: OtlpReceiverDeps,
  limits: Partial<OtlpReceiverLimits> = {},
): OtlpReceiver {
  const { clock, logger } = deps;
  const codec = createOtlpCodec();
  const slots = createPool(SLOTS, { waitingMax: WAITING_MAX });
  const stopping = new AbortController();
  const store = createStore(deps, codec, { ...LIMITS, ...limits });
  const anonymous = new Set<Socket>();
  const isOurs = createTokenCheck(deps.token);
  let ownHosts: readonly string[] = [];

  const handle = async (request: IncomingMessage): Promise<Answer> => {
    try {
      checkSender(request, ownHosts, isOurs);
      anonymous.delete(request.socket);
      const encoding = checkHead(request, limits.compressedBytesMax ?? LIMITS.compressedBytesMax);
      return await slots.use(() => store(request, encoding, stopping.signal), stopping.signal);
    } catch (error) {
      const failure = toBridgeError(stopping.signal.aborted ? stopping.signal.reason : error);
      const level = failure.httpStatus < 500 ? "debug" : "warn";
      logger[level]({ err: failure, code: failure.code }, "an OTLP request failed");
      return toFailure(failure, codec);
    }
  };

  const server = createReceiverServer(anonymous, handle);

  return {
    start: async (host, port) => {
      const name = await listen(server, host, port, logger);
      ownHosts = [name, `localhost:${name.slice(name.lastIndexOf(":") + 1)}`];
      return { url: `http://${name}` };
    },
    stop: async () => {
      if (!server.listening) return;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      const cancel = clock.after(STOP_MS, () => {
        stopping.abort(new BridgeError("shutting_down", "the OTLP receiver is stopping"));
        server.closeAllConnections();
      });
      await closed;
      cancel();
    },
  };
}

/** `anonymous` holds the connections that have not shown the token yet, oldest first. */
function createReceiverServer(
  anonymous: Set<Socket>,
  handle: (request: IncomingMessage) => Promise<Answer>,
): Server {
  const server = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  });
  server.on("connection", (socket) => {
    anonymous.add(socket);
    socket.once("close", () => anonymous.delete(socket));
    const [oldest] = anonymous;
    if (anonymous.size > ANONYMOUS_CONNECTIONS_MAX) oldest?.destroy();
  });
  server.on("request", (request, response) => {
    // Sockets may break at any time; the code that reads or writes gets the error as well.
    request.on("error", () => {});
    response.on("error", () => {});
    void handle(request).then((answer) => {
      send(response, answer);
      drop(request);
    });
  });
  return server;
}

/** Returns the address as `host:port`. Throws `config_invalid` when it is not possible to listen there. */
async function listen(server: Server, host: string, port: number, logger: Logger): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(
        new BridgeError("config_invalid", `the OTLP receiver can't listen on ${host}:${port}`, { cause }),
      );
    });
    server.listen(port, host, resolve);
  });
  server.removeAllListeners("error");
  server.on("error", (error) => logger.error({ err: error }, "the OTLP receiver's server failed"));
  const address = server.address() as AddressInfo;
  return `${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
}

type Encoding = "identity" | "gzip" | "zstd";

function createTokenCheck(token: Secret): (given: string) => boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const expected = digest(`Bearer ${token.expose()}`);
  return (given) => timingSafeEqual(digest(given), expected);
}

/** Refuses every caller but this process, also a web page whose name was rebound to this machine. */
function checkSender(
  request: IncomingMessage,
  hosts: readonly string[],
  isOurs: (authorization: string) => boolean,
): void {
  const { host = "", origin, authorization = "" } = request.headers;
  if (!hosts.includes(host.toLowerCase()) || origin !== undefined) {
    throw new BridgeError("host_refused", "this OTLP receiver serves the process that it is a part of");
  }
  if (isOurs(authorization)) return;
  throw new BridgeError(
    "unauthenticated",
    "this OTLP receiver serves the process that it is a part of: send metrics of your own to an OpenTelemetry Collector, and run the roles bridge and query",
  );
}

/** Reads and drops the rest of a body, up to a limit. */
function drop(request: IncomingMessage): void {
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DROPPED_BYTES_MAX) request.destroy();
  });
  request.resume();
}

/** Refuses a request by its head alone, before its body is read. */
function checkHead(request: IncomingMessage, compressedBytesMax: number): Encoding {
  const path = request.url?.split("?", 1)[0];
  if (path !== "/v1/metrics") throw new BridgeError("not_found", "only /v1/metrics is here");
  if (request.method !== "POST") throw new BridgeError("method_not_allowed", "only POST is possible here");
  const type = request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== PROTOBUF) throw new BridgeError("unsupported_media_type", `content-type must be ${PROTOBUF}`);
  const encoding = request.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (encoding !== "identity" && encoding !== "gzip" && encoding !== "zstd") {
    throw new BridgeError("unsupported_media_type", "content-encoding must be gzip, zstd or identity");
  }
  if (Number(request.headers["content-length"] ?? 0) > compressedBytesMax) throw tooLarge(compressedBytesMax);
  return encoding;
}

function createStore(deps: OtlpReceiverDeps, codec: OtlpCodec, limits: OtlpReceiverLimits) {
  return async (request: IncomingMessage, encoding: Encoding, signal: AbortSignal): Promise<Answer> => {
    const body = await readBody(request, limits.compressedBytesMax);
    const bytes = await decompress(body, encoding, limits.bytesMax);
    limitShape(bytes, limits.fieldsMax);
    const message = decode(codec, bytes);
    const points = countPoints(message);
    if (points > limits.pointsMax) {
      throw new BridgeError(
        "body_too_large",
        `${points} points in one request; ${limits.pointsMax} are allowed`,
      );
    }
    const { tables, rejected } = toRows(message, limits.rowsBytesMax);
    for (const { kind, bytes: rows } of tables) {
      const table = `${deps.databaseName}.otel_metrics_${kind}`;
      await deps.database.insertRowBinary(table, COLUMNS[kind], rows, signal);
    }
    const reasons = [...rejected].map(([reason, count]) => `${count} ${reason}`);
    const count = [...rejected.values()].reduce((sum, each) => sum + each, 0);
    deps.logger.debug({ points, rejected: count }, "stored an OTLP request");
    return { status: 200, body: codec.encodeResponse(count, reasons.join(", ")) };
  };
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    // Leaving the loop must not end the connection: the answer still has to go out.
    const chunksOfBody: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
    for await (const chunk of chunksOfBody) {
      length += chunk.length;
      if (length > bytesMax) throw tooLarge(bytesMax);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof BridgeError) throw error;
    throw new BridgeError("request_invalid", "the body ended before it was whole", { cause: error });
  }
  return Buffer.concat(chunks, length);
}

/** The limit holds while it decompresses: what is beyond it is never made. */
async function decompress(body: Buffer, encoding: Encoding, bytesMax: number): Promise<Buffer> {
  if (encoding === "identity" && body.length > bytesMax) throw tooLarge(bytesMax);
  if (encoding === "identity") return body;
  try {
    if (encoding === "gzip") return await unzip(body, { maxOutputLength: bytesMax });
    const params = { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX };
    return await unzstd(body, { maxOutputLength: bytesMax, params });
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(bytesMax);
    throw new BridgeError("request_invalid", `the body is not ${encoding}`, { cause: error });
  }
}

function decode(codec: OtlpCodec, bytes: Uint8Array): ReturnType<OtlpCodec["decodeRequest"]> {
  try {
    return codec.decodeRequest(bytes);
  } catch (error) {
    throw new BridgeError("request_invalid", "the body is not an ExportMetricsServiceRequest", {
      cause: error,
    });
  }
}

function tooLarge(bytesMax: number): BridgeError {
  return new BridgeError("body_too_large", `the body is larger than ${bytesMax} bytes`);
}

// google.rpc.Code
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

const STATUS_CODES: Partial<
  Record<ErrorCode, { grpc: number; status: number; headers?: Record<string, string> }>
> = {
  unauthenticated: {
    grpc: UNAUTHENTICATED,
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="budcluster OTLP receiver"', connection: "close" },
  },
  host_refused: { grpc: PERMISSION_DENIED, status: 403, headers: { connection: "close" } },
  method_not_allowed: { grpc: INVALID_ARGUMENT, status: 405, headers: { allow: "POST" } },
  storage_unavailable: { grpc: UNAVAILABLE, status: 503, headers: { "retry-after": "1" } },
  // A refused statement (a missing table, say) needs an operator, so retry less often.
  storage_failed: { grpc: UNAVAILABLE, status: 503, headers: { "retry-after": "5" } },
  // The data are fine: they wait in Prometheus until the database is repaired.
  storage_damaged: { grpc: UNAVAILABLE, status: 503, headers: { "retry-after": "5" } },
  shutting_down: { grpc: UNAVAILABLE, status: 503, headers: { "retry-after": "1" } },
  internal: { grpc: INTERNAL, status: 500 },
};

function toFailure(failure: BridgeError, codec: OtlpCodec): Answer {
  const known = STATUS_CODES[failure.code] ?? { grpc: INVALID_ARGUMENT, status: failure.httpStatus };
  return {
    status: known.status,
    body: codec.encodeStatus(known.grpc, failure.message),
    ...(known.headers ? { headers: known.headers } : {}),
  };
}

function send(response: ServerResponse, answer: Answer): void {
  const length = answer.body.length;
  response.writeHead(answer.status, {
    "content-type": PROTOBUF,
    "content-length": length,
    ...answer.headers,
  });
  response.end(answer.body);
}
