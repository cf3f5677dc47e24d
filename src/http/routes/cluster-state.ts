import { z } from "zod";
import type { ErrorCode } from "#errors/error.ts";
import type { ClusterState } from "#query/state/cluster-state.ts";
import { POD_SORTS } from "#query/state/pod-sql.ts";
import { PODS_DEFAULT, PODS_MAX } from "#query/state/pods.ts";
import { type AnswerQuery, QUERY_LIMIT_ERRORS } from "#http/answer-query.ts";
import type { App, RouteModule } from "#http/app-types.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";
import { gpusAnswer, healthAnswer, nodesAnswer, podsAnswer, summaryAnswer } from "#http/state-schemas.ts";

const TIME_CHARS_MAX = 40;
const CURSOR_CHARS_MAX = 4096;
const NAMESPACE_CHARS_MAX = 253;

const STATE_ERRORS = [
  "request_invalid",
  ...QUERY_LIMIT_ERRORS,
  "cluster_not_found",
  "storage_unavailable",
  "storage_failed",
  ...ACCESS_ERRORS,
] as const satisfies ErrorCode[];

const time = (description: string) =>
  z
    .string()
    .max(TIME_CHARS_MAX)
    .exactOptional()
    .meta({ description, examples: ["2025-06-01T12:00:00Z", "1748779200"] });

/** The stretch of time that an answer is about. */
const range = (defaultLength: string, longest: string) => ({
  from: time(
    `Start, not included: RFC 3339 or Unix seconds. Default ${defaultLength} before \`to\`, at most ${longest}`,
  ),
  to: time("End: RFC 3339 or Unix seconds. Default: where the stored data ends"),
});

const stateRange = range("15 minutes", "24 hours");
const params = fields({ cluster_id: clusterId });

/** GET /cluster-metrics/{cluster_id}/summary, /health, /nodes, /pods and /gpus. */
export function clusterStateRoutes(state: ClusterState, answer: AnswerQuery): RouteModule {
  return (app) => {
    summaryRoute(app, state, answer);
    healthRoute(app, state, answer);
    nodesRoute(app, state, answer);
    podsRoute(app, state, answer);
    gpusRoute(app, state, answer);
  };
}

function summaryRoute(app: App, state: ClusterState, answer: AnswerQuery): void {
  app.route({
    method: "GET",
    url: "/cluster-metrics/:cluster_id/summary",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "Key figures of a cluster",
      params,
      querystring: fields(range("1 hour", "31 days")),
      response: {
        200: json("The figures; null where nothing is known", summaryAnswer),
        ...errors(...STATE_ERRORS),
      },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        state.summary({
          clusterId: request.params.cluster_id,
          ...request.query,
          signal,
        }),
      ),
  });
}

function healthRoute(app: App, state: ClusterState, answer: AnswerQuery): void {
  app.route({
    method: "GET",
    url: "/cluster-metrics/:cluster_id/health",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "The cluster's health and its issues",
      params,
      querystring: fields(stateRange),
      response: { 200: json("The health", healthAnswer), ...errors(...STATE_ERRORS) },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        state.health({
          clusterId: request.params.cluster_id,
          ...request.query,
          signal,
        }),
      ),
  });
}

function nodesRoute(app: App, state: ClusterState, answer: AnswerQuery): void {
  app.route({
    method: "GET",
    url: "/cluster-metrics/:cluster_id/nodes",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "The state of each node",
      params,
      querystring: fields(stateRange),
      response: { 200: json("The nodes", nodesAnswer), ...errors(...STATE_ERRORS) },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        state.nodes({
          clusterId: request.params.cluster_id,
          ...request.query,
          signal,
        }),
      ),
  });
}

function podsRoute(app: App, state: ClusterState, answer: AnswerQuery): void {
  app.route({
    method: "GET",
    url: "/cluster-metrics/:cluster_id/pods",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "The state of each Pod, a page at a time",
      params,
      querystring: fields({
        ...stateRange,
        namespace: z
          .string()
          .min(1)
          .max(NAMESPACE_CHARS_MAX)
          .exactOptional()
          .meta({ description: "Only this namespace", examples: ["team-a"] }),
        sort: z
          .enum(POD_SORTS)
          .default("name")
          .meta({ description: "name: by namespace and name; the others: largest first" }),
        limit: z.coerce
          .number()
          .int()
          .min(1)
          .max(PODS_MAX)
          .default(PODS_DEFAULT)
          .meta({ description: "Pods per page" }),
        cursor: z.string().min(1).max(CURSOR_CHARS_MAX).exactOptional().meta({
          description:
            "next_cursor of the previous page, with the same sort and namespace; it includes from and to",
        }),
      }),
      response: { 200: json("A page of Pods", podsAnswer), ...errors(...STATE_ERRORS) },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        state.pods({
          clusterId: request.params.cluster_id,
          ...request.query,
          signal,
        }),
      ),
  });
}

function gpusRoute(app: App, state: ClusterState, answer: AnswerQuery): void {
  app.route({
    method: "GET",
    url: "/cluster-metrics/:cluster_id/gpus",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "The state of each GPU, and the Pods that use it",
      params,
      querystring: fields(stateRange),
      response: { 200: json("The GPUs", gpusAnswer), ...errors(...STATE_ERRORS) },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        state.gpus({
          clusterId: request.params.cluster_id,
          ...request.query,
          signal,
        }),
      ),
  });
}
