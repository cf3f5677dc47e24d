import { z } from "zod";
import type { ReplicaReport } from "#lib/replica-report.ts";
import type {
  ClusterResult,
  ClusterStatus,
  CollectionStatus,
  GapReport,
  PodsReport,
  RoundResult,
  SamplesReport,
} from "#collect/status.ts";
import { TRANSPORT_REASONS, type TransportReason } from "#lib/transport-reasons.ts";
import { completenessSummary, SUMMARY_EXAMPLE } from "./completeness-schemas.ts";
import { errorBody, recordOf, timestamp } from "./schemas.ts";

const count = z.int().nonnegative();
const seconds = z.number();

export const clusterResult = z
  .object({
    cluster_id: z.string(),
    cluster_name: z.string(),
    outcome: z.enum(["successful", "partial", "failed", "skipped"]),
    points: count.meta({ description: "Samples that the Collector acknowledged in this round" }),
    series: count.meta({ description: "Series read in this round" }),
    bytes: count.meta({ description: "Bytes of the acknowledged OTLP requests, as sent" }),
    duration_seconds: seconds,
    error: errorBody.nullable(),
  })
  .meta({ id: "ClusterResult" }) satisfies z.ZodType<ClusterResult>;

const roundExample = {
  id: "2f0c6d1e",
  trigger: "request",
  started_at: "2025-06-01T12:00:00.000Z",
  finished_at: null,
  duration_seconds: null,
  total: 3,
  successful: 1,
  partial: 0,
  failed: 0,
  skipped: 0,
  points: 18250,
  bytes: 96412,
  clusters: [
    {
      cluster_id: "edge-1",
      cluster_name: "Edge 1",
      outcome: "successful",
      points: 18250,
      series: 1825,
      bytes: 96412,
      duration_seconds: 1.8,
      error: null,
    },
  ],
};

export const roundResult = z
  .object({
    id: z.string(),
    trigger: z.enum(["request", "dapr", "ticker", "takeover"]).meta({
      description:
        "request: a caller of the API; dapr: Dapr's cron binding; ticker: the program itself; takeover: another replica died or ended, and its clusters are collected at once",
    }),
    started_at: timestamp,
    finished_at: timestamp.nullable().meta({ description: "null while the round runs" }),
    duration_seconds: seconds.nullable(),
    total: count,
    successful: count,
    partial: count,
    failed: count,
    skipped: count,
    points: count,
    bytes: count,
    clusters: z.array(clusterResult).meta({ description: "The clusters that are finished so far" }),
  })
  .meta({ id: "RoundResult", examples: [roundExample] }) satisfies z.ZodType<RoundResult>;

const gapReport = z
  .object({
    query: z.string(),
    from: timestamp,
    to: timestamp,
    state: z.enum(["open", "lost", "refused"]).meta({
      description:
        "open: will be read again; lost: Prometheus no longer has it; refused: the Collector refused it, or it can never be stored",
    }),
    reason: z.string(),
    points: count.exactOptional().meta({ description: "Only for refused: the number of points" }),
  })
  .meta({ id: "Gap" }) satisfies z.ZodType<GapReport>;

const podsReport = z
  .object({
    decision: z.enum(["replicas", "shards"]).meta({
      description:
        "replicas: one of the Pods is read; shards: each shard is read, with a progress of its own",
    }),
    reason: z.string(),
    decided_at: timestamp,
    shards: z
      .array(
        z.object({
          shard: count,
          name: z.string(),
          pod: z.string().nullable().meta({ description: "The Pod that was read last" }),
          watermark: timestamp.nullable(),
          failing: z.boolean().meta({ description: "Whether its last collection failed" }),
          gone_since: timestamp.nullable().meta({ description: "Since when the Service has no Pod of it" }),
        }),
      )
      .meta({ description: "Empty for replicas; up to 8 KiB are shown" }),
  })
  .meta({ id: "PrometheusPods" }) satisfies z.ZodType<PodsReport>;

const samplesReport = z
  .object({
    transport: z.enum(["remote_read", "query_api"]).meta({
      description: "Of plain selectors; expressions are read by the query API always",
    }),
    code: z.enum(Object.keys(TRANSPORT_REASONS) as [TransportReason, ...TransportReason[]]),
    reason: z.string(),
    remedy: z.string().nullable().meta({ description: "What would allow remote read, if that is known" }),
    since: timestamp,
    staleness: z.enum(["exact", "inferred"]).meta({
      description:
        "exact: stale markers are stored, so a series ends where it ended; inferred: a series counts for up to five minutes after its last sample",
    }),
    exceptions: z.array(z.string()).meta({
      description:
        "Queries that are read by the query API although the others are not; up to 2 KiB are shown",
    }),
    samples: z.object({ remote_read: count, query_api: count }).meta({
      description: "Samples that the last finished collection read, by what it read them with",
    }),
    markers: count.meta({ description: "Stale markers that the last finished collection stored" }),
  })
  .meta({ id: "SamplesBy" }) satisfies z.ZodType<SamplesReport>;

