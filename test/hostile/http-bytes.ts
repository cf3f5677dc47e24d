import type { RawAnswer } from "#simulator/raw-answer.ts";

// Answers that break HTTP/1.1 (RFC 9112) or use what it allows without measure; every kind of server here can give them.

const JSON_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
/** Pauses of a server that sends a byte now and then. */
const DRIP_MS = 50;

/** A line of the header now and then, and never the last one. */
export const DRIPPED_HEADERS: RawAnswer = { head: JSON_HEAD, piece: "x: y\r\n", delayMs: DRIP_MS };
/** Headers as fast as they are read, and no end of them. */
export const ENDLESS_HEADERS: RawAnswer = { head: JSON_HEAD, piece: `X-Padding: ${"x".repeat(100)}\r\n` };
/** Interim answers (RFC 9110, 15.2) and never a final one. */
export const ENDLESS_INTERIM: RawAnswer = { head: "", piece: "HTTP/1.1 102 Processing\r\n\r\n" };
/** The limit that ends them. */
export const INTERIM = {
  limit: "INTERIM_ANSWERS_MAX",
  lift: { source: [["const INTERIM_ANSWERS_MAX = 100", "const INTERIM_ANSWERS_MAX = 1e12"]] },
} as const;
/** The body is white space, which JSON allows, a byte now and then. */
export const DRIPPED_BODY: RawAnswer = {
  head: `${JSON_HEAD}Content-Length: 100000\r\n\r\n`,
  piece: " ",
  delayMs: DRIP_MS,
};
/** No HTTP at all. */
export const NO_HTTP: RawAnswer = { head: "SSH-2.0-OpenSSH_9.9\r\n", ending: "hold" };
/** Ends long before the length that it promises. */
export const SHORT_BODY: RawAnswer = {
  head: `${JSON_HEAD}Content-Length: 1000000\r\n\r\n{"status":`,
  ending: "end",
};
/** A chunk extension for each byte of the body (RFC 9112, 7.1.1). */
export const CHUNK_EXTENSIONS: RawAnswer = {
  head: `${JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n`,
  piece: `1;${"x".repeat(16_000)}\r\n \r\n`,
};

/** A failure with a body that never ends. */
export function endlessError(status: number, reason: string): RawAnswer {
  const head = `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`;
  return { head, piece: `400\r\n${"x".repeat(1024)}\r\n` };
}

export function redirect(location: string): RawAnswer {
  const head = `HTTP/1.1 307 Temporary Redirect\r\nLocation: ${location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
  return { head, ending: "end" };
}
