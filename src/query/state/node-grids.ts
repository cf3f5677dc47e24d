import { toNodeQuestion, type NodeQuestion } from "#query/node-resolver.ts";
import { ownLabelOf } from "./identity.ts";
import {
  CPU,
  DISK_AVAILABLE as AVAILABLE,
  DISK_READONLY as READONLY,
  DISK_SIZE as SIZE,
  NODE_INFO,
  RECEIVED,
  TRANSMITTED,
  UNAME,
  type StateRow,
  type Values,
} from "./rows.ts";
import type { StateContext } from "./context.ts";
import { chooseSource } from "./sources.ts";

/** One file system of a node, however often it is mounted; a ZFS pool with all its datasets. */
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
  /** The labels of kube_node_info that say what runs on it: os_image, kubelet_version, provider_id. */
  info: Readonly<Record<string, string>>;
  /** CPUs with a sample in the last lookback. */
  cpus: number;
  /** Seconds a second, over all CPUs: in mode idle, and in all modes. */
  cpuIdle: Values;
  cpuAll: Values;
  gauges: Map<string, Values>;
  devices: DeviceGrid[];
  /** Bytes a second over all physical interfaces. */
  received: Values;
  transmitted: Values;
  /** Time of the newest sample of what is measured on the node, and of kube_node_info, by the sources whose values count; 0: none. */
  newestMs: number;
  listedMs: number;
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
/** Labels of kube_node_info that say what runs on a node. */
const INFO = ["os_image", "kubelet_version", "provider_id"];
const NETWORK = [RECEIVED, TRANSMITTED];
const DISKS = [SIZE, AVAILABLE, READONLY];
const MEASURED = new Set<string>([...NODE_GAUGES, CPU, ...DISKS, ...NETWORK]);

/** The metrics that `toNodeGrids` needs. */
export const NODE_ROW_METRICS = [...NODE_GAUGES, NODE_INFO, UNAME, CPU, ...DISKS];

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
 * All nodes at the times of a grid, sorted by name, each once however many exporters measure it. Machines that Kubernetes does not list are left out, unless none of them
 * is listed (their names differ).
 */
export async function readNodeGrids(
  rows: readonly StateRow[],
  context: Pick<StateContext, "nodeNames">,
): Promise<NodeGrids[]> {
  const of = (metric: string): StateRow[] => rows.filter(({ metric_name }) => metric_name === metric);
  const measured = rows.filter(({ metric_name }) => MEASURED.has(metric_name));
  const questions = new Map(measured.map((row) => [row, toQuestion(row)]));
  const listed = of(NODE_INFO).map((row) => ({ row, node: own(row, "node") }));
  const names = await context.nodeNames([...questions.values()], {
    listed: listed.map(({ row, node }) => ({ node, internal_ip: own(row, "internal_ip") })),
    hosts: of(UNAME).map((row) => ({ instance: toQuestion(row).instance, nodename: own(row, "nodename") })),
  });
  const known = new Set(listed.map(({ node }) => node));
  const named = [...questions].map(([row, question]) => ({ row, node: names(question).node }));
  const listsMeasured = named.some(({ node }) => known.has(node));
  const rowsOf = Map.groupBy(
    [...listed, ...named].filter(({ node }) => node !== "" && (!listsMeasured || known.has(node))),
    ({ node }) => node,
  );
  return [...rowsOf]
    .map(([node, all]) =>
      toNode(
        node,
        Map.groupBy(
          all.map(({ row }) => row),
          ({ metric_name }) => metric_name,
        ),
      ),
    )
    .sort((a, b) => (a.node < b.node ? -1 : 1));
}

function own({ labels, metric_name }: StateRow, name: string): string {
  return ownLabelOf(labels, name, metric_name);
}

function toQuestion({ labels, newestMs }: StateRow): NodeQuestion {
  return toNodeQuestion(labels, newestMs);
}

function toNode(node: string, rows: ReadonlyMap<string, StateRow[]>): NodeGrids {
  const of = (metric: string): StateRow[] => rows.get(metric) ?? [];
  const info = chosen(of(NODE_INFO), largestOf);
  const cpu = toCpu(of(CPU));
  const gauges = NODE_GAUGES.map((metric) => [metric, chosen(of(metric), largestOf)] as const);
  const disks = toDevices(DISKS.map(of));
  const [received, transmitted] = [chosen(of(RECEIVED), sumOf), chosen(of(TRANSMITTED), sumOf)];
  const measured = [cpu, ...gauges.map(([, gauge]) => gauge), disks, received, transmitted];
  return {
    node,
    listed: info.values,
    info: Object.fromEntries(
      INFO.map((name) => [name, info.newest === undefined ? "" : own(info.newest, name)]),
    ),
    cpus: cpu.cpus,
    cpuIdle: cpu.idle,
    cpuAll: cpu.all,
    gauges: new Map(gauges.map(([metric, { values }]) => [metric, values])),
    devices: disks.devices,
    received: received.values,
    transmitted: transmitted.values,
    listedMs: info.newest?.newestMs ?? 0,
    newestMs: newestOf(measured.map(({ newest }) => newest))?.newestMs ?? 0,
  };
}