const clusterStatus = z
  .object({
    cluster_id: z.string(),
    cluster_name: z.string(),
    platform: z.string(),
    state: z.enum(["healthy", "partial", "failing", "stale", "pending", "disabled"]),
    owner: z
      .string()
      .nullable()
      .meta({ description: "The replica that collects it; null: none that is alive" }),
    collecting: z.boolean().meta({
      description: "Of a cluster of another replica: that replica's round is under way",
    }),
    watermark: timestamp.nullable().meta({
      description: "Every sample up to this time is stored or recorded in gaps; null before the first commit",
    }),
    lag_seconds: seconds.nullable(),
    last_success: timestamp.nullable(),
    last_error: errorBody.extend({ at: timestamp }).nullable(),
    points: count,
    series: count,
    groups: recordOf(z.enum(["present", "absent", "unknown"])),
    gaps: z.array(gapReport),
    completeness: completenessSummary,
    transport: z.enum(["tunnel", "direct"]).meta({
      description: "tunnel: a port-forward to a Pod; direct: prometheus.url",
    }),
    prometheus_pod: z.string().nullable().meta({
      description: "The Pod that windows are read from; for transport direct, host and path of the URL",
    }),
    prometheus_pods: podsReport
      .nullable()
      .meta({ description: "How several Pods behind the Service are read; null while there was one" }),
    samples_by: samplesReport
      .nullable()
      .meta({ description: "How samples are read, and why; null before the first collection" }),
    clock_skew_seconds: seconds.nullable().meta({ description: "Prometheus' clock minus the bridge's" }),
    warnings: z.array(z.string()),
  })
  .meta({ id: "ClusterStatus" }) satisfies z.ZodType<ClusterStatus>;

const replicaReport = z
  .object({
    name: z.string().meta({ description: "REPLICA_NAME" }),
    version: z.string(),
    alive: z.boolean().meta({
      description:
        "false: it ended, or did not renew its record in the state store; such a replica is shown for an hour",
    }),
    collects: z.boolean().meta({ description: "Its METRICS_COLLECTION_ENABLED" }),
    started_at: timestamp,
    age_seconds: count,
    clusters: count.meta({ description: "Clusters that it owns" }),
  })
  .meta({ id: "Replica" }) satisfies z.ZodType<ReplicaReport>;

const statusExample = {
  enabled: true,
  scheduler: "dapr",
  interval_seconds: 300,
  current_round: null,
  last_round: { ...roundExample, finished_at: "2025-06-01T12:00:02.000Z", duration_seconds: 2, total: 1 },
  replicas: [
    {
      name: "budcluster-5d9c7b7c4-x2x9l",
      version: "0.1.0",
      alive: true,
      collects: true,
      started_at: "2025-06-01T09:00:00.000Z",
      age_seconds: 10_802,
      clusters: 1,
    },
  ],
  clusters: [
    {
      cluster_id: "edge-1",
      cluster_name: "Edge 1",
      platform: "eks",
      state: "healthy",
      owner: "budcluster-5d9c7b7c4-x2x9l",
      collecting: false,
      watermark: "2025-06-01T11:58:30.000Z",
      lag_seconds: 92,
      last_success: "2025-06-01T12:00:02.000Z",
      last_error: null,
      points: 18250,
      series: 1825,
      groups: { node: "present", pod: "present", gpu: "absent" },
      gaps: [],
      completeness: SUMMARY_EXAMPLE,
      transport: "tunnel",
      prometheus_pod: "prometheus-0",
      prometheus_pods: null,
      samples_by: {
        transport: "remote_read",
        code: "remote_read_answers",
        reason: TRANSPORT_REASONS.remote_read_answers.text,
        remedy: null,
        since: "2025-05-31T18:00:00.000Z",
        staleness: "exact",
        exceptions: [],
        samples: { remote_read: 18250, query_api: 0 },
        markers: 12,
      },
      clock_skew_seconds: 0.1,
      warnings: [],
    },
  ],
  warnings: [],
};

export const collectionStatus = z
  .object({
    enabled: z.boolean().meta({ description: "METRICS_COLLECTION_ENABLED" }),
    scheduler: z.enum(["dapr", "internal"]),
    interval_seconds: seconds,
    current_round: roundResult.nullable(),
    last_round: roundResult.nullable(),
    replicas: z.array(replicaReport).meta({ description: "The one that answers first" }),
    clusters: z.array(clusterStatus),
    warnings: z.array(z.string()),
  })
  .meta({ id: "CollectionStatus", examples: [statusExample] }) satisfies z.ZodType<CollectionStatus>;

const busy = z.array(z.string()).meta({
  description: "Ids of clusters that this round skips because an earlier round is still collecting them",
});

const startExample = { status: "started", round: roundExample, busy: ["edge-3"] };

/** What POST /metrics/collect-all answers. */
export const collectAnswer = z
  .discriminatedUnion("status", [
    z.object({ status: z.literal("started"), round: roundResult, busy }),
    z.object({ status: z.literal("finished"), round: roundResult, busy }),
    z.object({ status: z.literal("disabled"), message: z.string(), hint: z.string() }),
  ])
  .meta({ id: "CollectAnswer", examples: [startExample] });
