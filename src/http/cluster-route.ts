import type { z } from "zod";
import type { ErrorCode } from "#errors/error.ts";
import type { AnswerQuery } from "./answer-query.ts";
import type { App } from "./app-types.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "./schemas.ts";

/** The errors of every route that answers about one cluster from ClickHouse. */
export const CLUSTER_QUERY_ERRORS = [
  "request_invalid",
  "query_too_large",
  "query_timeout",
  "query_busy",
  "cluster_not_found",
  "storage_unavailable",
  "storage_failed",
  ...ACCESS_ERRORS,
] as const satisfies ErrorCode[];

interface ClusterRoute<Query extends z.ZodRawShape, Answer> {
  /** The last part of the path. */
  name: string;
  summary: string;
  /** The fields of the query string. */
  query: Query;
  description: string;
  answer: z.ZodType<Answer>;
  /** Besides CLUSTER_QUERY_ERRORS. */
  errors?: readonly ErrorCode[];
  run(request: {
    clusterId: string;
    query: z.output<z.ZodObject<Query>>;
    signal: AbortSignal;
  }): Promise<Answer>;
}

const params = fields({ cluster_id: clusterId });

/** GET /cluster-metrics/{cluster_id}/{name}. */
export function addClusterRoute<Query extends z.ZodRawShape, Answer>(
  app: App,
  answer: AnswerQuery,
  route: ClusterRoute<Query, Answer>,
): void {
  const querystring = fields(route.query);
  app.route({
    method: "GET",
    url: `/cluster-metrics/:cluster_id/${route.name}`,
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: route.summary,
      params,
      querystring,
      response: {
        200: json(route.description, route.answer as z.ZodType),
        ...errors(...CLUSTER_QUERY_ERRORS, ...(route.errors ?? [])),
      },
    },
    handler: (request, reply) =>
      answer(request, reply, (signal) =>
        route.run({
          clusterId: request.params.cluster_id,
          query: request.query as z.output<z.ZodObject<Query>>,
          signal,
        }),
      ),
  });
}
