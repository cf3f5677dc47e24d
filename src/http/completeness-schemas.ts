import { z } from "zod";
import {
  SAMPLE_COUNTS,
  STRETCH_KINDS,
  type CompletenessSummary,
  type StretchReport,
} from "#lib/completeness.ts";
import { STRETCH_REASONS, STRETCH_STATES, type StretchReason } from "#lib/stretch-states.ts";
import { ERRORS, type ErrorCode } from "#errors/error.ts";
import type { ClusterCompletenessAnswer } from "#query/cluster-completeness.ts";
import { toTimestamp } from "#query/range.ts";
import { timestamp } from "./schemas.ts";

const codes = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]];

const count = z.int().nonnegative();

const COUNT_TEXTS: Record<(typeof SAMPLE_COUNTS)[number], string> = {
  source: "Samples that Prometheus had when the stretch was last compared",
  read: "Samples that were read",
  acknowledged: "Of these, samples that the Collector acknowledged",
  refused: "Of these, samples that the Collector or the bridge refused",
  late: "Of these, samples that reached Prometheus after the stretch was read",
};

/** An object with a member for each name. */
function membersOf<Name extends string, T extends z.ZodType>(
  names: readonly Name[],
  schema: (name: Name) => T,
): Record<Name, T> {
  return Object.fromEntries(names.map((name) => [name, schema(name)])) as Record<Name, T>;
}

const stretchState = z.enum(STRETCH_STATES).meta({
  description: "The worst first; docs/completeness.md says what to do about each",
});

const totals = z
  .object({
    ...membersOf(SAMPLE_COUNTS, (name) => count.meta({ description: COUNT_TEXTS[name] })),
    stretches: z.object(membersOf(STRETCH_KINDS, () => count)).meta({
      description:
        "How many stretches are in each state. not_comparable: of expressions, which can't be compared; unknown: not reported by the bridge",
    }),
  })
  .meta({ id: "CompletenessTotals", description: "Sums of all queries and stretches" });

const hour = z
  .object({
    from: timestamp.meta({ description: "Start of the hour" }),
    state: stretchState.nullable().meta({
      description:
        "The worst state of all queries; expressions, which can't be compared, count only where there is nothing else. null: nothing is known",
    }),
  })
  .meta({ id: "HourState" });

export const completenessSummary = z
  .object({
    totals,
    hours: z.array(hour).meta({ description: "The oldest first; the last one is not over yet" }),
  })
  .meta({
    id: "CompletenessSummary",
    description: "Of the last 24 hours; GET /metrics/completeness has the queries",
  }) satisfies z.ZodType<CompletenessSummary>;

const reasons = Object.keys(STRETCH_REASONS) as [StretchReason, ...StretchReason[]];

const stretch = z
  .object({
    query: z.string(),
    from: timestamp.meta({ description: "Start, not included" }),
    to: timestamp,
    state: stretchState.nullable().meta({ description: "null: the bridge did not report it" }),
    reason: z
      .enum(reasons)
      .nullable()
      .meta({ description: "Of lost, refused, unproved and open stretches; never renamed" }),
    message: z.string().nullable().meta({ description: "The reason as a sentence" }),
    ...membersOf(SAMPLE_COUNTS, (name) => count.nullable().meta({ description: COUNT_TEXTS[name] })),
    compared_at: timestamp.nullable().meta({
      description: "When it was last compared with Prometheus, by that one's clock; null: never",
    }),
  })
  .meta({ id: "Stretch" });

const EXAMPLE_COUNTS = { source: 3600, read: 3600, acknowledged: 3600, refused: 0, late: 0 };

export const SUMMARY_EXAMPLE = {
  totals: {
    ...EXAMPLE_COUNTS,
    stretches: {
      lost: 0,
      refused: 0,
      unproved: 0,
      open: 0,
      pending: 1,
      proved: 1,
      not_comparable: 0,
      unknown: 0,
    },
  },
  hours: [
    { from: "2025-06-01T11:00:00.000Z", state: "proved" },
    { from: "2025-06-01T12:00:00.000Z", state: "pending" },
  ],
};

