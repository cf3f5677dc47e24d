import { NODE_NAME, type NodeAddresses } from "#query/node-addresses.ts";
import { createNodeDirectory, type NodeIdentity } from "./node-directory.ts";
import {
  CPU,
  DISK_AVAILABLE as AVAILABLE,
  DISK_SIZE as SIZE,
  NODE_INFO,
  UNAME,
  type StateRow,
  type Values,
} from "./rows.ts";

/** One file system of a node, however often it is mounted. */
export interface DeviceGrid {
  device: string;
  size: Values;
  available: Values;
}

/** One node at the times of a grid. Absent values are empty lists. */
export interface NodeGrids {
  node: string;
  /** 1 where Kubernetes lists the node (kube_node_info). */
  listed: Values;
  /** CPUs with a sample in the last lookback. */
  cpus: number;
  /** Seconds a second, over all CPUs: in mode idle, and in all modes. */
  cpuIdle: Values;
  cpuAll: Values;
  gauges: Map<string, Values>;
  devices: DeviceGrid[];
}

const NODE_GAUGES = [
  "node_memory_MemTotal_bytes",
  "node_memory_MemAvailable_bytes",
  "node_memory_MemFree_bytes",
  "node_memory_Buffers_bytes",
  "node_memory_Cached_bytes",
  "node_load1",
  "node_load5",
  "node_load15",
] as const;
const MEASURED = new Set<string>([...NODE_GAUGES, SIZE, AVAILABLE]);

/** The metrics that `toNodeGrids` needs. */
export const NODE_ROW_METRICS = [...NODE_GAUGES, NODE_INFO, UNAME, CPU, SIZE, AVAILABLE];

/** The metrics of the answer about nodes, for its completeness. Without the replacements for MemAvailable of old kernels. */
export const NODE_METRICS = [
  NODE_INFO,
  CPU,
  "node_memory_MemTotal_bytes",
  "node_memory_MemAvailable_bytes",
  "node_load1",
  "node_load5",
  "node_load15",
  SIZE,
  AVAILABLE,
];

/**
 * All nodes at the times of a grid, sorted by name. A node's series are found by the label `node`, else by `k8s.node.name`, else by what Kubernetes and uname
 * say about the address of `instance` (createNodeDirectory). Machines that Kubernetes does not list are left out, unless none of them is listed (their names differ).
 */
export function toNodeGrids(rows: readonly StateRow[], addresses: NodeAddresses): NodeGrids[] {
  const of = (metric: string): StateRow[] => rows.filter(({ metric_name }) => metric_name === metric);
  const [listed, hosts, cpus] = [of(NODE_INFO), of(UNAME), of(CPU)];
  const measured = rows.filter(({ metric_name }) => MEASURED.has(metric_name));
  const directory = createNodeDirectory({
    addresses,
    listed: listed.map(({ labels: { node = "", internal_ip = "" } }) => ({ node, internal_ip })),
    hosts: hosts.map(({ labels: { instance = "", nodename = "" } }) => ({ instance, nodename })),
    measured: [...measured, ...cpus].map(toIdentity),
  });
  const nodes = new Map<string, NodeGrids>();
  const nodeOf = (row: StateRow): NodeGrids | undefined => {
    const name = directory(toIdentity(row));
    if (name === undefined) return undefined;
    let node = nodes.get(name);
    if (node === undefined) {
      node = {
        node: name,
        listed: [],
        cpus: 0,
        cpuIdle: [],
        cpuAll: [],
        gauges: new Map(),
        devices: [],
      };
      nodes.set(name, node);
    }
    return node;
  };
  for (const row of listed) {
    const node = nodeOf(row);
    if (node) node.listed = merge(node.listed, row.grid, Math.max);
  }
  for (const row of measured) {
    const node = nodeOf(row);
    if (node) addGauge(node, row);
  }
  for (const row of cpus) {
    const node = nodeOf(row);
    if (!node) continue;
    node.cpuAll = merge(node.cpuAll, row.grid, (a, b) => a + b);
    if (row.labels["mode"] === "idle") node.cpuIdle = merge(node.cpuIdle, row.grid, (a, b) => a + b);
    node.cpus = Math.max(node.cpus, row.members);
  }
  return [...nodes.values()].sort((a, b) => (a.node < b.node ? -1 : 1));
}

function toIdentity({ labels, newestMs }: StateRow): NodeIdentity {
  const { node = "", instance = "", [NODE_NAME]: k8s_node = "" } = labels;
  return { node, instance, k8s_node, newestMs };
}

function addGauge(node: NodeGrids, row: StateRow): void {
  const { metric_name: metric, grid } = row;
  if (metric !== SIZE && metric !== AVAILABLE) {
    node.gauges.set(metric, merge(node.gauges.get(metric) ?? [], grid, Math.max));
    return;
  }
  const device = row.labels["device"] ?? "";
  let same = node.devices.find((known) => known.device === device);
  if (same === undefined) {
    same = { device, size: [], available: [] };
    node.devices.push(same);
  }
  if (metric === SIZE) same.size = merge(same.size, grid, Math.max);
  else same.available = merge(same.available, grid, Math.max);
}

/** Two sources of the same values. */
function merge(a: Values, b: Values, both: (a: number, b: number) => number): Values {
  return (a.length >= b.length ? a : b).map((_, i) => {
    const left = a[i] ?? null;
    const right = b[i] ?? null;
    if (left === null || right === null) return left ?? right;
    return both(left, right);
  });
}
