import type { FastifyReply, FastifyRequest } from "fastify";
import type { Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { SECURITY_HEADERS } from "./security-headers.ts";

const PATH_CHARS_MAX = 256;

/** Runs first for every request. */
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
    const startedMs = deps.clock.monotonic();
    reply.headers({ ...SECURITY_HEADERS, "x-request-id": request.id });
    reply.raw.once("close", () => {
      const durationMs = deps.clock.monotonic() - startedMs;
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
      // Guessing tokens must not fill the log: failed-logins.ts warns once at the limit.
      const isGuess = request.errorCode === "too_many_failed_logins";
      if ((quiet && status < 500) || isGuess) deps.logger.debug(fields, "request");
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