/** What the rows of a thing say. `newest`: the row with the newest sample, of the source whose value is the newest. */
interface Chosen {
  values: Values;
  newest: StateRow | undefined;
}

function toCpu(rows: readonly StateRow[]) {
  const sources = bySource(rows).map(({ source, all }) => {
    const idle = all.filter(({ isIdle }) => isIdle);
    const sum = (of: readonly StateRow[]): Values => of.map(({ grid }) => grid).reduce(sumOf, []);
    const cpus = new Set(idle.flatMap(({ members }) => members.map((member) => member.own["cpu"])));
    return { source, parts: [sum(all), sum(idle)], cpus: cpus.size, all };
  });
  // Of what ended, no CPU has a sample in the last lookback.
  const alive = sources.filter(({ cpus }) => cpus > 0);
  const { last, parts } = chooseSource(sources);
  const [all = [], idle = []] = parts;
  return { cpus: chooseSource(alive).best?.cpus ?? 0, idle, all, newest: newestOf(last?.all) };
}

/** The values of one source; `merge`: of its rows. */
function chosen(rows: readonly StateRow[], merge: (a: Values, b: Values) => Values): Chosen {
  const sources = bySource(rows).map(({ source, all }) => ({
    source,
    parts: [all.map(({ grid }) => grid).reduce(merge, [])],
    all,
  }));
  const { last, parts } = chooseSource(sources);
  return { values: [...(parts[0] ?? [])], newest: newestOf(last?.all) };
}

function newestOf(rows: readonly (StateRow | undefined)[] = []): StateRow | undefined {
  return rows.reduce(
    (newest, row) => ((row?.newestMs ?? 0) > (newest?.newestMs ?? 0) ? row : newest),
    undefined,
  );
}

function bySource(rows: readonly StateRow[]): { source: readonly string[]; all: StateRow[] }[] {
  return [...Map.groupBy(rows, ({ source }) => source.join("\n")).values()].map((all) => ({
    source: all[0]!.source,
    all,
  }));
}

/** The file systems that some mount can write to (node-mixin leaves out node_filesystem_readonly == 1: images are full by design), and ZFS pools. */
function toDevices([sizes, available, isReadonly]: readonly StateRow[][]) {
  const ofDevice = (rows: readonly StateRow[] = []) =>
    Map.groupBy(
      rows.filter((row) => own(row, "device") !== ""),
      (row) => own(row, "device"),
    );
  const [availableOf, readonlyOf] = [ofDevice(available), ofDevice(isReadonly)];
  const devices = [...ofDevice(sizes)].map(([device, rows]) => {
    const locked = chosen(readonlyOf.get(device) ?? [], smallestOf);
    const read = [rows, availableOf.get(device) ?? []].map((of) => chosen(of, largestOf));
    const [size, free] = read.map(({ values }) =>
      values.map((value, i) => (locked.values[i] === 1 ? null : value)),
    );
    return {
      device,
      fstype: own(rows[0]!, "fstype"),
      size: size!,
      available: free!,
      newest: newestOf([locked, ...read].map(({ newest }) => newest)),
    };
  });
  return { devices: withPools(devices), newest: newestOf(devices.map(({ newest }) => newest)) };
}

/** The datasets of a ZFS pool are one disk. */
function withPools(devices: readonly (DeviceGrid & { fstype: string })[]): DeviceGrid[] {
  const [datasets, others] = [
    devices.filter(({ fstype }) => fstype === ZFS),
    devices.filter(({ fstype }) => fstype !== ZFS),
  ];
  const pools = Map.groupBy(datasets, ({ device }) => device.split("/")[0]!);
  return [
    ...others.map(({ device, size, available: free }) => ({ device, size, available: free })),
    ...[...pools].map(([device, own]) => toPool(device, own)),
  ];
}

const ZFS = "zfs";

/**
 * The datasets of a ZFS pool share its space: each one's size is what it uses and what the pool has left (statvfs in OpenZFS), so the pool has what all of them use and the
 * most that one of them has left.
 */
function toPool(device: string, datasets: readonly DeviceGrid[]): DeviceGrid {
  const free = datasets.map(({ available }) => available).reduce(largestOf, []);
  const used = datasets
    .map(({ size, available }) =>
      size.map((value, i) =>
        value === null || (available[i] ?? null) === null ? null : value - available[i]!,
      ),
    )
    .reduce(sumOf, []);
  return { device, available: free, size: sumOf(used, free) };
}

function largestOf(a: Values, b: Values): Values {
  return merge(a, b, Math.max);
}

function smallestOf(a: Values, b: Values): Values {
  return merge(a, b, Math.min);
}

function sumOf(a: Values, b: Values): Values {
  return merge(a, b, (left, right) => left + right);
}

/** At each time both values, or the one that there is. */
function merge(a: Values, b: Values, both: (a: number, b: number) => number): Values {
  return (a.length >= b.length ? a : b).map((_, i) => {
    const left = a[i] ?? null;
    const right = b[i] ?? null;
    if (left === null || right === null) return left ?? right;
    return both(left, right);
  });
}
