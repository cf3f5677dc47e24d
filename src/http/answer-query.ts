import type { FastifyReply, FastifyRequest } from "fastify";
import type { QueryAdmission } from "#query/admission.ts";
import { requestSignal } from "./app-types.ts";

/** Answers a request by queries of the database, within the limits that all callers share. */
export type AnswerQuery = <T>(
  request: FastifyRequest,
  reply: FastifyReply,
  run: (signal: AbortSignal) => Promise<T>,
) => Promise<T>;

export function createAnswerQuery(admission: QueryAdmission, stopping: AbortSignal): AnswerQuery {
  return (request, reply, run) => admission.run(request.share, requestSignal(reply, stopping), run);
}
