import type { FastifyReply, FastifyRequest } from "fastify";
import type { ErrorCode } from "#errors/error.ts";
import type { QueryAdmission } from "#query/admission.ts";
import { requestSignal } from "./app-types.ts";

/** Answers a request by queries of the database, within the limits that all callers share. */
export type AnswerQuery = <T>(
  request: FastifyRequest,
  reply: FastifyReply,
  run: (signal: AbortSignal) => Promise<T>,
) => Promise<T>;

/** What each route that queries the database may answer. */
export const QUERY_LIMIT_ERRORS = [
  "query_too_large",
  "query_timeout",
  "query_busy",
] as const satisfies ErrorCode[];

export function createAnswerQuery(admission: QueryAdmission, stopping: AbortSignal): AnswerQuery {
  return (request, reply, run) => admission.run(request.share, requestSignal(reply, stopping), run);
}
