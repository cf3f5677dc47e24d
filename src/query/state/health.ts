import { expectedMetrics, GPU_STATE_METRICS } from "#query/gpu-metrics.ts";
import type { GpuReader } from "./gpus.ts";
import {
  findIssues,
  isKnown,
  recommend,
  type HealthIssue,
  type HealthThresholds,
} from "./health-judgement.ts";
import { NODE_STATE_METRICS, type NodeReader } from "./nodes.ts";
import { POD_RESTART_METRICS, type RestartReader } from "./pod-restarts.ts";
import type { CreateContext, StateHead, StateRequest } from "./context.ts";
import type { WindowRules } from "./window.ts";

export const HEALTH_STATUSES = ["healthy", "warning", "critical", "unknown", "stale"] as const;

export interface HealthAnswer extends StateHead {
  /**
   * unknown: no node's state is stored, and nothing critical. stale: what is stored is older than `stale_after_seconds` before the window's end; issues are then
   * the last ones that are known. Else the severest issue, or healthy.
   */
  status: (typeof HEALTH_STATUSES)[number];
  stale_after_seconds: number;
  node_count: number;
  issue_count: number;
  /** The critical first; at most 200. */
  issues: HealthIssue[];
  recommendations: string[];
}

export type Health = (request: StateRequest) => Promise<HealthAnswer>;

interface HealthDeps {
  createContext: CreateContext;
  readNodes: NodeReader;
  readGpus: GpuReader;
  readRestarts: RestartReader;
}

const METRICS = [...new Set([...NODE_STATE_METRICS, ...POD_RESTART_METRICS, ...GPU_STATE_METRICS])];
const ISSUES_MAX = 200;

export function createHealth(
  deps: HealthDeps,
  settings: { thresholds: HealthThresholds; staleAfterMs: number; window: WindowRules },
): Health {
  const { thresholds, staleAfterMs } = settings;
  return async (request) => {
    const context = await deps.createContext(request, METRICS, settings.window);
    const { signal } = request;
    const [head, nodes, { found: gpus }, restarts] = await Promise.all([
      context.head(expectedMetrics(METRICS, (metric) => context.collects(metric))),
      deps.readNodes(context, signal),
      deps.readGpus(context, { withRequests: false }, signal),
      deps.readRestarts(context, thresholds.podRestarts.warning, signal),
    ]);
    const clusterUp = head.completeness.cluster_up;
    const credentialsLeftMs =
      context.credentialsExpireMs === null ? null : context.credentialsExpireMs - context.nowMs;
    const observed = {
      nodes,
      gpus: gpus.map(({ state }) => state),
      restarts,
      clusterUp,
      credentialsLeftMs,
    };
    const issues = findIssues(observed, thresholds);
    const until = request.toMs === undefined ? context.nowMs : context.toMs;
    return {
      ...head,
      status: judge(context.asOfMs, until, isKnown(nodes), issues, staleAfterMs),
      stale_after_seconds: staleAfterMs / 1000,
      node_count: nodes.length,
      issue_count: issues.length,
      issues: issues.slice(0, ISSUES_MAX),
      recommendations: recommend(issues),
    };
  };
}

function judge(
  asOfMs: number | null,
  untilMs: number,
  known: boolean,
  issues: readonly HealthIssue[],
  staleAfterMs: number,
): HealthAnswer["status"] {
  if (asOfMs === null) return "unknown";
  if (untilMs - asOfMs > staleAfterMs) return "stale";
  // A critical issue is certain, even if the rest of the state is unknown.
  if (issues[0]?.severity === "critical") return "critical";
  if (!known) return "unknown";
  return issues[0]?.severity ?? "healthy";
}
