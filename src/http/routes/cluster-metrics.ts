import { z } from "zod";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { App, RouteModule } from "#http/app-types.ts";
import { addClusterRoute, CLUSTER_QUERY_ERRORS } from "#http/cluster-route.ts";
import { errors, json } from "#http/schemas.ts";
import {
  labelsAnswer,
  latestAnswer,
  metricName,
  metricsAnswer,
  queryAnswer,
  queryBody,
} from "#http/series-schemas.ts";
import { rangeFields, toRangeMs, toStepMs, toTimeMs } from "#http/time-input.ts";
import type { LatestAnswer, LatestRequest } from "#query/series/latest.ts";
import type { MetricLookup } from "#query/series/lookup.ts";
import type { SeriesQuery } from "#query/series/series.ts";

/** What answers the routes of this file. */
export interface MetricQueries extends Pick<MetricLookup, "metrics" | "labels"> {
  series: SeriesQuery;
}

export type LatestSamples = (request: LatestRequest & { signal: AbortSignal }) => Promise<LatestAnswer>;

const LATEST_SERIES_MAX = 10_000;
const LATEST_SERIES_DEFAULT = 100;

const range = rangeFields("Default: 24 hours before `to`", "Default: now");

/** GET /cluster-metrics/{cluster_id}/latest. */
export function latestRoutes(latest: LatestSamples, answer: AnswerQuery): RouteModule {
  return (app) =>
    addClusterRoute(app, answer, {
      name: "latest",
      summary: "The latest stored sample of each series of a metric",
      query: {
        metric: metricName,
        limit: z.coerce.number().int().min(1).max(LATEST_SERIES_MAX).default(LATEST_SERIES_DEFAULT).meta({
          description: "At most this many series",
        }),
      },
      description: "The samples",
      answer: latestAnswer,
      errors: ["metric_not_found"],
      run: ({ clusterId, query, signal }) => latest({ clusterId, ...query, signal }),
    });
}

/** POST /cluster-metrics/query, GET /cluster-metrics/{cluster_id}/metrics and /labels. */
export function metricQueryRoutes(queries: MetricQueries, answer: AnswerQuery): RouteModule {
  return (app) => {
    addQuery(app, queries, answer);
    addClusterRoute(app, answer, {
      name: "metrics",
      summary: "The stored metrics of a cluster",
      query: range,
      description: "The metrics, by name",
      answer: metricsAnswer,
      run: ({ clusterId, query, signal }) => queries.metrics({ clusterId, ...toRangeMs(query), signal }),
    });
    addClusterRoute(app, answer, {
      name: "labels",
      summary: "The labels of a metric, with their values",
      query: { metric: metricName, ...range },
      description: "The labels, by name",
      answer: labelsAnswer,
      errors: ["metric_not_found"],
      run: ({ clusterId, query, signal }) =>
        queries.labels({ clusterId, metric: query.metric, ...toRangeMs(query), signal }),
    });
  };
}

function addQuery(app: App, queries: MetricQueries, answer: AnswerQuery): void {
  app.route({
    method: "POST",
    url: "/cluster-metrics/query",
    config: { scope: "read" },
    schema: {
      tags: ["cluster-metrics"],
      summary: "A metric over time, as PromQL would answer",
      description:
        "Points are at the multiples of the step in (start_time, end_time]; each looks back over the step, at least two minutes. The answer's `promql` gives the same numbers in the cluster's own Prometheus. A past range without data returns no series.",
      body: queryBody,
      response: {
        200: json("The series", queryAnswer),
        ...errors(
          ...CLUSTER_QUERY_ERRORS,
          "metric_not_found",
          "body_too_large",
          "unsupported_media_type",
          "request_timeout",
        ),
      },
    },
    handler: (request, reply) => {
      const { body } = request;
      return answer(request, reply, (signal) =>
        queries.series({
          clusterId: body.cluster_id,
          metric: body.metric_name,
          startMs: toTimeMs(body.start_time),
          endMs: toTimeMs(body.end_time),
          aggregation: body.aggregation,
          ...(body.step === undefined ? {} : { stepMs: toStepMs(body.step) }),
          ...(body.group_by === undefined ? {} : { groupBy: body.group_by }),
          ...(body.filters === undefined ? {} : { filters: body.filters }),
          ...(body.limit === undefined ? {} : { limit: body.limit }),
          signal,
        }),
      );
    },
  });
}
