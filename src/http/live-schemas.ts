import { z } from "zod";
import type { CollectionProgress } from "#collect/collection-progress.ts";
import type { LiveCluster } from "#collect/live-rounds.ts";
import { timestamp } from "./schemas.ts";
import { clusterResult, roundResult } from "./status-schemas.ts";

const count = z.int().nonnegative();

const progress = z
  .object({
    queries: count.meta({ description: "Queries of the collection, of all shards" }),
    queries_done: count.meta({ description: "Queries with nothing left to read in this round" }),
    windows: count.meta({
      description: "Windows that are stored: read, and every sample acknowledged or refused",
    }),
    points: count.meta({ description: "Samples that the Collector acknowledged" }),
    series: count.meta({ description: "Series read" }),
    reading: z
      .array(z.object({ query: z.string(), from: timestamp, to: timestamp }))
      .meta({ description: "Windows that are being read, at most 16" }),
  })
  .meta({ id: "CollectionProgress" }) satisfies z.ZodType<CollectionProgress>;

const liveCluster = z
  .object({
    cluster_id: z.string(),
    cluster_name: z.string(),
    round: z.string().meta({ description: "The round's id" }),
    state: z.enum(["waiting", "connecting", "reading", "finished"]).meta({
      description:
        "waiting: for its turn; connecting: nothing is read yet; reading: see progress; finished: see result",
    }),
    started_at: timestamp.nullable().meta({ description: "When its turn came" }),
    progress: progress.nullable(),
    result: clusterResult.nullable(),
  })
  .meta({ id: "LiveCluster" }) satisfies z.ZodType<LiveCluster>;

const liveRound = roundResult.omit({ clusters: true }).meta({ id: "LiveRound" });

const clusters = z.array(liveCluster);

/** The data of each event of GET /metrics/events. */
export const liveEvents = {
  state: z.object({ rounds: z.array(liveRound), clusters }).meta({
    id: "LiveStateEvent",
    description:
      "The rounds under way, or without any the last one, with all their clusters. It replaces whatever was known.",
  }),
  round_started: z
    .object({ round: liveRound, clusters })
    .meta({ id: "RoundStartedEvent", description: "A round with all its clusters" }),
  progress: z.object({ rounds: z.array(liveRound), clusters }).meta({
    id: "ProgressEvent",
    description: "The clusters that changed, and the sums of their rounds",
  }),
  round_finished: z.object({ round: liveRound }).meta({ id: "RoundFinishedEvent" }),
};

export type LiveEventName = keyof typeof liveEvents;
export type LiveEventData = { [Name in LiveEventName]: z.output<(typeof liveEvents)[Name]> };

export const LIVE_EXAMPLE = `retry: 3000

id: 1
event: state
data: {"rounds":[],"clusters":[]}

id: 2
event: round_started
data: {"round":{"id":"2f0c6d1e","trigger":"request","started_at":"2025-06-01T12:00:00.000Z","finished_at":null,"duration_seconds":null,"total":1,"successful":0,"partial":0,"failed":0,"skipped":0,"points":0,"bytes":0},"clusters":[{"cluster_id":"edge-1","cluster_name":"Edge 1","round":"2f0c6d1e","state":"waiting","started_at":null,"progress":null,"result":null}]}

: heartbeat

`;
