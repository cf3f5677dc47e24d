import { isGpuResource } from "#query/gpu-resources.ts";
import { ownLabelOf } from "./identity.ts";

export const REQUESTS = "kube_pod_container_resource_requests";
export const PHASE = "kube_pod_status_phase";
export const REQUEST_METRICS = [REQUESTS, PHASE];

/** A series of REQUEST_METRICS: its newest sample. */
export interface RequestRow {
  metric: string;
  labels: Readonly<Record<string, string>>;
  latest: number;
  at_ms: string;
}

/**
 * The GPUs, and parts of GPUs, that Pods request, without Pods that finished: kube-state-metrics goes on listing their requests (kube-state-metrics#1051), and the scheduler
 * does not count them. null: kube-state-metrics has no requests. Of several series of one request or phase the newest counts.
 */
export function toRequested(rows: readonly RequestRow[]): number | null {
  const own = (row: RequestRow, ...names: readonly string[]): string =>
    JSON.stringify(names.map((name) => ownLabelOf(row.labels, name, row.metric)));
  const requests = rows.filter(({ metric }) => metric === REQUESTS);
  if (requests.length === 0) return null;
  const finished = new Set(
    rows
      .filter(({ metric, latest }) => metric === PHASE && latest === 1)
      .map((row) => own(row, "namespace", "pod", "uid")),
  );
  const newest = new Map(
    requests
      .filter(({ labels }) => isGpuResource(labels["resource"] ?? ""))
      .filter((row) => !finished.has(own(row, "namespace", "pod", "uid")))
      .toSorted((a, b) => Number(a.at_ms) - Number(b.at_ms))
      .map((row) => [own(row, "namespace", "pod", "container", "resource"), row.latest]),
  );
  return [...newest.values()].reduce((sum, amount) => sum + amount, 0);
}
