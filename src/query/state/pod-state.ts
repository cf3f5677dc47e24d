import { isGpuResource } from "#query/gpu-resources.ts";
import { toTimestamp } from "#query/range.ts";
import { ownLabelOf } from "./identity.ts";
import {
  CPU,
  INFO,
  LIMITS,
  MEMORY,
  PHASE,
  RECEIVED,
  REQUESTS,
  RESTARTS,
  restartsOf,
  toThings,
  TRANSMITTED,
  type PodSeries,
  type PodThing,
} from "./pod-series.ts";

/** A Pod as of the answer's `as_of`; null where nothing is known. */
export interface PodState {
  namespace: string;
  pod: string;
  node: string | null;
  /** "Running", "Pending", "Succeeded", "Failed" or "Unknown". */
  phase: string | null;
  /** Of all its containers since its creation. */
  restarts_total: number | null;
  /** In the window: whole restarts as counted, not extrapolated. */
  restarts: number;
  /** Over the whole window: the rate of its containers' CPU time. */
  cpu_usage_cores: number | null;
  memory_working_set_bytes: number | null;
  /** What it requests and may use; of a Pod that finished what it did. */
  cpu_request_cores: number | null;
  cpu_limit_cores: number | null;
  memory_request_bytes: number | null;
  memory_limit_bytes: number | null;
  /** GPUs, and parts of GPUs, that it requests. */
  gpu_request: number | null;
  /** Over the whole window, of all interfaces but loopback. null for a Pod in its node's network, whose interfaces are the node's. */
  network_receive_bytes_per_second: number | null;
  network_transmit_bytes_per_second: number | null;
  /** The time of the newest sample of the sources whose values count. */
  last_sample: string;
}

export const POD_STATE_METRICS = [
  INFO,
  PHASE,
  RESTARTS,
  REQUESTS,
  LIMITS,
  CPU,
  MEMORY,
  RECEIVED,
  TRANSMITTED,
];

/** What the values of a Pod are computed from. */
export interface PodMeasures {
  key: readonly [namespace: string, pod: string];
  things: readonly PodThing[];
  /** Of the series whose values count. */
  newestMs: number;
  windowFromMs: number;
  /** Older samples are no values of now. */
  sinceMs: number;
}

export function toMeasures(
  key: readonly [namespace: string, pod: string],
  series: readonly PodSeries[],
  times: { windowFromMs: number; sinceMs: number },
): PodMeasures {
  const things = toThings(series);
  // A Pod of which only its pause container is known has no things.
  const known = things.length > 0 ? things : series;
  return { key, things, newestMs: Math.max(...known.map((each) => each.newestMs)), ...times };
}

export function toPodState(pod: PodMeasures): PodState {
  const [namespace, name] = pod.key;
  const request = (metric: string, resource: string) => newest(pod, metric, ({ part }) => part === resource);
  return {
    namespace,
    pod: name,
    node: nodeOf(pod),
    phase: latestOf(pod, PHASE)?.part ?? null,
    restarts_total: newest(pod, RESTARTS),
    restarts: restarts(pod),
    cpu_usage_cores: cpu(pod),
    memory_working_set_bytes: memory(pod),
    cpu_request_cores: request(REQUESTS, "cpu"),
    cpu_limit_cores: request(LIMITS, "cpu"),
    memory_request_bytes: request(REQUESTS, "memory"),
    memory_limit_bytes: request(LIMITS, "memory"),
    gpu_request: gpus(pod),
    network_receive_bytes_per_second: network(pod, RECEIVED),
    network_transmit_bytes_per_second: network(pod, TRANSMITTED),
    last_sample: toTimestamp(pod.newestMs),
  };
}

/**
 * The node that kube-state-metrics names; null: the Pod is not scheduled, or nothing is known. A Pod that is not scheduled has no label `node`: where Prometheus renames labels, a plain
 * `node` of such a Pod is the exporter's.
 */
export function nodeOf(pod: PodMeasures): string | null {
  const info = latestOf(pod, INFO);
  if (info === undefined) return null;
  const { labels } = info;
  const isRenamed = Boolean(labels["exported_namespace"] || labels["exported_pod"]);
  const isWaiting = latestOf(pod, PHASE)?.part === "Pending" && ownLabelOf(labels, "host_ip", INFO) === "";
  if (isRenamed && isWaiting && !labels["exported_node"]) return null;
  return ownLabelOf(labels, "node", INFO) || null;
}

