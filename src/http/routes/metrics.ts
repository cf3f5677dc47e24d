import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { Collection, RoundStart, RoundTrigger } from "#collect/status.ts";
import { type App, requestSignal, type RouteModule } from "#http/app-types.ts";
import { ACCESS_ERRORS, errors, fields, json, OPEN_ERRORS } from "#http/schemas.ts";
import { createSharedAnswer } from "#http/shared-answer.ts";
import { collectAnswer, collectionStatus } from "#http/status-schemas.ts";
import { toVisibleStatus } from "#http/visible-status.ts";
import { abortable } from "#lib/clock.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";

const COLLECT_URL = "/metrics/collect-all";

/** GET /metrics: the program's own metrics as Prometheus text. */
export function ownMetricsRoutes(metrics: Pick<OwnMetrics, "prometheusText">): RouteModule {
  const text = createSharedAnswer(() => metrics.prometheusText());
  return (app) => {
    app.route({
      method: "GET",
      url: "/metrics",
      config: { scope: "read", quiet: true },
      schema: {
        tags: ["metrics"],
        summary: "The bridge's own metrics, for a Prometheus to scrape",
        response: {
          200: {
            description: "Prometheus text format 0.0.4",
            content: {
              "text/plain": { schema: z.string().meta({ examples: ["budcluster_tunnel_active 3\n"] }) },
            },
          },
          ...errors(...ACCESS_ERRORS),
        },
      },
      handler: async (_request, reply) =>
        reply.type("text/plain; version=0.0.4; charset=utf-8").send(await text()),
    });
  };
}

/**
 * POST /metrics/collect-all and GET /metrics/status. The POST is also what Dapr's cron binding calls: it probes with OPTIONS, sends an
 * empty body as application/json and takes anything but 200 as a failure.
 */
export function collectionRoutes(
  collection: Collection,
  warnings: () => readonly string[],
  stopping: AbortSignal,
): RouteModule {
  const sharedStatus = createSharedAnswer(() => collection.status());
  return (app) => {
    addCollectRoute(app, collection, stopping);
    app.route({
      method: "OPTIONS",
      url: COLLECT_URL,
      config: { scope: "open", quiet: true },
      schema: {
        tags: ["metrics"],
        summary: "Dapr's probe for the cron binding",
        response: {
          200: z.undefined().meta({ description: "Subscribed; no body" }),
          ...errors(...OPEN_ERRORS),
        },
      },
      handler: (_request, reply) => reply.header("allow", "OPTIONS, POST").code(200).send(),
    });
    app.route({
      method: "GET",
      url: "/metrics/status",
      config: { scope: "read", onlySeen: true },
      schema: {
        tags: ["metrics"],
        summary: "The collection's status, in total and for each cluster",
        response: { 200: json("The status", collectionStatus), ...errors(...ACCESS_ERRORS) },
      },
      handler: async (request) => {
        const status = await sharedStatus();
        if (request.clustersSeen !== "all") return toVisibleStatus(status, (id) => request.sees(id));
        return { ...status, warnings: [...warnings(), ...status.warnings] };
      },
    });
  };
}

function addCollectRoute(app: App, collection: Collection, stopping: AbortSignal): void {
  app.route({
    method: "POST",
    url: COLLECT_URL,
    config: { scope: "collect", audit: "collection.start" },
    schema: {
      tags: ["metrics"],
      summary: "Starts a round over all clusters that are not busy",
      description:
        "Answers at once with the started round, or with `wait=true` when the round is finished on all replicas; the answer at once has the part of the replica that was asked. A call during such a round joins it. The round continues when the client disconnects. No body is needed; any body is ignored.",
      querystring: fields({
        wait: z
          .enum(["true", "false"], 'must be "true" or "false"')
          .default("false")
          .meta({ description: "true: answer when the round is finished" }),
      }),
      response: {
        200: json("The round, or `disabled` when METRICS_COLLECTION_ENABLED=false", collectAnswer),
        ...errors(
          "request_invalid",
          "body_too_large",
          "state_unavailable",
          "state_record_damaged",
          ...ACCESS_ERRORS,
        ),
      },
    },
    handler: async (request, reply) => {
      const start = await startRound(collection, request.viaDapr ? "dapr" : "request");
      if (start instanceof BridgeError) {
        return { status: "disabled" as const, message: start.message, hint: start.hint };
      }
      const { round, busy, done } = start;
      if (request.query.wait === "false") return { status: "started" as const, round, busy };
      const signal = requestSignal(reply, stopping);
      try {
        return { status: "finished" as const, round: await abortable(done, signal), busy };
      } catch (error) {
        if (stopping.aborted) throw error;
        // The client is gone and nobody reads the answer; the round goes on.
        return { status: "started" as const, round, busy };
      }
    },
  });
}

/** The round, or the error collection_disabled, which is no failure here. */
async function startRound(collection: Collection, trigger: RoundTrigger): Promise<RoundStart | BridgeError> {
  try {
    return await collection.start(trigger);
  } catch (error) {
    if (error instanceof BridgeError && error.code === "collection_disabled") return error;
    throw error;
  }
}
