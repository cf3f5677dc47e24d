import { allGpuIssues, GPU_ADVICE, GPU_ISSUE_METRICS } from "./gpu-issues.ts";
import type { GpuState } from "./gpus.ts";
import type { NodeState, ReadNode } from "./nodes.ts";
import type { RestartedPod } from "./pod-restarts.ts";

/** A value above `warning` is a warning, above `critical` is critical. */
interface Threshold {
  warning: number;
  critical: number;
}

export interface HealthThresholds {
  cpuPercent: Threshold;
  memoryPercent: Threshold;
  /** Of the fullest file system of a node. */
  diskPercent: Threshold;
  /** The one-minute load divided by the CPUs; above it is a warning. */
  loadPerCore: number;
  /** Restarts of one Pod in the window, from this number on. */
  podRestarts: Threshold;
  gpuTemperatureCelsius: Threshold;
}

/** Credentials of the cluster that expire sooner are a warning. */
const CREDENTIALS_DAYS_MIN = 14;

export const SEVERITIES = ["critical", "warning"] as const;
type Severity = (typeof SEVERITIES)[number];

export const ISSUE_METRICS = [
  "cpu_usage_percent",
  "memory_usage_percent",
  "disk_usage_percent",
  "load_per_core",
  "node_ready",
  "node_condition",
  "node_metrics",
  "pod_restarts",
  ...GPU_ISSUE_METRICS,
  "cluster_up",
  "credentials_days_left",
] as const;
type IssueMetric = (typeof ISSUE_METRICS)[number];

export interface HealthIssue {
  severity: Severity;
  metric: IssueMetric;
  /** null: the whole cluster. */
  node: string | null;
  /** The part of the node: a device, a condition, "namespace/pod" or a GPU's UUID. */
  object: string | null;
  value: number | null;
  threshold: number | null;
  message: string;
}

export interface ObservedState {
  nodes: readonly ReadNode[];
  gpus: readonly GpuState[];
  restarts: readonly RestartedPod[];
  clusterUp: boolean | null;
  /** Time until the first of the cluster's credentials expires; null: no expiry is known. */
  credentialsLeftMs: number | null;
}

/** Everything above a threshold, the critical issues first. */
export function findIssues(state: ObservedState, thresholds: HealthThresholds): HealthIssue[] {
  const issues = [
    ...clusterIssues(state.clusterUp),
    ...credentialIssues(state.credentialsLeftMs),
    ...state.nodes.flatMap((node) => nodeIssues(node, thresholds)),
    ...allGpuIssues(state.gpus, thresholds),
    ...state.restarts.flatMap((pod) => restartIssues(pod, thresholds.podRestarts)),
  ];
  return SEVERITIES.flatMap((severity) => issues.filter((issue) => issue.severity === severity));
}

/** Is anything known that shows the cluster's health? */
export function isKnown(nodes: readonly ReadNode[]): boolean {
  return nodes.some(({ state: node }) => node.ready !== null || isMeasured(node));
}

function isMeasured(node: NodeState): boolean {
  return node.cpu_usage_percent !== null || node.memory_usage_percent !== null;
}

const ADVICE: Record<IssueMetric, string> = {
  cpu_usage_percent: "Find the Pods that use the CPU (sort=cpu of /pods), then add nodes or set CPU limits.",
  memory_usage_percent:
    "Find the Pods that use the memory (sort=memory of /pods) before the kernel kills Pods; add memory or nodes.",
  disk_usage_percent:
    "Free space on the named device (images, logs, emptyDir volumes) or enlarge it; kubelet evicts Pods when it is full.",
  load_per_core:
    "More processes run or wait for the disk than the node has CPUs: compare its CPU usage and disk traffic.",
  node_ready:
    "Look at the node's kubelet and network (kubectl describe node); its Pods are moved after five minutes.",
  node_condition: "kubectl describe node explains the condition; kubelet evicts Pods while it lasts.",
  node_metrics: "Check that node_exporter runs on the node and that Prometheus scrapes it.",
  pod_restarts: "kubectl logs --previous and kubectl describe pod show why the containers exit.",
  ...GPU_ADVICE,
  cluster_up:
    "The cluster's Prometheus could not be reached at the last attempt: see last_error of GET /metrics/status of the bridge.",
  credentials_days_left:
    "Give the cluster a new kubeconfig (PATCH /clusters/{id} of the bridge) before its client certificate or token expires.",
};

