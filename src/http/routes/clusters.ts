import { z } from "zod";
import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";
import { BridgeError } from "#errors.ts";
import type { RouteModule } from "#http/app-types.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";

const clusterView = z
  .object({
    id: clusterId,
    name: z.string(),
    platform: z.string(),
    enabled: z.boolean(),
    validate_certs: z.boolean().meta({ description: "Is the API server's certificate verified?" }),
    source: z.enum(["file"]).meta({ description: "Where the cluster is registered: CLUSTERS_FILE" }),
    prometheus: z.object({
      namespace: z.string(),
      service: z.string(),
      port: z.int(),
      scheme: z.enum(["http", "https"]),
      path_prefix: z.string(),
    }),
  })
  .meta({
    id: "Cluster",
    examples: [
      {
        id: "edge-1",
        name: "Edge 1",
        platform: "eks",
        enabled: true,
        validate_certs: true,
        source: "file",
        prometheus: {
          namespace: "bud-system",
          service: "bud-metrics-kube-prometheu-prometheus",
          port: 9090,
          scheme: "http",
          path_prefix: "",
        },
      },
    ],
  });

const clusterList = z.object({ clusters: z.array(clusterView) }).meta({ id: "ClusterList" });

/** Only fields named here leave the program: credentials and certificates stay inside. */
function toClusterView(cluster: Cluster): z.infer<typeof clusterView> {
  const { namespace, service, port, scheme, pathPrefix } = cluster.prometheus;
  return {
    id: cluster.id,
    name: cluster.name,
    platform: cluster.platform,
    enabled: cluster.enabled,
    validate_certs: cluster.validateCerts,
    source: "file",
    prometheus: { namespace, service, port, scheme, path_prefix: pathPrefix },
  };
}

/** GET /clusters and GET /clusters/{id}: the registered clusters, without credentials. */
export function clusterRoutes(registry: ClusterRegistry): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/clusters",
      config: { scope: "read" },
      schema: {
        tags: ["clusters"],
        summary: "All registered clusters",
        response: { 200: json("The clusters", clusterList), ...errors(...ACCESS_ERRORS) },
      },
      handler: async () => ({ clusters: (await registry.list()).map(toClusterView) }),
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
          ...errors("request_invalid", "cluster_not_found", ...ACCESS_ERRORS),
        },
      },
      handler: async (request) => {
        const { id } = request.params;
        const cluster = (await registry.list()).find((each) => each.id === id);
        if (!cluster) throw new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
        return toClusterView(cluster);
      },
    });
  };
}
