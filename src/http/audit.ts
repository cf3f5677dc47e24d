import type { FastifyReply, FastifyRequest } from "fastify";
import { isClusterId } from "#lib/cluster-id.ts";
import type { Logger } from "#telemetry/logger.ts";

/** One line of the audit log: who did what to which cluster, and what came of it. */
interface AuditEntry {
  /** The route's `audit`, like "cluster.create". */
  action: string;
  /** The token's name; "local" and "anonymous" where no token is asked for; null: nobody that is known. */
  actor: string | null;
  /** Where the request came from, as the socket says. */
  address: string;
  cluster_id: string | null;
  /** refused: by the request's own fault, nothing was changed; failed: something here or behind did not work. */
  result: "ok" | "refused" | "failed";
  /** The error code of a request that was not ok. */
  code?: string;
  /** The client went away before it was answered. */
  aborted?: true;
}

/** Writes the audit line of a request that is about to be answered; requests to routes without `audit` have none. */
export type WriteAudit = (request: FastifyRequest, reply: FastifyReply) => void;

/** The audit log is the program's log, at info whatever LOG_LEVEL is: who turns the log down must not turn this off. */
export function createAudit(logger: Logger): WriteAudit {
  const lines = logger.child({}, { level: "info" });
  return (request, reply) => {
    const status = reply.statusCode;
    const isAborted = reply.raw.destroyed;
    const { audit: action } = request.routeOptions.config;
    if (action === undefined || request.is404) return;
    // Who guesses tokens must not fill the log.
    if (request.errorCode === "too_many_failed_logins") return;
    const audit: AuditEntry = {
      action,
      actor: request.caller,
      address: request.ip,
      cluster_id: request.auditCluster ?? pathClusterId(request),
      result: status < 400 ? "ok" : status < 500 ? "refused" : "failed",
      // Of what was given up because nobody waits for it, the code says nothing.
      ...(request.errorCode && !isAborted ? { code: request.errorCode } : {}),
      ...(isAborted ? { aborted: true } : {}),
    };
    lines.info({ audit, request_id: request.id }, "audit");
  };
}

/** The cluster that a request's path names; null when there is none, or nothing that could be an id. */
function pathClusterId(request: FastifyRequest): string | null {
  const { id, cluster_id: other } = (request.params ?? {}) as Record<string, unknown>;
  const given = id ?? other;
  return typeof given === "string" && isClusterId(given) ? given : null;
}
