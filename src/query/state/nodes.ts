import { NODE_METRICS, NODE_ROW_METRICS, toNodeGrids, type NodeGrids } from "./node-grids.ts";
import { cpuShare, deviceShare, diskShare, load, memoryShare, percent } from "./node-values.ts";
import type { StateContext, CreateContext, StateHead, StateRequest } from "./context.ts";
import { NODE_CONDITION, POD_INFO, type StateRow, type StateRowReader } from "./rows.ts";
import type { WindowRules } from "./window.ts";

/** A node as of the answer's `as_of`; null where nothing is known. */
export interface NodeState {
  node: string;
  /** Kubernetes' condition Ready; null when kube-state-metrics does not have it. */
  ready: boolean | null;
  /** Problem conditions that are true, as "MemoryPressure". */
  conditions: string[];
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
}

export interface NodesAnswer extends StateHead {
  node_count: number;
  /** Sorted by name. */
  nodes: NodeState[];
}

export type Nodes = (request: StateRequest) => Promise<NodesAnswer>;

export type NodeReader = (context: StateContext, signal: AbortSignal | undefined) => Promise<NodeState[]>;

export const NODE_STATE_METRICS = [...NODE_METRICS, NODE_CONDITION, POD_INFO];

export function createNodes(
  deps: { createContext: CreateContext; readNodes: NodeReader },
  settings: { window: WindowRules },
): Nodes {
  return async (request) => {
    const context = await deps.createContext(request, NODE_STATE_METRICS, settings.window);
    const [head, nodes] = await Promise.all([
      context.head(NODE_STATE_METRICS),
      deps.readNodes(context, request.signal),
    ]);
    return { ...head, node_count: nodes.length, nodes };
  };
}

/** Nodes that still have samples at `as_of`, or had CPU time in the window while Kubernetes still lists them. */
export function createNodeReader(readRows: StateRowReader, settings: { lookbackMs: number }): NodeReader {
  const { lookbackMs } = settings;
  const wanted = { metrics: [...NODE_ROW_METRICS, NODE_CONDITION, POD_INFO], podsByNode: true };
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
    const [rows, addresses] = await Promise.all([
      readRows(clusterId, grid, wanted, signal),
      context.nodeAddresses(),
    ]);
    const conditionsOf = Map.groupBy(toConditions(rows), ({ node }) => node);
    // A Pod's node is in its series only once it is scheduled.
    const pods = rows.filter(({ metric_name }) => metric_name === POD_INFO);
    const podsOf = new Map(pods.map(({ labels, members }) => [labels["node"], members]));
    return toNodeGrids(rows, addresses)
      .filter((node) => isPresent(node, conditionsOf.has(node.node)))
      .map((node) => toNodeState(node, conditionsOf.get(node.node), pods.length > 0, podsOf));
  };
}

interface Condition {
  node: string;
  condition: string;
  status: string;
}

/** A condition has three statuses: the one whose newest sample is 1 counts. */
function toConditions(rows: readonly StateRow[]): Condition[] {
  return rows
    .filter(({ metric_name, latest }) => metric_name === NODE_CONDITION && latest === 1)
    .map(({ labels: { node = "", condition = "", status = "" } }) => ({ node, condition, status }));
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

function toNodeState(
  node: NodeGrids,
  conditions: readonly Condition[] | undefined,
  podsAreCounted: boolean,
  podsOf: ReadonlyMap<string | undefined, number>,
): NodeState {
  const memory = memoryShare(node, 0);
  const disk = diskShare(node, 0);
  const ready = conditions?.find(({ condition }) => condition === "Ready");
  return {
    node: node.node,
    ready: ready === undefined ? null : ready.status === "true",
    conditions: (conditions ?? [])
      .filter(({ condition, status }) => condition !== "Ready" && status === "true")
      .map(({ condition }) => condition)
      .sort(),
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
    pod_count: podsAreCounted ? (podsOf.get(node.node) ?? 0) : null,
  };
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
