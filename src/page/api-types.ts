// The parts of the API's answers that the page reads; test/page/api-types.test.ts compares them with the server's schemas.

export type HourState = "lost" | "refused" | "unproved" | "open" | "pending" | "proved";

export interface Hour {
  from: string;
  state: HourState | null;
}

export interface Totals {
  source: number;
  read: number;
  acknowledged: number;
  refused: number;
  late: number;
  stretches: Record<HourState | "not_comparable" | "unknown", number>;
}

interface ErrorBody {
  code: string;
  message: string;
  hint: string;
}

export interface Gap {
  query: string;
  from: string;
  to: string;
  state: "open" | "lost" | "refused";
  reason: string;
  points?: number;
}

export interface ClusterStatus {
  cluster_id: string;
  cluster_name: string;
  platform: string;
  state: "healthy" | "partial" | "failing" | "stale" | "pending" | "disabled";
  collecting: boolean;
  watermark: string | null;
  lag_seconds: number | null;
  last_success: string | null;
  last_error: (ErrorBody & { at: string }) | null;
  points: number;
  series: number;
  gaps: Gap[];
  completeness: { totals: Totals; hours: Hour[] };
  transport: "tunnel" | "direct";
  prometheus_pod: string | null;
  prometheus_pods: { decision: "replicas" | "shards"; reason: string } | null;
  clock_skew_seconds: number | null;
  warnings: string[];
}

/** Of an event; in the status it has the finished clusters too. */
export interface LiveRound {
  id: string;
  started_at: string;
  finished_at: string | null;
  duration_seconds: number | null;
  total: number;
  successful: number;
  partial: number;
  failed: number;
  skipped: number;
  points: number;
}

interface ClusterResult {
  cluster_id: string;
  outcome: "successful" | "partial" | "failed" | "skipped";
  points: number;
  duration_seconds: number;
  error: ErrorBody | null;
}

interface Round extends LiveRound {
  clusters: ClusterResult[];
}

/** One cluster of a round, in the events of GET /metrics/events. */
export interface LiveCluster {
  cluster_id: string;
  round: string;
  state: "waiting" | "connecting" | "reading" | "finished";
  started_at: string | null;
  progress: {
    queries: number;
    queries_done: number;
    windows: number;
    points: number;
    series: number;
    reading: { query: string; from: string; to: string }[];
  } | null;
  result: ClusterResult | null;
}

/** The data of each of these events has some of the parts. */
export interface LiveEvent {
  round?: LiveRound;
  rounds?: LiveRound[];
  clusters?: LiveCluster[];
}

export interface CollectionStatus {
  enabled: boolean;
  interval_seconds: number;
  current_round: Round | null;
  last_round: Round | null;
  clusters: ClusterStatus[];
  warnings: string[];
}

/** What every state answer begins with. */
export interface StateHead {
  cluster_id: string;
  as_of: string | null;
  window: { from: string; to: string };
  completeness: {
    complete: boolean;
    watermark: string | null;
    lag_seconds: number | null;
    collected_since: string | null;
    open_gaps: number;
    lost_gaps: number;
    behind: { query: string; watermark: string }[];
    not_collected: string[];
  };
}

export interface HealthIssue {
  severity: "critical" | "warning";
  metric: string;
  node: string | null;
  object: string | null;
  value: number | null;
  threshold: number | null;
  message: string;
}

export interface Health extends StateHead {
  status: "healthy" | "warning" | "critical" | "unknown" | "stale";
  stale_after_seconds: number;
  issue_count: number;
  issues: HealthIssue[];
  recommendations: string[];
}

export interface NodeState {
  node: string;
  ready: boolean | null;
  conditions: string[];
  cpu_cores: number | null;
  cpu_usage_percent: number | null;
  memory_total_bytes: number | null;
  memory_used_bytes: number | null;
  memory_usage_percent: number | null;
  disk_usage_percent: number | null;
  fullest_disk: { device: string; usage_percent: number } | null;
  load_1: number | null;
  pod_count: number | null;
}

export interface Nodes extends StateHead {
  node_count: number;
  nodes: NodeState[];
}

export interface PodState {
  namespace: string;
  pod: string;
  node: string | null;
  phase: string | null;
  restarts: number;
  restarts_total: number | null;
  cpu_usage_cores: number | null;
  cpu_request_cores: number | null;
  memory_working_set_bytes: number | null;
  memory_request_bytes: number | null;
  gpu_request: number | null;
}

