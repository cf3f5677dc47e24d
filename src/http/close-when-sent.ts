import type { FastifyReply } from "fastify";
import type { Clock } from "#lib/clock.ts";

/** Calls `close` when the answer is sent or its client is gone; a client that reads too slowly is sent away. */
export function closeWhenSent(reply: FastifyReply, clock: Clock, timeoutMs: number, close: () => void): void {
  if (reply.raw.destroyed) return close();
  const cancel = clock.after(timeoutMs, () => reply.raw.destroy());
  reply.raw.once("close", () => {
    cancel();
    close();
  });
}
