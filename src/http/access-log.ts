import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";

const PATH_CHARS_MAX = 256;

/** What happens to every request before anything else. */
export type BeginRequest = (request: FastifyRequest, reply: FastifyReply) => void;

/**
 * Sets the headers that every answer has, and writes one access line when the request is over, answered or not (Fastify's onResponse does
 * not run for a client that went away). Lines of quiet routes are debug. Neither query strings nor headers are logged.
 */
export function createBeginRequest(deps: {
  clock: Clock;
  logger: Logger;
  ownMetrics: Pick<OwnMetrics, "requestAnswered">;
}): BeginRequest {
  return (request, reply) => {
    const begun = deps.clock.monotonic();
    reply.headers({
      "x-request-id": request.id,
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "cache-control": "no-store",
    });
    reply.raw.once("close", () => {
      const durationMs = deps.clock.monotonic() - begun;
      const { quiet, url } = request.routeOptions.config;
      const status = reply.raw.statusCode;
      const fields = {
        request_id: request.id,
        method: request.method,
        path: pathOf(request),
        status,
        duration_ms: Math.round(durationMs * 1000) / 1000,
        caller: request.caller,
        ...(request.errorCode ? { code: request.errorCode } : {}),
        ...(reply.raw.writableFinished ? {} : { aborted: true }),
      };
      if (quiet && status < 500) deps.logger.debug(fields, "request");
      else deps.logger.info(fields, "request");
      deps.ownMetrics.requestAnswered({
        method: request.method,
        route: url ?? "(none)",
        status,
        durationSeconds: durationMs / 1000,
      });
    });
  };
}

/** The path without the query string, which may hold anything; at most 256 characters. */
export function pathOf(request: Pick<FastifyRequest, "url">): string {
  return (request.url.split("?", 1)[0] ?? "").slice(0, PATH_CHARS_MAX);
}
