import { once } from "node:events";
import type { ServerResponse } from "node:http";

/** A body that harms a reader that buffers all of it. */
export interface Flood {
  open: string;
  /** Repeated until `bytes` are sent; "#" becomes the number of the repetition. */
  piece: string;
  close?: string;
  bytes: number;
  /** Default: application/json. */
  contentType?: string;
  /** Each piece is an HTTP chunk of its own, with an extension of so many bytes, which HTTP lets everybody ignore. */
  extensionBytes?: number;
}

const BLOCK_BYTES = 65_536;

/** Sends the flood as a 200 answer, as fast as it is read. Resolves when it is sent or the reader has closed the connection. */
export async function sendFlood(response: ServerResponse, flood: Flood): Promise<void> {
  const { open, piece, close = "", bytes, extensionBytes, contentType = "application/json" } = flood;
  response.writeHead(200, { "content-type": contentType });
  response.flushHeaders();
  const closed = new AbortController();
  response.once("close", () => closed.abort());
  const socket = response.socket!;
  const write = async (text: string): Promise<void> => {
    const isTaken =
      extensionBytes === undefined ? response.write(text) : socket.write(toChunks(text, extensionBytes));
    const emitter = extensionBytes === undefined ? response : socket;
    if (!isTaken) await once(emitter, "drain", { signal: closed.signal });
  };
  const perBlock = extensionBytes === undefined ? Math.max(1, Math.floor(BLOCK_BYTES / piece.length)) : 4;
  const isNumbered = piece.includes("#");
  const fixed = piece.repeat(perBlock);
  try {
    await write(open);
    let made = 0;
    for (
      let sent = 0;
      sent < bytes && !response.destroyed;
      sent += perBlock * (piece.length + (extensionBytes ?? 0))
    ) {
      const block = isNumbered
        ? Array.from({ length: perBlock }, () => piece.replaceAll("#", String(made++))).join("")
        : fixed;
      await write(block);
      // Others have the thread between the blocks.
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
    await write(piece.replaceAll("#", "last").replace(/,$/, "") + close);
    if (extensionBytes === undefined) response.end();
    else socket.end("0\r\n\r\n");
  } catch (error) {
    if (!closed.signal.aborted) throw error;
  }
}

/** Each byte a chunk of its own, with an extension (RFC 9112, 7.1.1). */
function toChunks(text: string, extensionBytes: number): string {
  const extension = extensionBytes === 0 ? "" : `;${"x".repeat(extensionBytes)}`;
  return Array.from(text, (byte) => `1${extension}\r\n${byte}\r\n`).join("");
}
