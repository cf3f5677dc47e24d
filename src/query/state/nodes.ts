import { NODE_METRICS, NODE_ROW_METRICS, readNodeGrids, type NodeGrids } from "./node-grids.ts";
import { cpuShare, deviceShare, diskShare, load, memoryShare, percent } from "./node-values.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import {
  ALLOCATABLE,
  NODE_CONDITION,
  POD_INFO,
  RECEIVED,
  TRANSMITTED,
  type Member,
  type StateRow,
  type StateRowReader,
} from "./rows.ts";
import { canBeMeasured, findProblems, type NodeCondition } from "./node-conditions.ts";
import { HELD_REQUEST_METRICS, toHeldRequests, type HeldRequests } from "./pod-held.ts";
import { chooseMembers } from "./sources.ts";
import { isGpuResource } from "#query/gpu-resources.ts";
import { toTimestamp } from "#query/range.ts";
import type { WindowRules } from "./window.ts";

/** A node as of the answer's `as_of`; null where nothing is known. */
export interface NodeState {
  node: string;
  /** Kubernetes' condition Ready; null when kube-state-metrics does not have it. */
  ready: boolean | null;
  /** Conditions that are problems: "MemoryPressure" when it is true, "StorageReady" when it is false. */
  conditions: string[];
  /** The same with their status. */
  problems: { condition: string; status: "true" | "false" }[];
  cpu_cores: number | null;
  /** Over the whole window: the rate of all CPU time but mode idle. */
  cpu_usage_percent: number | null;
  memory_total_bytes: number | null;
  memory_used_bytes: number | null;
  memory_usage_percent: number | null;
  /** Real file systems, each device once. */
  disk_total_bytes: number | null;
  disk_used_bytes: number | null;
  disk_usage_percent: number | null;
  /** The fullest of them. */
  fullest_disk: { device: string; usage_percent: number } | null;
  load_1: number | null;
  load_5: number | null;
  load_15: number | null;
  pod_count: number | null;
  /** Bytes a second over the whole window, of all physical interfaces. */
  network_receive_bytes_per_second: number | null;
  network_transmit_bytes_per_second: number | null;
  /** What Pods may request. */
  cpu_allocatable_cores: number | null;
  memory_allocatable_bytes: number | null;
  /** What its Pods that have not finished request, and in % of what they may. */
  cpu_request_cores: number | null;
  cpu_request_percent: number | null;
  memory_request_bytes: number | null;
  memory_request_percent: number | null;
  /** GPUs and parts of GPUs that Pods may request, and that they do. */
  gpu_allocatable: number | null;
  gpu_request: number | null;
  /** Time of the newest sample of what is measured on the node; null: none. */
  last_sample: string | null;
  /** Time of the newest sample of what Kubernetes says about it: conditions, or that it is listed. */
  state_last_sample: string | null;
}

/** A node, and what else its health is judged by. */
export interface ReadNode {
  state: NodeState;
  /** node_exporter may run on it. */
  canBeMeasured: boolean;
}

export interface NodesAnswer extends StateHead {
  node_count: number;
  /** Sorted by name. */
  nodes: NodeState[];
}

export type Nodes = (request: StateRequest) => Promise<NodesAnswer>;

export type NodeReader = (context: StateContext, signal: AbortSignal | undefined) => Promise<ReadNode[]>;

export const NODE_STATE_METRICS = [...NODE_METRICS, NODE_CONDITION, POD_INFO];
/** What the answer about nodes has beside their health. */
const NODE_MORE_METRICS = [RECEIVED, TRANSMITTED, ALLOCATABLE, ...HELD_REQUEST_METRICS];
const METRICS = [...new Set([...NODE_STATE_METRICS, ...NODE_MORE_METRICS])];

export function createNodes(
  deps: { createContext: CreateContext; readNodes: NodeReader },
  settings: { window: WindowRules },
): Nodes {
  return async (request) => {
    const context = await deps.createContext(request, METRICS, settings.window);
    const [head, nodes] = await Promise.all([context.head(METRICS), deps.readNodes(context, request.signal)]);
    return { ...head, node_count: nodes.length, nodes: nodes.map(({ state }) => state) };
  };
}

/** Nodes that still have samples at `as_of`, or had CPU time in the window while Kubernetes still lists them. */
export function createNodeReader(
  readRows: StateRowReader,
  settings: { lookbackMs: number; of: "health" | "nodes" },
): NodeReader {
  const { lookbackMs, of: purpose } = settings;
  const more = purpose === "nodes" ? NODE_MORE_METRICS : [];
  const metrics = [...new Set([...NODE_ROW_METRICS, NODE_CONDITION, POD_INFO, ...more])];
  return async (context, signal) => {
    const { asOfMs, clusterId, fromMs } = context;
    if (asOfMs === null) return [];
    const grid = {
      firstMs: asOfMs,
      lastMs: asOfMs,
      stepMs: 1000,
      lookbackMs,
      rateWindowMs: Math.max(lookbackMs, Math.round((asOfMs - fromMs) / 1000) * 1000),
    };
    const [rows] = await Promise.all([readRows(clusterId, grid, metrics, signal), context.nodeAddresses()]);
    const kube = toKubeState(rows, asOfMs);
    const nodes = await readNodeGrids(rows, context);
    return nodes
      .filter((node) => isPresent(node, kube.conditionsOf.has(node.node)))
      .map((node) => ({
        state: toNodeState(node, kube),
        canBeMeasured: canBeMeasured(node.node, node.info),
      }));
  };
}

