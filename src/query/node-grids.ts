import type { LimitedDatabase } from "./limits.ts";
import { createNodeDirectory, type NodeIdentity } from "./node-directory.ts";
import { allRows, REAL_FILE_SYSTEM, STATE_ROWS_MAX } from "./state-sql.ts";

/** The times at which something is computed: lastMs, lastMs - stepMs, ... down to firstMs. Whole seconds apart. */
export interface StateGrid {
  firstMs: number;
  lastMs: number;
  stepMs: number;
  /** A gauge's value is its newest sample of (time - lookbackMs, time]. */
  lookbackMs: number;
  /** A counter's rate is that of (time - rateWindowMs, time]. */
  rateWindowMs: number;
}

/** A value at each time of the grid; null: none. */
export type Values = (number | null)[];

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
const NODE_INFO = "kube_node_info";
const UNAME = "node_uname_info";
const CPU = "node_cpu_seconds_total";
const SIZE = "node_filesystem_size_bytes";
const AVAILABLE = "node_filesystem_avail_bytes";
const FILE_SYSTEMS = [SIZE, AVAILABLE];

/** What the answer about nodes is made of, for its completeness. Older kernels' stand-ins for MemAvailable are not needed. */
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

interface GaugeRow extends NodeIdentity {
  metric_name: string;
  internal_ip: string;
  nodename: string;
  /** Of file systems, else "". */
  device: string;
  grid: Values;
}

interface CpuRow extends NodeIdentity {
  is_idle: 0 | 1;
  grid: Values;
  cpus: string;
}

/**
 * All nodes at the times of a grid. A node's series are found by the label `node`, else by `k8s.node.name`, else by what Kubernetes and uname
 * say about the address of `instance`. Machines that Kubernetes does not list are left out, unless none of them is listed (their names differ).
 */
export type NodeGridReader = (
  clusterId: string,
  grid: StateGrid,
  signal: AbortSignal | undefined,
) => Promise<NodeGrids[]>;

export function createNodeGridReader(
  database: LimitedDatabase,
  settings: { databaseName: string },
): NodeGridReader {
  return async (clusterId, grid, signal) => {
    const parameters = {
      cluster: clusterId,
      first: grid.firstMs,
      last: grid.lastMs,
      step: grid.stepMs / 1000,
      lookback: grid.lookbackMs / 1000,
      rate_window: grid.rateWindowMs / 1000,
    };
    const names = [...NODE_GAUGES, NODE_INFO, UNAME, ...FILE_SYSTEMS];
    const [gauges, cpus] = await Promise.all([
      database.query<GaugeRow>(
        gaugeSql(`${settings.databaseName}.samples_gauge`),
        { ...parameters, names, file_systems: FILE_SYSTEMS, not_real: REAL_FILE_SYSTEM.excluded },
        signal,
      ),
      database.query<CpuRow>(
        cpuSql(`${settings.databaseName}.samples`),
        { ...parameters, name: CPU },
        signal,
      ),
    ]);
    return join(allRows(gauges), allRows(cpus));
  };
}

const GRID_ENDS =
  "fromUnixTimestamp64Milli({first:Int64}), fromUnixTimestamp64Milli({last:Int64}), {step:UInt32}";
const GAUGE_GRID = `timeSeriesResampleToGridWithStaleness(${GRID_ENDS}, {lookback:UInt32})(time, value)`;
const RATE_GRID = `timeSeriesRateToGrid(${GRID_ENDS}, {rate_window:UInt32})(time, value)`;
const WITHIN = (window: string): string =>
  `cluster_id = {cluster:String} AND isFinite(value)
   AND time > fromUnixTimestamp64Milli({first:Int64}) - toIntervalSecond({${window}:UInt32})
   AND time <= fromUnixTimestamp64Milli({last:Int64})`;
// A series keeps its identity when the bridge could not look the node's name up in one round, so the name is the newest that there is.
const IDENTITY = `any(labels['node']) AS node, any(labels['instance']) AS instance,
  argMax(labels['k8s.node.name'], (labels['k8s.node.name'] != '', time)) AS k8s_node`;

function gaugeSql(samples: string): string {
  return `SELECT metric_name, node, instance, k8s_node, internal_ip, nodename, device, maxForEach(values) AS grid
    FROM (
      SELECT metric_name, ${IDENTITY}, any(labels['internal_ip']) AS internal_ip, any(labels['nodename']) AS nodename,
        any(labels['device']) AS device, ${GAUGE_GRID} AS values
      FROM ${samples}
      WHERE metric_name IN {names:Array(String)} AND ${WITHIN("lookback")}
        AND (metric_name NOT IN {file_systems:Array(String)} OR (${REAL_FILE_SYSTEM.sql}))
      GROUP BY metric_name, series_id
    )
    GROUP BY metric_name, node, instance, k8s_node, internal_ip, nodename, device LIMIT ${STATE_ROWS_MAX}`;
}

function cpuSql(samples: string): string {
  return `SELECT node, instance, k8s_node, is_idle, sumForEach(values) AS grid,
      uniqExactIf(cpu, newest > fromUnixTimestamp64Milli({last:Int64}) - toIntervalSecond({lookback:UInt32})) AS cpus
    FROM (
      SELECT ${IDENTITY}, any(labels['mode']) = 'idle' AS is_idle, any(labels['cpu']) AS cpu, max(time) AS newest,
        ${RATE_GRID} AS values
      FROM ${samples} WHERE metric_name = {name:String} AND ${WITHIN("rate_window")}
      GROUP BY series_id
    )
    GROUP BY node, instance, k8s_node, is_idle LIMIT ${STATE_ROWS_MAX}`;
}

function join(gauges: readonly GaugeRow[], cpus: readonly CpuRow[]): NodeGrids[] {
  const listed = gauges.filter((row) => row.metric_name === NODE_INFO);
  const hosts = gauges.filter((row) => row.metric_name === UNAME);
  const measured = gauges.filter((row) => row.metric_name !== NODE_INFO && row.metric_name !== UNAME);
  const directory = createNodeDirectory({ listed, hosts, measured: [...measured, ...cpus] });
  const nodes = new Map<string, NodeGrids>();
  const nodeOf = (row: NodeIdentity): NodeGrids | undefined => {
    const name = directory(row);
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
    if (row.is_idle) node.cpuIdle = merge(node.cpuIdle, row.grid, (a, b) => a + b);
    node.cpus = Math.max(node.cpus, Number(row.cpus));
  }
  return [...nodes.values()].sort((a, b) => (a.node < b.node ? -1 : 1));
}

function addGauge(node: NodeGrids, row: GaugeRow): void {
  const { metric_name: metric, device, grid } = row;
  if (metric !== SIZE && metric !== AVAILABLE) {
    node.gauges.set(metric, merge(node.gauges.get(metric) ?? [], grid, Math.max));
    return;
  }
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