const EXAMPLE = {
  cluster_id: "edge-1",
  from: "2025-06-01T11:00:00.000Z",
  to: "2025-06-01T12:00:00.000Z",
  stretch_seconds: 3600,
  totals: {
    ...EXAMPLE_COUNTS,
    stretches: {
      lost: 0,
      refused: 0,
      unproved: 0,
      open: 0,
      pending: 0,
      proved: 1,
      not_comparable: 0,
      unknown: 0,
    },
  },
  hours: [{ from: "2025-06-01T11:00:00.000Z", state: "proved" }],
  stretches: [
    {
      query: "node_load1",
      from: "2025-06-01T11:00:00.000Z",
      to: "2025-06-01T12:00:00.000Z",
      state: "proved",
      reason: null,
      message: null,
      ...EXAMPLE_COUNTS,
      compared_at: "2025-06-01T12:15:30.000Z",
    },
  ],
};

/** What both roles answer about a range. */
const completenessFields = {
  cluster_id: z.string(),
  from: timestamp,
  to: timestamp,
  stretch_seconds: z.number().meta({ description: "Length of a stretch (PROOF_STRETCH)" }),
  totals,
  hours: z.array(hour).meta({ description: "Each hour of the range, the oldest first" }),
  stretches: z.array(stretch).meta({ description: "The oldest first" }),
};

export const completenessAnswer = z
  .object(completenessFields)
  .meta({ id: "CompletenessAnswer", examples: [EXAMPLE] });

const REPORT_EXAMPLE = {
  reported_at: "2025-06-01T12:16:31.000Z",
  last_error: null,
  sources: [{ pod: "prometheus-0", transport: "tunnel_query" }],
  gaps: [],
};

export const clusterCompletenessAnswer = z
  .object({
    ...completenessFields,
    stretch_seconds: z.number().nullable().meta({
      description: "Length of a stretch (PROOF_STRETCH); null: the bridge reported no stretches",
    }),
    reported_at: timestamp.nullable().meta({
      description: "When the bridge reported last, by its clock; null: never. Later changes are not known",
    }),
    last_error: z
      .object({ code: z.enum(codes), cause: z.string(), hint: z.string(), at: timestamp })
      .nullable()
      .meta({
        description:
          "The error that the last collection ended with, as the bridge reported it; null: none is known",
      }),
    sources: z
      .array(z.object({ pod: z.string(), transport: z.string() }))
      .meta({ description: "What was read: Pods, or the host and path of a URL" }),
    gaps: z
      .array(
        z.object({
          query: z.string(),
          state: z.string().meta({ examples: ["open", "lost", "refused"] }),
          reason: z.string(),
          seconds: z.number(),
        }),
      )
      .meta({ description: "Lengths of the gaps of each query, the longest first; at most 1,000" }),
  })
  .meta({ id: "ClusterCompletenessAnswer", examples: [{ ...EXAMPLE, ...REPORT_EXAMPLE }] });

export function toClusterCompletenessAnswer(
  answer: ClusterCompletenessAnswer,
): z.output<typeof clusterCompletenessAnswer> {
  const { lastError, totals: sums, hours, sources, gaps } = answer;
  return {
    cluster_id: answer.clusterId,
    from: toTimestamp(answer.fromMs),
    to: toTimestamp(answer.toMs),
    stretch_seconds: answer.stretchSeconds,
    totals: sums,
    hours,
    stretches: answer.stretches.map((report) => toStretchAnswer(report)),
    reported_at: answer.reportedAtMs === null ? null : toTimestamp(answer.reportedAtMs),
    last_error: lastError && {
      code: lastError.code,
      cause: lastError.cause,
      hint: lastError.hint,
      at: toTimestamp(lastError.atMs),
    },
    sources,
    gaps,
  };
}

/** A stretch as both roles answer it. `detail`: more than the reason says. */
export function toStretchAnswer(
  report: StretchReport,
  detail: string | null = null,
): z.output<typeof stretch> {
  const { query, from, to, state, reason, source, read, acknowledged, refused, late, comparedAt } = report;
  return {
    query,
    from: toTimestamp(from),
    to: toTimestamp(to),
    state,
    reason,
    message: reason === null ? null : (detail ?? STRETCH_REASONS[reason].text),
    source,
    read,
    acknowledged,
    refused,
    late,
    compared_at: comparedAt === null ? null : toTimestamp(comparedAt),
  };
}