/** What kube-state-metrics says, by node. */
interface KubeState {
  conditionsOf: ReadonlyMap<string, (NodeCondition & { newestMs: number })[]>;
  problemsOf: ReadonlyMap<string, NodeCondition[]>;
  /** undefined: Pods are not collected. */
  podsOf: ReadonlyMap<string | undefined, readonly Member[]> | undefined;
  allocatableOf: ReadonlyMap<string | undefined, readonly Member[]>;
  heldOf: ReadonlyMap<string, HeldRequests>;
}

function toKubeState(rows: readonly StateRow[], atMs: number): KubeState {
  const choose = (metric: string, identity: readonly string[]): Member[] =>
    chooseMembers(
      rows.filter(({ metric_name }) => metric_name === metric),
      identity,
      atMs,
    );
  const conditions = choose(NODE_CONDITION, ["node", "condition"]).map(
    ({ own: { node = "", condition = "", status = "" }, newestMs }) => ({
      node,
      condition,
      status,
      newestMs,
    }),
  );
  const pods = choose(POD_INFO, ["namespace", "pod"]);
  const byNode = (members: readonly Member[]) => Map.groupBy(members, ({ own }) => own["node"]);
  return {
    conditionsOf: Map.groupBy(conditions, ({ node }) => node),
    problemsOf: Map.groupBy(
      findProblems(conditions.filter(({ condition }) => condition !== "Ready")),
      ({ node }) => node,
    ),
    // A Pod's node is in its series only once it is scheduled.
    podsOf: pods.length === 0 ? undefined : byNode(pods),
    allocatableOf: byNode(choose(ALLOCATABLE, ["node", "resource"])),
    heldOf: toHeldRequests(rows, atMs),
  };
}

function isPresent(node: NodeGrids, hasConditions: boolean): boolean {
  return (
    hasConditions ||
    (node.listed[0] ?? null) !== null ||
    node.cpus > 0 ||
    memoryShare(node, 0) !== null ||
    load(node, 1, 0) !== null
  );
}

function toNodeState(node: NodeGrids, kube: KubeState): NodeState {
  const memory = memoryShare(node, 0);
  const disk = diskShare(node, 0);
  const conditions = kube.conditionsOf.get(node.node) ?? [];
  const ready = conditions.find(({ condition }) => condition === "Ready");
  const problems = (kube.problemsOf.get(node.node) ?? [])
    .map(({ condition, status }) => ({
      condition,
      status: status === "true" ? ("true" as const) : ("false" as const),
    }))
    .sort((a, b) => (a.condition < b.condition ? -1 : 1));
  const allocatable = (resource: string): number | null =>
    kube.allocatableOf.get(node.node)?.find(({ own }) => own["resource"] === resource)?.value ?? null;
  // A node without Pods holds nothing, where requests are known.
  const none = [...kube.heldOf.values()].some(({ cpuCores }) => cpuCores !== null) ? 0 : null;
  const held = kube.heldOf.get(node.node) ?? { cpuCores: none, memoryBytes: none, gpus: none };
  const stateMs = Math.max(node.listedMs, ...conditions.map(({ newestMs }) => newestMs));
  return {
    node: node.node,
    ready: ready === undefined ? null : ready.status === "true",
    conditions: problems.map(({ condition }) => condition),
    problems,
    cpu_cores: node.cpus === 0 ? null : node.cpus,
    cpu_usage_percent: percent(cpuShare(node, 0)),
    memory_total_bytes: memory?.total ?? null,
    memory_used_bytes: memory?.used ?? null,
    memory_usage_percent: percent(memory),
    disk_total_bytes: disk?.total ?? null,
    disk_used_bytes: disk?.used ?? null,
    disk_usage_percent: percent(disk),
    fullest_disk: fullestOf(node),
    load_1: load(node, 1, 0),
    load_5: load(node, 5, 0),
    load_15: load(node, 15, 0),
    pod_count: kube.podsOf === undefined ? null : (kube.podsOf.get(node.node)?.length ?? 0),
    network_receive_bytes_per_second: node.received[0] ?? null,
    network_transmit_bytes_per_second: node.transmitted[0] ?? null,
    cpu_allocatable_cores: allocatable("cpu"),
    memory_allocatable_bytes: allocatable("memory"),
    cpu_request_cores: held.cpuCores,
    cpu_request_percent: share(held.cpuCores, allocatable("cpu")),
    memory_request_bytes: held.memoryBytes,
    memory_request_percent: share(held.memoryBytes, allocatable("memory")),
    gpu_allocatable: gpusOf(kube.allocatableOf.get(node.node)),
    gpu_request: held.gpus,
    last_sample: node.newestMs === 0 ? null : toTimestamp(node.newestMs),
    state_last_sample: stateMs === 0 ? null : toTimestamp(stateMs),
  };
}

function gpusOf(allocatable: readonly Member[] | undefined): number | null {
  if (allocatable === undefined) return null;
  return allocatable
    .filter(({ own }) => isGpuResource(own["resource"] ?? ""))
    .reduce((sum, { value }) => sum + value, 0);
}

function share(used: number | null, total: number | null): number | null {
  return used === null || total === null ? null : percent({ used, total });
}

function fullestOf(node: NodeGrids): NodeState["fullest_disk"] {
  let fullest: NodeState["fullest_disk"] = null;
  for (const device of node.devices) {
    const usage = percent(deviceShare(device, 0));
    if (usage !== null && (fullest === null || usage > fullest.usage_percent)) {
      fullest = { device: device.device, usage_percent: usage };
    }
  }
  return fullest;
}
