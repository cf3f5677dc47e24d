import { GPU_STATE_METRICS, type GpuReader } from "./gpus.ts";
import {
  findIssues,
  isKnown,
  recommend,
  type HealthIssue,
  type HealthThresholds,
} from "./health-judgement.ts";
import { NODE_STATE_METRICS, type NodeReader } from "./nodes.ts";
import { POD_RESTART_METRICS } from "./pod-sql.ts";
import type { RestartReader } from "./pods.ts";
import type { OpenFrame, StateHead, StateRequest } from "./answer.ts";
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
  openFrame: OpenFrame;
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
    const frame = await deps.openFrame(request, METRICS, settings.window);
    const { signal } = request;
    const [head, nodes, gpus, restarts] = await Promise.all([
      frame.head(METRICS),
      deps.readNodes(frame, signal),
      deps.readGpus(frame, signal),
      deps.readRestarts(frame, thresholds.podRestarts.warning, signal),
    ]);
    const clusterUp = head.completeness.cluster_up;
    const credentialsLeftMs = frame.credentialsEndMs === null ? null : frame.credentialsEndMs - frame.nowMs;
    const observed = {
      nodes,
      gpus: gpus.map(({ state }) => state),
      restarts,
      clusterUp,
      credentialsLeftMs,
    };
    const issues = findIssues(observed, thresholds);
    const until = request.to === undefined ? frame.nowMs : frame.toMs;
    return {
      ...head,
      status: judge(frame.asOfMs, until, isKnown(nodes), issues, staleAfterMs),
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
  // One GPU that is known to fail is bad enough, whatever else is not known.
  if (issues[0]?.severity === "critical") return "critical";
  if (!known) return "unknown";
  return issues[0]?.severity ?? "healthy";
}
