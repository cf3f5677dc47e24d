import { z } from "zod";
import type { ClusterCompleteness } from "#collect/completeness.ts";
import type { AnswerQuery } from "#http/answer-query.ts";
import type { RouteModule } from "#http/app-types.ts";
import { addClusterRoute } from "#http/cluster-route.ts";
import {
  clusterCompletenessAnswer,
  completenessAnswer,
  toClusterCompletenessAnswer,
  toStretchAnswer,
} from "#http/completeness-schemas.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";
import { rangeFields, toRangeMs } from "#http/time-input.ts";
import { createTally } from "#lib/completeness.ts";
import type { Clock } from "#lib/clock.ts";
import type { ReadClusterCompleteness } from "#query/cluster-completeness.ts";
import { refuseSize } from "#query/limits.ts";
import { checkRange, RANGE_FIELDS, toTimestamp } from "#query/range.ts";

const DAY_MS = 86_400_000;
const RANGE_MS_MAX = 31 * DAY_MS;
const STRETCHES_MAX = 10_000;
const QUERY_CHARS_MAX = 200;

const range = rangeFields("Default: 24 hours before `to`, at most 31 days", "Default: now");
const queryName = z
  .string()
  .min(1)
  .max(QUERY_CHARS_MAX)
  .optional()
  .meta({ description: "Only this query of the catalogue", examples: ["node_load1"] });

/** GET /cluster-metrics/{cluster_id}/completeness: the same, as the bridge reported it. */
export function clusterCompletenessRoutes(read: ReadClusterCompleteness, answer: AnswerQuery): RouteModule {
  return (app) =>
    addClusterRoute(app, answer, {
      name: "completeness",
      summary: "What became of the samples of a cluster, as the bridge reported it",
      query: { ...range, query: queryName },
      description: "The stretches that reach into the range; null is what the bridge did not report",
      answer: clusterCompletenessAnswer,
      run: async ({ clusterId, query, signal }) =>
        toClusterCompletenessAnswer(
          await read({ clusterId, ...toRangeMs(query), query: query.query, signal }),
        ),
    });
}

/** GET /metrics/completeness: how completely the bridge has collected a cluster. */
export function completenessRoutes(completeness: ClusterCompleteness, clock: Clock): RouteModule {
  return (app) =>
    app.route({
      method: "GET",
      url: "/metrics/completeness",
      config: { scope: "read", clusterInQuery: true },
      schema: {
        tags: ["metrics"],
        summary: "What became of the samples of a cluster: each query in each stretch of time",
        querystring: fields({
          cluster: clusterId,
          ...range,
          query: queryName,
        }),
        response: {
          200: json("The stretches that reach into the range", completenessAnswer),
          ...errors(
            "request_invalid",
            "query_too_large",
            "cluster_not_found",
            "state_unavailable",
            "state_record_damaged",
            ...ACCESS_ERRORS,
          ),
        },
      },
      handler: async (request) => {
        const { cluster, query } = request.query;
        const nowMs = clock.now();
        const { toMs = nowMs, fromMs = toMs - DAY_MS } = toRangeMs(request.query);
        checkRange({ fromMs, toMs }, RANGE_FIELDS, nowMs, RANGE_MS_MAX);
        const asked = { from: fromMs, to: toMs };
        refuseMany(completeness.countMax({ ...asked, query }));
        const stretches = await completeness.read({ clusterId: cluster, ...asked, query });
        const tally = createTally(asked);
        tally.add(stretches);
        return {
          cluster_id: cluster,
          from: toTimestamp(fromMs),
          to: toTimestamp(toMs),
          stretch_seconds: completeness.stretchMs / 1000,
          ...tally.summary(),
          stretches: stretches.map((stretch) => toStretchAnswer(stretch, stretch.detail)),
        };
      },
    });
}

function refuseMany(count: number): void {
  if (count <= STRETCHES_MAX) return;
  throw refuseSize(
    "stretches",
    `from: the range may have ${count} stretches of queries, more than ${STRETCHES_MAX}`,
    "Send a later from, an earlier to, or the name of one query.",
  );
}
