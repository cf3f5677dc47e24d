import type { FastifyReply, FastifyRequest } from "fastify";
import { isClusterId } from "#lib/cluster-id.ts";
import type { Logger } from "#telemetry/logger.ts";

/** One line of the audit log: the actor, the action, the cluster and the result. */
interface AuditEntry {
  /** The route's `audit`, like "cluster.create". */
  action: string;
  /** The token's name; "local" and "anonymous" where no token is needed; null: unknown. */
  actor: string | null;
  /** The client's address, from the socket. */
  address: string;
  cluster_id: string | null;
  /** refused: the request was wrong and changed nothing; failed: this program or a service behind it failed. */
  result: "ok" | "refused" | "failed";
  /** The error code of a request that was not ok. */
  code?: string;
  /** The client went away before it was answered. */
  aborted?: true;
}

/** Writes the audit line of a request that is about to be answered; requests to routes without `audit` have none. */
export type WriteAudit = (request: FastifyRequest, reply: FastifyReply) => void;

/** The audit log is part of the program's log, at level info whatever LOG_LEVEL is: a lower log level must not turn it off. */
export function createAudit(logger: Logger): WriteAudit {
  const lines = logger.child({}, { level: "info" });
  return (request, reply) => {
    const status = reply.statusCode;
    const isAborted = reply.raw.destroyed;
    const { audit: action } = request.routeOptions.config;
    if (action === undefined || request.is404) return;
    // Guessing tokens must not fill the log.
    if (request.errorCode === "too_many_failed_logins") return;
    const audit: AuditEntry = {
      action,
      actor: request.caller,
      address: request.ip,
      cluster_id: request.auditCluster ?? pathClusterId(request),
      result: status < 400 ? "ok" : status < 500 ? "refused" : "failed",
      // The error code of an abandoned request means nothing.
      ...(request.errorCode && !isAborted ? { code: request.errorCode } : {}),
      ...(isAborted ? { aborted: true } : {}),
    };
    lines.info({ audit, request_id: request.id }, "audit");
  };
}

/** The cluster id in the request's path; null when there is none or it is malformed. */
function pathClusterId(request: FastifyRequest): string | null {
  const { id, cluster_id: other } = (request.params ?? {}) as Record<string, unknown>;
  const given = id ?? other;
  return typeof given === "string" && isClusterId(given) ? given : null;
}
