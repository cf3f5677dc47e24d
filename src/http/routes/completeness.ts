import { z } from "zod";
import type { ClusterCompleteness } from "#collect/completeness.ts";
import type { RouteModule } from "#http/app-types.ts";
import { completenessAnswer, toStretchAnswer } from "#http/completeness-schemas.ts";
import { ACCESS_ERRORS, clusterId, errors, fields, json } from "#http/schemas.ts";
import { rangeFields, toRangeMs } from "#http/time-input.ts";
import { createTally } from "#lib/completeness.ts";
import type { Clock } from "#lib/clock.ts";
import { refuseSize } from "#query/limits.ts";
import { checkRange, RANGE_FIELDS, toTimestamp } from "#query/range.ts";

const DAY_MS = 86_400_000;
const RANGE_MS_MAX = 31 * DAY_MS;
const STRETCHES_MAX = 10_000;
const QUERY_CHARS_MAX = 200;

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
          ...rangeFields("Default: 24 hours before `to`, at most 31 days", "Default: now"),
          query: z
            .string()
            .min(1)
            .max(QUERY_CHARS_MAX)
            .optional()
            .meta({ description: "Only this query of the catalogue", examples: ["node_load1"] }),
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
        const range = { from: fromMs, to: toMs };
        refuseMany(completeness.countMax({ ...range, query }));
        const stretches = await completeness.read({ clusterId: cluster, ...range, query });
        const tally = createTally(range);
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
