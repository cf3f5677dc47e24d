import type { ClusterLayout, SimulatedNode } from "./layout.ts";
import { metric } from "./metric.ts";
import type { SeriesPart } from "./metric.ts";
import { ODD_TEXTS, ODD_VALUES } from "./oddities.ts";
import type { Label, MetricType, ScrapeTarget, SimulatedMetric } from "./series.ts";
import { constant, counter, gauge } from "./values.ts";

const GIB = 1024 ** 3;
const CPU_MODES: readonly (readonly [mode: string, share: number])[] = [
  ["idle", 0.71],
  ["iowait", 0.01],
  ["irq", 0.001],
  ["nice", 0.002],
  ["softirq", 0.007],
  ["steal", 0.001],
  ["system", 0.069],
  ["user", 0.2],
];

type NodeParts = (node: SimulatedNode) => Iterable<Omit<SeriesPart, "target">>;

/**
 * The families of node_exporter: `instance` is the node's address and port, and there is no label with the
 * node's name.
 */
export function nodeMetrics(layout: ClusterLayout): SimulatedMetric[] {
  const ofNodes = (name: string, type: MetricType, help: string, parts: NodeParts): SimulatedMetric =>
    metric(name, type, help, function* () {
      for (const node of layout.nodes)
        for (const part of parts(node)) yield { ...part, target: node.nodeExporter };
    });
  return [
    ofNodes("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.", function* (node) {
      for (let cpu = 0; cpu < layout.shape.cpus; cpu++) {
        for (const [mode, share] of CPU_MODES) {
          yield {
            labels: [
              ["cpu", String(cpu)],
              ["mode", mode],
            ],
            value: (hash) => counter({ hash, perSecond: share, startedAt: node.bootedAt }),
          };
        }
      }
    }),
    ...memoryMetrics(ofNodes),
    ...filesystemMetrics(layout, ofNodes),
    ...loadMetrics(layout),
    ...deviceCounters(ofNodes),
    ofNodes(
      "node_uname_info",
      "gauge",
      "Labeled system information as provided by the uname system call.",
      (node) => [
        {
          labels: [
            ["domainname", "(none)"],
            ["machine", "x86_64"],
            ["nodename", node.name],
            ["release", "6.1.0-18-amd64"],
            ["sysname", "Linux"],
            ["version", '#1 SMP PREEMPT_DYNAMIC "Debian 6.1.76-1" (2026-02-01)'],
          ],
          value: () => constant(1),
        },
      ],
    ),
  ];
}

type OfNodes = (name: string, type: MetricType, help: string, parts: NodeParts) => SimulatedMetric;

function memoryMetrics(ofNodes: OfNodes): SimulatedMetric[] {
  const fields: [field: string, gib: number, swingGib: number][] = [
    ["MemTotal", 64, 0],
    ["MemAvailable", 38, 6],
    ["MemFree", 12, 4],
    ["Buffers", 1.5, 0.3],
    ["Cached", 20, 3],
  ];
  return fields.map(([field, gib, swingGib]) =>
    ofNodes(`node_memory_${field}_bytes`, "gauge", `Memory information field ${field}_bytes.`, () => [
      {
        labels: [],
        value: (hash) =>
          swingGib === 0
            ? constant(gib * GIB - 123_456_512)
            : gauge({ hash, base: gib * GIB, swing: swingGib * GIB, whole: true }),
      },
    ]),
  );
}

function filesystemMetrics(layout: ClusterLayout, ofNodes: OfNodes): SimulatedMetric[] {
  const mounts = (node: SimulatedNode): Label[][] => {
    const usual: [device: string, mountpoint: string][] = [
      ["/dev/nvme0n1p1", "/"],
      ["/dev/nvme1n1", "/var/lib/containerd"],
    ];
    const odd = layout.shape.oddities && node === layout.nodes[0] ? ODD_TEXTS.slice(0, 4) : [];
    return [...usual, ...odd.map((text) => ["/dev/odd", text] as const)].map(([device, mountpoint]) => [
      ["device", device],
      ["fstype", "ext4"],
      ["mountpoint", mountpoint],
    ]);
  };
  return [
    ofNodes("node_filesystem_size_bytes", "gauge", "Filesystem size in bytes.", (node) =>
      mounts(node).map((labels) => ({ labels, value: () => constant(502_468_108_288) })),
    ),
    ofNodes(
      "node_filesystem_avail_bytes",
      "gauge",
      "Filesystem space available to non-root users in bytes.",
      (node) =>
        mounts(node).map((labels) => ({
          labels,
          value: (hash) => gauge({ hash, base: 250e9, swing: 90e9, whole: true }),
        })),
    ),
    ofNodes("node_filesystem_readonly", "gauge", "Filesystem read-only status.", (node) =>
      mounts(node).map((labels) => ({ labels, value: () => constant(0) })),
    ),
  ];
}

/** Load averages; one instance that is no node of the cluster carries the odd values in node_load15. */
function loadMetrics(layout: ClusterLayout): SimulatedMetric[] {
  const edge: ScrapeTarget = {
    hash: layout.hash ^ 0x1337,
    labels: [
      ["instance", "edge.example.com:9100"],
      ["job", "edge"],
    ],
    intervalMs: layout.shape.scrapeIntervalMs,
    jitterMs: 0,
  };
  return ([1, 5, 15] as const).map((minutes) =>
    metric(`node_load${minutes}`, "gauge", `${minutes}m load average.`, function* () {
      for (const node of layout.nodes) {
        yield {
          target: node.nodeExporter,
          labels: [],
          value: (hash) => gauge({ hash, base: 6 + minutes / 10, swing: 5 - minutes / 5 }),
        };
      }
      if (!layout.shape.oddities || minutes !== 15) return;
      for (const [name, value] of ODD_VALUES) {
        yield { target: edge, labels: [["case", name]], value: () => constant(value) };
      }
    }),
  );
}

function deviceCounters(ofNodes: OfNodes): SimulatedMetric[] {
  const bytes = (
    name: string,
    help: string,
    devices: [device: string, perSecond: number][],
  ): SimulatedMetric =>
    ofNodes(name, "counter", help, (node) =>
      devices.map(([device, perSecond]) => ({
        labels: [["device", device]],
        value: (hash) => counter({ hash, perSecond, startedAt: node.bootedAt, whole: true }),
      })),
    );
  const interfaces: [string, number][] = [
    ["eth0", 12_345_678],
    ["lo", 54_321],
  ];
  const disks: [string, number][] = [
    ["nvme0n1", 987_654],
    ["nvme1n1", 4_567_890],
  ];
  return [
    bytes("node_network_receive_bytes_total", "Network device statistic receive_bytes.", interfaces),
    bytes("node_network_transmit_bytes_total", "Network device statistic transmit_bytes.", interfaces),
    bytes("node_disk_read_bytes_total", "The total number of bytes read successfully.", disks),
    bytes("node_disk_written_bytes_total", "The total number of bytes written successfully.", disks),
  ];
}
