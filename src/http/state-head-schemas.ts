import { z } from "zod";
import { timestamp } from "./schemas.ts";

const number = (description: string) => z.number().nullable().meta({ description });

export const completeness = z
  .object({
    complete: z.boolean().meta({
      description:
        "Every sample of the window up to as_of is stored, as far as the collection knows: no query behind, no gap, nothing refused",
    }),
    watermark: timestamp.nullable().meta({
      description:
        "The oldest watermark of the answer's queries: every sample up to this time is stored or recorded as a gap",
    }),
    lag_seconds: number("Seconds from the watermark to now"),
    collected_since: timestamp.nullable().meta({
      description: "Time of the cluster's first collection, if it is inside the window",
    }),
    cluster_up: z
      .boolean()
      .nullable()
      .meta({ description: "Whether the last attempt reached the cluster's Prometheus" }),
    cluster_up_at: timestamp.nullable().meta({ description: "Time of that attempt" }),
    queries: z.int().meta({ description: "Queries of the catalogue that the answer uses" }),
    behind: z
      .array(z.object({ query: z.string(), watermark: timestamp }))
      .meta({ description: "Queries that are not yet stored up to as_of; at most 50" }),
    not_collected: z
      .array(z.string())
      .meta({ description: "Metrics of the answer that the catalogue does not collect" }),
    open_gaps: z.number().meta({ description: "Periods of time that are still to be read" }),
    lost_gaps: z
      .number()
      .meta({ description: "Periods that can no longer be read, found since the window's start" }),
    samples_read: z
      .number()
      .meta({ description: "Samples that were read from Prometheus since the window's start" }),
    samples_sent: z.number().meta({ description: "How many of these are stored" }),
  })
  .meta({ id: "Completeness" });

export const windowShape = {
  from: timestamp.meta({ description: "The window's start (exclusive)" }),
  to: timestamp.meta({ description: "The window's end (inclusive)" }),
  lookback_seconds: z.number().meta({
    description: "A gauge's value is its newest sample in this many seconds before the described time",
  }),
};

export const headShape = {
  cluster_id: z.string(),
  as_of: timestamp
    .nullable()
    .meta({ description: "The time that the answer describes; null: the window has no stored data" }),
  window: z.object(windowShape),
  completeness,
};

export const exampleCompleteness = {
  complete: true,
  watermark: "2025-06-01T11:58:30.000Z",
  lag_seconds: 112.4,
  collected_since: null,
  cluster_up: true,
  cluster_up_at: "2025-06-01T12:00:01.000Z",
  queries: 11,
  behind: [],
  not_collected: [],
  open_gaps: 0,
  lost_gaps: 0,
  samples_read: 48_120,
  samples_sent: 48_120,
};

export const exampleHead = {
  cluster_id: "edge-1",
  as_of: "2025-06-01T11:58:30.000Z",
  window: {
    from: "2025-06-01T11:43:30.000Z",
    to: "2025-06-01T11:58:30.000Z",
    lookback_seconds: 300,
  },
  completeness: exampleCompleteness,
};
