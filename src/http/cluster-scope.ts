import type { FastifyRequest } from "fastify";
import { BridgeError } from "#errors/error.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The answer holds only clusters that `request.sees`: the route may be called by a token that is limited to some clusters. */
    onlySeen?: boolean;
    /** The route is about the cluster that `cluster` in the query string names. */
    clusterInQuery?: boolean;
  }
}

/**
 * Restricts a caller whose token is limited to some clusters. A route that names another cluster (`id` or `cluster_id` in the path,
 * `cluster` in the query string, `cluster_id` in the body) answers cluster_not_found, without checking whether the cluster exists. A route about all clusters is
 * forbidden unless it has `onlySeen`.
 */
export function refuseForeignClusters(request: FastifyRequest): void {
  const { scope, onlySeen, clusterInQuery } = request.routeOptions.config;
  if (request.clustersSeen === "all" || scope === "open" || request.is404) return;
  const params = fieldsOf(request.params);
  const named = [
    params["id"],
    params["cluster_id"],
    clusterInQuery ? fieldsOf(request.query)["cluster"] : undefined,
    fieldsOf(request.body)["cluster_id"],
  ].filter((id) => id !== undefined);
  for (const id of named) {
    if (typeof id !== "string") throw new BridgeError("request_invalid", "a cluster's id is a text");
    if (!request.sees(id)) throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
  }
  if (named.length === 0 && !onlySeen) {
    throw new BridgeError("forbidden", "this route is about all clusters, and the token is for some only", {
      hint: "Use a token without `clusters` in API_TOKENS_FILE.",
    });
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
