import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { addClusterRoute, CLUSTER_QUERY_ERRORS } from "#http/cluster-route.ts";
import { errors, fields, json } from "#http/schemas.ts";
import { rangeFields, toRangeMs } from "#http/time-input.ts";
import { clusterListAnswer, fleetUsageAnswer, gpuUsageAnswer, usageGroup } from "#http/usage-schemas.ts";
import type { ClusterState } from "#query/state/cluster-state.ts";

const usageFields = {
  ...rangeFields("Default: 24 hours before `to`, at most 31 days", "Default: where the stored data ends"),
  by: usageGroup,
};
/** The errors of a route about all clusters: it names none that may be missing. */
const FLEET_ERRORS = CLUSTER_QUERY_ERRORS.filter((code) => code !== "cluster_not_found");

/** GET /cluster-metrics, /cluster-metrics/gpus/usage and /cluster-metrics/{cluster_id}/gpus/usage. */
export function gpuUsageRoutes(
  state: Pick<ClusterState, "gpuUsage" | "fleetGpuUsage" | "listClusters">,
  answer: AnswerQuery,
): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/cluster-metrics",
      config: { scope: "read", onlySeen: true },
      schema: {
        tags: ["cluster-metrics"],
        summary: "The clusters of which samples are stored",
        response: { 200: json("The clusters, by id", clusterListAnswer), ...errors(...FLEET_ERRORS) },
      },
      handler: (request, reply) =>
        answer(request, reply, async (signal) => ({
          clusters: await state.listClusters({ sees: (id) => request.sees(id), signal }),
        })),
    });
    app.route({
      method: "GET",
      url: "/cluster-metrics/gpus/usage",
      config: { scope: "read", onlySeen: true },
      schema: {
        tags: ["cluster-metrics"],
        summary: "What all clusters did with their GPUs",
        querystring: fields(usageFields),
        response: { 200: json("The use of the GPUs", fleetUsageAnswer), ...errors(...FLEET_ERRORS) },
      },
      handler: (request, reply) =>
        answer(request, reply, (signal) => {
          const { by, ...range } = request.query;
          return state.fleetGpuUsage({ ...toRangeMs(range), by, signal }, (id) => request.sees(id));
        }),
    });
    addClusterRoute(app, answer, {
      name: "gpus/usage",
      summary: "What a cluster did with its GPUs: GPU-hours, energy, errors",
      query: usageFields,
      description: "The use of the GPUs",
      answer: gpuUsageAnswer,
      run: ({ clusterId, query, signal }) => {
        const { by, ...range } = query;
        return state.gpuUsage({ clusterId, ...toRangeMs(range), by, signal });
      },
    });
  };
}
