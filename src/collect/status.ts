import type { ErrorBody } from "#errors/error.ts";
import type { CompletenessSummary } from "#lib/completeness.ts";
import type { ReplicaReport } from "#lib/replica-report.ts";
import type { TransportReason } from "#lib/transport-reasons.ts";

/** How one cluster fared in one round. partial: some queries' windows were committed, others not (or points were refused). */
type ClusterOutcome = "successful" | "partial" | "failed" | "skipped";

export interface ClusterResult {
  cluster_id: string;
  cluster_name: string;
  outcome: ClusterOutcome;
  /** Samples acknowledged by the Collector in this round. */
  points: number;
  /** Series read in this round. */
  series: number;
  /** Bytes of the OTLP requests that were acknowledged, as sent (compressed). */
  bytes: number;
  duration_seconds: number;
  error: ErrorBody | null;
}

/** The trigger of a round: a request to the API, Dapr (its cron binding), the program's own timer (SCHEDULER=internal), or the end of another replica. */
export type RoundTrigger = "request" | "dapr" | "ticker" | "takeover";

export interface RoundResult {
  id: string;
  trigger: RoundTrigger;
  /** RFC 3339, UTC. */
  started_at: string;
  /** null while the round runs. */
  finished_at: string | null;
  duration_seconds: number | null;
  total: number;
  successful: number;
  partial: number;
  failed: number;
  skipped: number;
  points: number;
  bytes: number;
  /** Those that are finished so far. */
  clusters: ClusterResult[];
}

/** pending: never collected yet; disabled: `enabled: false`; stale: the watermark is older than three intervals. */
export type ClusterCondition = "healthy" | "partial" | "failing" | "stale" | "pending" | "disabled";

/** A stretch of time of one query that is not stored: open will be read again, lost can't be, refused can't be stored (other points of it are): the Collector or the bridge refused it. */
export interface GapReport {
  query: string;
  from: string;
  to: string;
  state: "open" | "lost" | "refused";
  reason: string;
  /** Only for refused: how many points. */
  points?: number;
}

/** replicas: one of the Pods is read. shards: each shard is read, with a progress of its own. */
export interface PodsReport {
  decision: "replicas" | "shards";
  reason: string;
  decided_at: string;
  /** Empty for replicas. */
  shards: ShardReport[];
}

interface ShardReport {
  shard: number;
  name: string;
  /** The Pod that was read last. */
  pod: string | null;
  watermark: string | null;
  /** Its last collection failed. */
  failing: boolean;
  /** The Service has had no Pod of it since this time. */
  gone_since: string | null;
}

/** How the samples of plain selectors are read; of several shards, the one that knows least. Expressions are read by the query API always. */
export interface SamplesReport {
  transport: "remote_read" | "query_api";
  code: TransportReason;
  reason: string;
  /** What would allow remote read; null: nothing that is known. */
  remedy: string | null;
  since: string;
  /** exact: stale markers are stored, so a series ends where it ended. inferred: a series counts for up to five minutes after its last sample. */
  staleness: "exact" | "inferred";
  /** Queries that are read by the query API for a reason of their own. */
  exceptions: string[];
  /** Of the last finished collection: samples that were read, and stale markers that were stored. */
  samples: { remote_read: number; query_api: number };
  markers: number;
}

export interface ClusterStatus {
  cluster_id: string;
  cluster_name: string;
  platform: string;
  state: ClusterCondition;
  /** The replica that collects it; null: none that is alive. */
  owner: string | null;
  /** Of a cluster of another replica: its round is under way. */
  collecting: boolean;
  /** Everything at or before this time is stored or named in `gaps`; null when nothing was ever committed. */
  watermark: string | null;
  lag_seconds: number | null;
  last_success: string | null;
  /** Of the last collection, if it was not successful. */
  last_error: (ErrorBody & { at: string }) | null;
  /** Of the last finished collection. */
  points: number;
  series: number;
  /** Per group of the catalogue: did the last collection find samples of it? */
  groups: Record<string, "present" | "absent" | "unknown">;
  gaps: GapReport[];
  /** Of the last 24 hours. */
  completeness: CompletenessSummary;
  /** The way to Prometheus: a port-forward, or its URL. */
  transport: "tunnel" | "direct";
  /** The Prometheus Pod that windows are read from; direct: host and path of its URL. */
  prometheus_pod: string | null;
  /** How several Pods behind the Service are read; null while there was one. */
  prometheus_pods: PodsReport | null;
  /** Null before the first collection. */
  samples_by: SamplesReport | null;
  /** Prometheus' clock minus the bridge's. */
  clock_skew_seconds: number | null;
  warnings: string[];
}

export interface CollectionStatus {
  enabled: boolean;
  scheduler: "dapr" | "internal";
  interval_seconds: number;
  current_round: RoundResult | null;
  last_round: RoundResult | null;
  /** The one that answers first. */
  replicas: ReplicaReport[];
  clusters: ClusterStatus[];
  warnings: string[];
}

/** The answer to a call that starts a round. */
export interface RoundStart {
  round: RoundResult;
  /** Ids of enabled clusters that are still busy from an earlier round and were therefore left out. */
  busy: string[];
  /** Settles with the result when every cluster of the round is finished; never rejects. */
  done: Promise<RoundResult>;
}

/** The collection as the HTTP routes and the ticker use it. */
export interface Collection {
  /** Starts a round now. Throws BridgeError `collection_disabled` or `shutting_down`. */
  start(trigger: RoundTrigger): Promise<RoundStart>;
  status(): Promise<CollectionStatus>;
}