/** Sums of samples near the largest double are infinite, which is no number of an answer; nobody counts that far. */
const RESTARTS_MAX = 1e15;

export function restarts({ things, windowFromMs }: PodMeasures): number {
  const counts = things.filter(({ metric }) => metric === RESTARTS);
  return Math.min(
    RESTARTS_MAX,
    counts.reduce((sum, thing) => sum + restartsOf(thing, windowFromMs), 0),
  );
}

/**
 * The cgroup of the whole Pod (no container) counts only where there are none of its containers: cri-dockerd has no others (kubernetes#111077). An old cAdvisor's series for
 * each CPU count only where there is none for all of them.
 */
function cpu({ things }: PodMeasures): number | null {
  const used = things.filter(({ metric, rate }) => metric === CPU && rate !== null);
  const level = ofContainers(used);
  const total = level.filter(({ part }) => part === "total");
  return sum((total.length > 0 ? total : level).map(({ rate }) => rate!));
}

function memory(pod: PodMeasures): number | null {
  const used = pod.things.filter((thing) => thing.metric === MEMORY && isOfNow(pod, thing));
  return sum(ofContainers(used).map(({ latest }) => latest));
}

function ofContainers(things: readonly PodThing[]): readonly PodThing[] {
  const own = things.filter(({ container }) => container !== "");
  return own.length > 0 ? own : things;
}

const gpus = (pod: PodMeasures): number | null => newest(pod, REQUESTS, ({ part }) => isGpuResource(part));

/** The interfaces that cAdvisor sees of a Pod with hostNetwork are its node's (cadvisor#2615). Old kube-state-metrics do not say so, but that the addresses are the same. */
function network(pod: PodMeasures, metric: string): number | null {
  const info = latestOf(pod, INFO);
  const own = (name: string): string => (info === undefined ? "" : ownLabelOf(info.labels, name, INFO));
  const isHost = own("host_network") === "true" || (own("pod_ip") !== "" && own("pod_ip") === own("host_ip"));
  if (isHost) return null;
  return sum(pod.things.flatMap((thing) => (thing.metric === metric ? (thing.rate ?? []) : [])));
}

/** The sum of the newest values of now; null: there is none. */
function newest(
  pod: PodMeasures,
  metric: string,
  is: (thing: PodThing) => boolean = () => true,
): number | null {
  const now = pod.things.filter((thing) => thing.metric === metric && isOfNow(pod, thing) && is(thing));
  return sum(now.map(({ latest }) => latest));
}

function isOfNow({ sinceMs }: PodMeasures, { newestMs, isEnded }: PodThing): boolean {
  return !isEnded && newestMs > sinceMs;
}

function latestOf(pod: PodMeasures, metric: string): PodThing | undefined {
  return pod.things.find((thing) => thing.metric === metric && isOfNow(pod, thing));
}

function sum(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((total, value) => total + value, 0);
}

export const POD_SORTS = ["name", "cpu", "memory", "restarts", "gpu", "network"] as const;
export type PodSort = (typeof POD_SORTS)[number];

interface Rank {
  /** What the key is computed from. */
  metrics: readonly string[];
  key: (pod: PodMeasures) => number;
}

const CPU_DIGITS = 1e6;
const GPU_DIGITS = 1e3;

const RANKS: Record<Exclude<PodSort, "name">, Rank> = {
  cpu: { metrics: [CPU], key: (pod) => (cpu(pod) ?? 0) * CPU_DIGITS },
  memory: { metrics: [MEMORY], key: (pod) => memory(pod) ?? 0 },
  restarts: { metrics: [RESTARTS], key: restarts },
  gpu: { metrics: [REQUESTS], key: (pod) => (gpus(pod) ?? 0) * GPU_DIGITS },
  network: {
    metrics: [INFO, RECEIVED, TRANSMITTED],
    key: (pod) => (network(pod, RECEIVED) ?? 0) + (network(pod, TRANSMITTED) ?? 0),
  },
};

/** The metrics that decide the order of a sort. */
export function rankMetrics(sort: Exclude<PodSort, "name">): readonly string[] {
  return RANKS[sort].metrics;
}

/** The largest is first. A whole number, so that it is the same on the next page whatever order a sum was made in. */
export function rankOf(pod: PodMeasures, sort: Exclude<PodSort, "name">): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.round(RANKS[sort].key(pod))));
}
