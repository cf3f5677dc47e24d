import { z } from "zod";
import { type AnswerQuery, QUERY_LIMIT_ERRORS } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json, recordOf, timestamp } from "#http/schemas.ts";

/** The latest sample of each series of one metric of one cluster. */
interface LatestAnswer {
  cluster_id: string;
  metric: string;
  /** RFC 3339, UTC: the newest of the timestamps. */
  as_of: string;
  /** As stored, for example "By"; may be empty. */
  unit: string;
  /** "sum" or "gauge", as stored. */
  type: string;
  series: LatestSeries[];
}

interface LatestSeries {
  labels: Record<string, string>;
  timestamp: string;
  value: number | "NaN" | "+Inf" | "-Inf";
}

interface LatestInput {
  clusterId: string;
  metric: string;
  /** At most this many series. */
  limit: number;
  /** Aborted when nobody waits for the answer any more. */
  signal: AbortSignal;
}

/** Answers from storage. Throws cluster_not_found, metric_not_found, query_too_large, query_timeout, storage_unavailable, storage_failed. */
export type LatestSamples = (input: LatestInput) => Promise<LatestAnswer>;

const METRIC_CHARS_MAX = 512;
const SERIES_MAX = 10_000;
const SERIES_DEFAULT = 100;

const latestAnswer = z
  .object({
    cluster_id: z.string(),
    metric: z.string(),
    as_of: timestamp,
    unit: z.string(),
    type: z.string(),
    series: z.array(
      z.object({
        labels: recordOf(z.string()),
        timestamp,
        value: z.union([z.number(), z.enum(["NaN", "+Inf", "-Inf"])]),
      }),
    ),
  })
  .meta({
    id: "LatestSamples",
    examples: [
      {
        cluster_id: "edge-1",
        metric: "node_load1",
        as_of: "2025-06-01T11:58:30.000Z",
        unit: "",
        type: "gauge",
        series: [
          { labels: { instance: "10.0.0.7:9100" }, timestamp: "2025-06-01T11:58:30.000Z", value: 0.42 },
        ],
      },
    ],
  }) satisfies z.ZodType<LatestAnswer>;

/** GET /cluster-metrics/{cluster_id}/latest. */
export function latestRoutes(latest: LatestSamples, answer: AnswerQuery): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/cluster-metrics/:cluster_id/latest",
      config: { scope: "read" },
      schema: {
        tags: ["cluster-metrics"],
        summary: "The latest stored sample of each series of a metric",
        params: fields({ cluster_id: clusterId }),
        querystring: fields({
          metric: z
            .string("is needed: the name of a metric")
            .min(1)
            .max(METRIC_CHARS_MAX)
            .meta({ description: "Prometheus' name of the metric", examples: ["node_load1"] }),
          limit: z.coerce.number().int().min(1).max(SERIES_MAX).default(SERIES_DEFAULT).meta({
            description: "At most this many series",
          }),
        }),
        response: {
          200: json("The samples", latestAnswer),
          ...errors(
            "request_invalid",
            ...QUERY_LIMIT_ERRORS,
            "cluster_not_found",
            "metric_not_found",
            "storage_unavailable",
            "storage_failed",
            ...ACCESS_ERRORS,
          ),
        },
      },
      handler: (request, reply) =>
        answer(request, reply, (signal) =>
          latest({
            clusterId: request.params.cluster_id,
            metric: request.query.metric,
            limit: request.query.limit,
            signal,
          }),
        ),
    });
  };
}
