import type { IncomingMessage, ServerResponse } from "node:http";
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, RawServerDefault } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";

/** The Fastify instance that routes are registered on: request and answer types come from the zod schemas. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Registers routes; each must declare `config: { scope }`. */
export type RouteModule = (app: App) => void;

/** Aborted when the client goes away before it is answered, or when the server ends (with `stopping`'s reason). */
export function requestSignal(reply: Pick<FastifyReply, "raw">, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("the client is gone"));
  });
  return AbortSignal.any([gone.signal, stopping]);
}
