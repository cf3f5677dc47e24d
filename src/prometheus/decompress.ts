import { pipeline, type Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { BridgeError } from "#errors/error.ts";

/** Encodings (RFC 9110 section 8.4.1 and Zstandard) that a proxy on the path may add to an answer. */
const COMPRESSIONS: ReadonlySet<string> = new Set(["gzip", "x-gzip", "deflate", "br", "zstd", "compress"]);
/** Of one answer, decompressed: 1 MiB of gzip can become 1 GiB. A window whose answer is larger is read in smaller ones. */
const ANSWER_BYTES_MAX = 512 << 20;
const PIECE_BYTES = 64 << 10;

/** Is the answer compressed in any way? */
export function isCompressed(headers: Record<string, unknown>): boolean {
  return compressionsOf(headers).length > 0;
}

function compressionsOf(headers: Record<string, unknown>): string[] {
  // Absent, empty, or nothing that compresses: "utf-8" has been seen.
  const encodings = String(headers["content-encoding"]).toLowerCase().split(",");
  return encodings.map((each) => each.trim()).filter((each) => COMPRESSIONS.has(each));
}

/**
 * The body as the program that answered wrote it. A request asks for gzip where the link is slow, and some proxies compress every answer: gzip
 * is undone while the bytes arrive. Throws `prometheus_unexpected_answer` that names any other compression.
 */
export function decodedBody(
  headers: Record<string, unknown>,
  body: Readable,
  bytesMax = ANSWER_BYTES_MAX,
): AsyncIterable<Buffer> {
  const compressions = compressionsOf(headers);
  const [encoding = ""] = compressions;
  if (encoding === "") return body as AsyncIterable<Buffer>;
  if (compressions.length === 1 && /^(x-)?gzip$/.test(encoding)) return gunzipped(body, bytesMax);
  body.on("error", () => {}).destroy();
  throw new BridgeError(
    "prometheus_unexpected_answer",
    `the answer is compressed (${compressions.join(", ")}), although that was not requested: a proxy on the path changes Prometheus' answers, and only gzip can be read`,
  );
}

async function* gunzipped(body: Readable, bytesMax: number): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
  // Each stream's failure ends the other one; the loop below throws it.
  pipeline(body, gunzip, () => {});
  let bytes = 0;
  try {
    for await (const piece of gunzip as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > bytesMax) throw tooLarge(bytesMax);
      yield piece;
    }
  } catch (error) {
    throw toGzipError(error);
  }
}

function tooLarge(bytesMax: number): BridgeError {
  return new BridgeError(
    "prometheus_answer_too_large",
    `the answer is compressed (gzip), and larger than ${bytesMax >> 20} MiB when decompressed`,
  );
}

/** The error of zlib as one of the answer; any other as it is. */
function toGzipError(error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "Z_BUF_ERROR") {
    return new BridgeError(
      "prometheus_answer_truncated",
      "the answer is compressed (gzip), and ended before it was whole",
      { cause: error },
    );
  }
  if (typeof code !== "string" || !code.startsWith("Z_")) return error;
  return new BridgeError(
    "prometheus_unexpected_answer",
    `the answer is compressed (gzip), but it is not valid gzip (${code})`,
    { cause: error },
  );
}
