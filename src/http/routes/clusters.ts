import { z } from "zod";
import type { ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError } from "#errors/error.ts";
import type { RouteModule } from "#http/app-types.ts";
import { clusterView, toClusterView } from "#http/cluster-schemas.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";
import type { Clock } from "#lib/clock.ts";

const clusterList = z.object({ clusters: z.array(clusterView) }).meta({ id: "ClusterList" });

/** GET /clusters and GET /clusters/{id}: the registered clusters, without credentials. */
export function clusterRoutes(registry: ClusterRegistry, clock: Clock): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/clusters",
      config: { scope: "read", onlySeen: true },
      schema: {
        tags: ["clusters"],
        summary: "All registered clusters",
        response: {
          200: json("The clusters", clusterList),
          ...errors("state_unavailable", "state_record_damaged", ...ACCESS_ERRORS),
        },
      },
      handler: async (request) => ({
        clusters: (await registry.list())
          .filter(({ id }) => request.sees(id))
          .map((cluster) => toClusterView(cluster, clock.now())),
      }),
    });
    app.route({
      method: "GET",
      url: "/clusters/:id",
      config: { scope: "read" },
      schema: {
        tags: ["clusters"],
        summary: "One cluster",
        params: fields({ id: clusterId }),
        response: {
          200: json("The cluster", clusterView),
          ...errors(
            "request_invalid",
            "cluster_not_found",
            "state_unavailable",
            "state_record_damaged",
            ...ACCESS_ERRORS,
          ),
        },
      },
      handler: async (request) => {
        const { id } = request.params;
        const cluster = (await registry.list()).find((each) => each.id === id);
        if (!cluster || !request.sees(id))
          throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
        return toClusterView(cluster, clock.now());
      },
    });
  };
}