export interface Pods extends StateHead {
  pod_count: number;
  pods: PodState[];
  next_cursor: string | null;
}

export type GpuUse = "in_use" | "idle_held" | "allocated" | "unattributed" | "free";

export interface GpuState {
  uuid: string;
  gpu: string;
  mig_instance: string | null;
  node: string;
  model: string;
  pods: { namespace: string; pod: string; container: string }[];
  use: GpuUse | null;
  utilization_percent: number | null;
  /** The metric of it. */
  utilization_source: string | null;
  memory_used_mib: number | null;
  memory_total_mib: number | null;
  temperature_celsius: number | null;
  power_watts: number | null;
  xid: { code: number; description: string | null; action: string; is_new: boolean; since: string } | null;
  last_sample: string;
}

export interface Gpus extends StateHead {
  gpu_count: number;
  uses: Record<GpuUse | "unknown", number>;
  gpus: GpuState[];
}

/** JSON has no number for these. */
export type SampleValue = number | "NaN" | "+Inf" | "-Inf";

export interface Series {
  labels: Record<string, string>;
  points: { timestamp: string; value: SampleValue }[];
}

export interface QueryAnswer {
  cluster_id: string;
  metric_name: string;
  type: "gauge" | "counter" | "sum";
  unit: string;
  step_seconds: number;
  window_seconds: number;
  promql: string;
  first_point: string;
  last_point: string;
  as_of: string | null;
  storage: "raw" | "hours";
  completeness: StateHead["completeness"] | null;
  series_total: number;
  series: Series[];
}

export interface StoredMetrics {
  metrics: {
    metric_name: string;
    type: "gauge" | "counter" | "sum";
    unit: string;
    series: number;
    last_sample: string;
  }[];
}

export interface Labels {
  series: number;
  labels: { label: string; series: number; values_total: number; values: string[] }[];
}

export interface Stretch {
  query: string;
  from: string;
  to: string;
  state: HourState | null;
  reason: string | null;
  message: string | null;
  source: number | null;
  read: number | null;
  acknowledged: number | null;
  refused: number | null;
  late: number | null;
  compared_at: string | null;
}

/** Of GET /metrics/completeness and of GET /cluster-metrics/{id}/completeness. */
export interface Completeness {
  cluster_id: string;
  from: string;
  to: string;
  totals: Totals;
  hours: Hour[];
  stretches: Stretch[];
}

/** Of GET /cluster-metrics/{id}/completeness. */
export interface ReportedCompleteness extends Completeness {
  reported_at: string | null;
  sources: { pod: string; transport: string }[];
  gaps: { query: string; state: string; reason: string; seconds: number }[];
  last_error: { code: string; cause: string; hint: string; at: string } | null;
}

/** Of GET /cluster-metrics. */
export interface ListedCluster {
  cluster_id: string;
  name: string | null;
  last_sample: string;
  as_of: string | null;
  up: boolean | null;
}

export interface Xid {
  code: number;
  description: string | null;
  action: string;
  count: number;
  last: string;
}

export interface UsageTotals {
  gpus: number;
  gpu_hours: number;
  held_gpu_hours: number;
  active_gpu_hours: number | null;
  idle_held_gpu_hours: number | null;
  energy_kwh: number | null;
  throttled_gpu_hours: number;
  hot_gpu_hours: number;
  xids: Xid[];
}

export interface GpuUsage extends UsageTotals {
  cluster_id: string;
  namespace: string | null;
  pod: string | null;
  node: string | null;
}

/** Of GET /cluster-metrics/gpus/usage. */
export interface FleetUsage {
  clusters: {
    cluster_id: string;
    name: string | null;
    as_of: string | null;
    complete: boolean;
    total: UsageTotals;
  }[];
  usage: GpuUsage[];
}

export interface DiagnosisStep {
  step: string;
  title: string;
  status: "passed" | "warning" | "failed" | "skipped";
  duration_ms: number;
  message: string;
  hint?: string;
}

export interface DiagnosisSteps {
  steps: Pick<DiagnosisStep, "step" | "title">[];
}

export interface Diagnosis {
  cluster_id: string;
  status: "passed" | "warning" | "failed";
  started_at: string;
  duration_ms: number;
  steps: DiagnosisStep[];
}

export interface Whoami {
  name: string;
  access: "tokens" | "loopback" | "off";
  scopes: ("read" | "collect" | "admin")[];
  /** Null: all. */
  clusters: string[] | null;
}
