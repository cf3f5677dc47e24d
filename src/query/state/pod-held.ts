import { isGpuResource } from "#query/gpu-resources.ts";
import { POD_INFO, POD_PHASE, REQUESTS, type Member, type StateRow } from "./rows.ts";
import { chooseMembers } from "./sources.ts";

/** What the Pods of a node hold; null where the cluster has no samples of any request. */
export interface HeldRequests {
  pods: number;
  cpuCores: number | null;
  memoryBytes: number | null;
  /** GPUs and parts of GPUs. */
  gpus: number | null;
}

/** The metrics that `toHeldRequests` needs. */
export const HELD_REQUEST_METRICS = [POD_INFO, POD_PHASE, REQUESTS];

/** The scheduler and the kubelet ignore what such a Pod requests (kube-state-metrics#440, #1051, #1095). */
const FINISHED: ReadonlySet<string> = new Set(["Succeeded", "Failed"]);
const POD = ["namespace", "pod"];

/**
 * Requests that nodes hold at a time, by the node's name in kube-state-metrics, to compare with their allocatable resources: of the Pods that are scheduled and have not
 * finished. A Pod's request is the sum of its containers'; the larger request of an init container is not collected. A node without Pods is not there.
 */
export function toHeldRequests(rows: readonly StateRow[], atMs: number): Map<string, HeldRequests> {
  const choose = (metric: string, identity: readonly string[]): Member[] =>
    chooseMembers(
      rows.filter(({ metric_name }) => metric_name === metric),
      identity,
      atMs,
    );
  const requests = choose(REQUESTS, [...POD, "container", "resource"]);
  const nodeOf = new Map(
    [...requests, ...choose(POD_INFO, POD)].map((member) => [podOf(member), member.own["node"]]),
  );
  const finished = new Set(
    choose(POD_PHASE, POD)
      .filter(({ own }) => FINISHED.has(own["phase"] ?? ""))
      .map(podOf),
  );
  const requestsOf = Map.groupBy(requests, podOf);
  const none = requests.length === 0 ? null : 0;
  const byNode = new Map<string, HeldRequests>();
  for (const [pod, node] of nodeOf) {
    if (node === undefined || node === "" || finished.has(pod)) continue;
    const before = byNode.get(node) ?? { pods: 0, cpuCores: none, memoryBytes: none, gpus: none };
    const own = requestsOf.get(pod) ?? [];
    const add = (held: number | null, is: (resource: string) => boolean): number | null =>
      held === null
        ? null
        : own.reduce(
            (sum, { own: labels, value }) => (is(labels["resource"] ?? "") ? sum + value : sum),
            held,
          );
    byNode.set(node, {
      pods: before.pods + 1,
      cpuCores: add(before.cpuCores, (resource) => resource === "cpu"),
      memoryBytes: add(before.memoryBytes, (resource) => resource === "memory"),
      gpus: add(before.gpus, isGpuResource),
    });
  }
  return byNode;
}

function podOf({ own }: Member): string {
  return `${own["namespace"]}/${own["pod"]}`;
}