/** The remedies, one for each kind of issue. */
export function recommend(issues: readonly HealthIssue[]): string[] {
  return [...new Set(issues.map(({ metric }) => ADVICE[metric]))];
}

function clusterIssues(up: boolean | null): HealthIssue[] {
  if (up !== false) return [];
  const message = "the cluster's Prometheus could not be reached at the last attempt";
  return [
    { severity: "warning", metric: "cluster_up", node: null, object: null, value: 0, threshold: 1, message },
  ];
}

const DAY_MS = 86_400_000;

function credentialIssues(leftMs: number | null): HealthIssue[] {
  const threshold = CREDENTIALS_DAYS_MIN;
  if (leftMs === null || leftMs > threshold * DAY_MS) return [];
  const value = leftMs / DAY_MS;
  const message =
    leftMs <= 0
      ? "the cluster's client certificate or token has expired"
      : `the cluster's client certificate or token expires in ${value.toFixed(1)} days`;
  const limit = { value, threshold };
  return [
    { severity: "warning", metric: "credentials_days_left", node: null, object: null, ...limit, message },
  ];
}

function nodeIssues({ state: node, canBeMeasured }: ReadNode, thresholds: HealthThresholds): HealthIssue[] {
  const issues: HealthIssue[] = [];
  const about = { node: node.node, object: null };
  const above = (
    metric: IssueMetric,
    value: number | null,
    limits: Threshold,
    what: string,
    object: string | null = null,
  ): void => {
    const level = levelOf(value, limits, false);
    if (level === undefined || value === null) return;
    const message = `${what} ${value.toFixed(1)} %, above ${level.threshold} %`;
    issues.push({ ...level, metric, node: node.node, object, value, message });
  };
  if (node.ready === false) {
    const message = "the node is not ready";
    issues.push({ severity: "critical", metric: "node_ready", ...about, value: 0, threshold: 1, message });
  }
  for (const { condition, status } of node.problems) {
    const [value, threshold] = status === "true" ? [1, 0] : [0, 1];
    const at = { node: node.node, object: condition, value, threshold };
    issues.push({
      severity: "warning",
      metric: "node_condition",
      ...at,
      message: `${condition} is ${status}`,
    });
  }
  if (canBeMeasured && !isMeasured(node)) {
    const message = "there is no sample of the node's CPU or memory";
    issues.push({
      severity: "warning",
      metric: "node_metrics",
      ...about,
      value: null,
      threshold: null,
      message,
    });
  }
  above("cpu_usage_percent", node.cpu_usage_percent, thresholds.cpuPercent, "CPU usage is");
  above("memory_usage_percent", node.memory_usage_percent, thresholds.memoryPercent, "memory usage is");
  const disk = node.fullest_disk;
  above(
    "disk_usage_percent",
    disk?.usage_percent ?? null,
    thresholds.diskPercent,
    "disk usage is",
    disk?.device,
  );
  const perCore = node.load_1 === null || node.cpu_cores === null ? null : node.load_1 / node.cpu_cores;
  if (perCore !== null && perCore > thresholds.loadPerCore) {
    const message = `load per CPU is ${perCore.toFixed(2)}, above ${thresholds.loadPerCore}`;
    const limit = { value: perCore, threshold: thresholds.loadPerCore };
    issues.push({ severity: "warning", metric: "load_per_core", ...about, ...limit, message });
  }
  return issues;
}

function restartIssues(pod: RestartedPod, limits: Threshold): HealthIssue[] {
  const level = levelOf(pod.restarts, limits, true);
  if (level === undefined) return [];
  const object = `${pod.namespace}/${pod.pod}`;
  const message = `${object} restarted ${pod.restarts} times in the window`;
  const { node } = pod;
  return [{ ...level, metric: "pod_restarts", node, object, value: pod.restarts, message }];
}

/** `inclusive`: the threshold itself counts. */
function levelOf(
  value: number | null,
  limits: Threshold,
  inclusive: boolean,
): { severity: Severity; threshold: number } | undefined {
  if (value === null) return undefined;
  const severity = SEVERITIES.find((each) => value > limits[each] || (inclusive && value === limits[each]));
  return severity === undefined ? undefined : { severity, threshold: limits[severity] };
}
