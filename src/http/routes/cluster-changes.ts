import { z } from "zod";
import type { ClusterAdmin } from "#clusters/cluster-admin.ts";
import type { ErrorCode } from "#errors/error.ts";
import { requestSignal, type App, type RouteModule } from "#http/app-types.ts";
import {
  clusterInput,
  clusterPatch,
  clusterView,
  INPUT_ERRORS,
  toClusterView,
} from "#http/cluster-schemas.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";
import type { Clock } from "#lib/clock.ts";

const admission = fields({
  check: z.enum(["true", "false"]).default("true").meta({
    description: "false: store the cluster without checking the connection",
  }),
});

const ADMISSION_ERRORS = [
  ...INPUT_ERRORS,
  "state_unavailable",
  "state_record_damaged",
] as const satisfies ErrorCode[];

const CHECK_NOTE =
  "The connection to the cluster's Prometheus is checked before anything is stored. If the check fails, the status is 422, the code names the failure (cluster_*, tunnel_*, prometheus_*), and nothing is stored.";

/** POST /clusters, PATCH and DELETE /clusters/{id}. */
export function clusterChangeRoutes(admin: ClusterAdmin, clock: Clock, stopping: AbortSignal): RouteModule {
  return (app) => {
    addCreate(app, admin, clock, stopping);
    addUpdate(app, admin, clock, stopping);
    app.route({
      method: "DELETE",
      url: "/clusters/:id",
      config: { scope: "admin", audit: "cluster.delete" },
      schema: {
        tags: ["clusters"],
        summary: "Delete a cluster",
        description:
          "Ends its collection and removes its credentials and its progress. Stored samples remain.",
        params: fields({ id: clusterId }),
        response: {
          204: z.undefined().meta({ description: "Deleted; no body" }),
          ...errors(
            "request_invalid",
            "cluster_not_found",
            "cluster_read_only",
            "state_unavailable",
            "state_record_damaged",
            ...ACCESS_ERRORS,
          ),
        },
      },
      handler: async (request, reply) => {
        await admin.remove(request.params.id);
        return await reply.code(204).send();
      },
    });
  };
}

function addCreate(app: App, admin: ClusterAdmin, clock: Clock, stopping: AbortSignal): void {
  app.route({
    method: "POST",
    url: "/clusters",
    config: { scope: "admin", audit: "cluster.create" },
    schema: {
      tags: ["clusters"],
      summary: "Register a cluster",
      description: CHECK_NOTE,
      querystring: admission,
      body: clusterInput,
      response: {
        201: json("Registered; Location has its URL. The next round collects it", clusterView),
        ...errors(...ADMISSION_ERRORS, "cluster_exists", "cluster_limit_reached", ...ACCESS_ERRORS),
      },
    },
    handler: async (request, reply) => {
      const { body, query } = request;
      if (body.id !== undefined) request.auditCluster = body.id;
      const signal = requestSignal(reply, stopping);
      const cluster = await admin.create(body, { check: query.check === "true", signal });
      request.auditCluster = cluster.id;
      return await reply
        .code(201)
        .header("location", `/clusters/${cluster.id}`)
        .send(toClusterView(cluster, clock.now()));
    },
  });
}

function addUpdate(app: App, admin: ClusterAdmin, clock: Clock, stopping: AbortSignal): void {
  app.route({
    method: "PATCH",
    url: "/clusters/:id",
    config: { scope: "admin", audit: "cluster.update" },
    schema: {
      tags: ["clusters"],
      summary: "Change a cluster",
      description: `A JSON merge patch (RFC 7396): omitted fields keep their values, null resets a field. ${CHECK_NOTE} A patch without kubeconfig, prometheus and validate_certs is not checked.`,
      params: fields({ id: clusterId }),
      querystring: admission,
      body: clusterPatch,
      response: {
        200: json("The changed cluster; the next round uses it", clusterView),
        ...errors(
          ...ADMISSION_ERRORS,
          "cluster_not_found",
          "cluster_read_only",
          "credentials_invalid",
          "credentials_key_unknown",
          "state_conflict",
          ...ACCESS_ERRORS,
        ),
      },
    },
    handler: async (request, reply) => {
      const { body, params, query } = request;
      const signal = requestSignal(reply, stopping);
      const cluster = await admin.update(params.id, body, { check: query.check === "true", signal });
      return toClusterView(cluster, clock.now());
    },
  });
}
