import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { BridgeError } from "#errors/error.ts";
import { toErrorAnswer } from "./errors.ts";
import { SECURITY_HEADERS } from "./security-headers.ts";

/** Answers on the bare socket where no request was parsed (bad HTTP, too large headers, a slow client), and closes it. */
export function answerClientError(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) socket.destroy();
  else answerOnSocket(toClientError(error.code), socket);
}

/** Answers the requests that Node would answer by itself, without a body and headers: `Expect` with another value, and CONNECT. */
export function answerUnusualRequests(server: Server): void {
  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    const error = new BridgeError("expectation_failed", "the Expect header asks for something unknown");
    // The body that follows is not read.
    response.writeHead(error.httpStatus, { ...headersOf(error), connection: "close" });
    response.end(bodyOf(error));
  });
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    socket.on("error", () => socket.destroy());
    answerOnSocket(new BridgeError("request_invalid", "this server is no proxy"), socket);
  });
}

function answerOnSocket(error: BridgeError, socket: Duplex): void {
  const headers = Object.entries({ ...headersOf(error), connection: "close" });
  const head = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.end(
    `HTTP/1.1 ${error.httpStatus} ${STATUS_CODES[error.httpStatus]}\r\n${head}\r\n${bodyOf(error)}`,
    () => socket.destroy(),
  );
}

function bodyOf(error: BridgeError): string {
  return JSON.stringify(toErrorAnswer(error, ""));
}

function headersOf(error: BridgeError): Record<string, string> {
  return {
    ...SECURITY_HEADERS,
    "content-type": "application/json; charset=utf-8",
    "content-length": String(Buffer.byteLength(bodyOf(error))),
  };
}

function toClientError(code = ""): BridgeError {
  switch (code) {
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new BridgeError("request_timeout", "the request did not arrive in time");
    case "HPE_HEADER_OVERFLOW":
      return new BridgeError("headers_too_large", "the headers are too large");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new BridgeError("body_too_large", "the chunk extensions of the body are too large");
    default:
      return new BridgeError("request_invalid", "this is not well-formed HTTP/1.1");
  }
}
