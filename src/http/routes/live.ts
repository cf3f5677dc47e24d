import type { LiveRounds } from "#collect/live-rounds.ts";
import type { RouteModule } from "#http/app-types.ts";
import { EVENT_NOTES, eventStream } from "#http/event-schemas.ts";
import type { EventStreams } from "#http/event-stream.ts";
import { feedLiveRounds } from "#http/live-feed.ts";
import { LIVE_EXAMPLE, liveEvents } from "#http/live-schemas.ts";
import { ACCESS_ERRORS, errors, fields } from "#http/schemas.ts";
import type { Clock } from "#lib/clock.ts";

/** GET /metrics/events: rounds as they happen. */
export function liveRoutes(live: LiveRounds, streams: EventStreams, clock: Clock): RouteModule {
  return (app) => {
    app.route({
      method: "GET",
      url: "/metrics/events",
      config: { scope: "read", onlySeen: true },
      schema: {
        tags: ["metrics"],
        summary: "Rounds as they happen, as server-sent events",
        description: `The first event is \`state\`. Then \`round_started\`, \`progress\` and \`round_finished\` come as they happen, at most twice a second; each has the latest state of a cluster, and states in between may be left out. After a break, connect again: \`state\` has everything. ${EVENT_NOTES}`,
        querystring: fields({}),
        response: {
          200: {
            description: "Events until one side ends the stream",
            content: { "text/event-stream": { schema: eventStream(liveEvents, LIVE_EXAMPLE) } },
          },
          ...errors("request_invalid", "too_many_streams", ...ACCESS_ERRORS),
        },
      },
      handler: (request, reply) => {
        const stream = streams.open(request, reply);
        feedLiveRounds(
          live,
          clock,
          stream,
          request.clustersSeen === "all" ? "all" : (id) => request.sees(id),
        );
      },
    });
  };
}
