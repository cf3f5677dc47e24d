import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { Clock } from "#lib/clock.ts";

/** Bytes that no HTTP or WebSocket library would send. Texts are Latin-1: one character is one byte. */
export interface RawAnswer {
  head: string;
  /** Follows `head` again and again. */
  piece?: string;
  /** Of all pieces together. Default: as long as the other side reads. */
  bytes?: number;
  /** Between two pieces. Default: pieces are sent in blocks, as fast as they are read. */
  delayMs?: number;
  /** After the last byte. Default: the connection stays open. */
  ending?: "hold" | "end" | "reset";
}

const BLOCK_BYTES = 65_536;

/** Writes the answer to a connection. Resolves when everything is sent or nobody reads any more. */
export async function sendRaw(socket: Duplex, raw: RawAnswer, clock: Clock): Promise<void> {
  const { head, piece = "", bytes = Number.POSITIVE_INFINITY, delayMs } = raw;
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  socket.on("error", () => {});
  const perBlock = delayMs === undefined ? Math.max(1, Math.floor(BLOCK_BYTES / (piece.length || 1))) : 1;
  const block = Buffer.from(piece.repeat(perBlock), "latin1");
  try {
    socket.write(head, "latin1");
    for (let sent = 0; block.length > 0 && sent < bytes; sent += block.length) {
      if (gone.signal.aborted || socket.destroyed) return;
      if (!socket.write(block)) await once(socket, "drain", { signal: gone.signal });
      if (delayMs === undefined) await new Promise<void>((resolve) => void setImmediate(resolve));
      else await clock.sleep(delayMs, gone.signal);
    }
  } catch (error) {
    // An error of the connection comes before its end.
    if (!gone.signal.aborted && !socket.destroyed) throw error;
  }
  if (raw.ending === "end") socket.end();
  if (raw.ending === "reset") socket.destroy();
}
