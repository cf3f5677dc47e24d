import { fraction, hashText, mix, uuidOf } from "./noise.ts";
import type { Label, ScrapeSpan, ScrapeTarget } from "./series.ts";

/**
 * The content of a simulated cluster. Every number is a limit that a test may raise: 100,000 series are
 * about 5,500 pods.
 */
export interface ClusterShape {
  id: string;
  name: string;
  /** For example "eks". */
  platform: string;
  nodes: number;
  pods: number;
  /** GPUs of each node; 0: the cluster has no DCGM series at all. */
  gpus: number;
  /** This GPU of each node (its number) is hotter than the thresholds, at any time. */
  hotGpu?: number;
  /** CPUs of each node: 8 series each. */
  cpus: number;
  scrapeIntervalMs: number;
  /** Scrapes come up to this much late. */
  jitterMs: number;
  /** container_* samples carry timestamps up to this far before the scrape that brings them. */
  lateMs: number;
  /** Counters of node 0 and of every fifth pod go back to 0 this often. */
  resetEveryMs: number;
  /** Every fourth pod is replaced by one with another name this often. */
  churnEveryMs: number;
  /** Scrapes of node 0's node_exporter fail during the first `forMs` of each `everyMs`. Default: none fails. */
  outages?: { everyMs: number; forMs: number };
  /** Prometheus has no older sample (ms since the epoch). */
  oldestMs: number;
  /** Replicas of Prometheus that lost their volume: the time from which on they have samples. */
  youngReplicas: Map<number, number>;
  /** This cluster's clock (Prometheus' `time()`) minus the simulator's. */
  skewMs: number;
  /** Series with odd label texts, NaN, infinities and values at the edges of a double. */
  oddities: boolean;
  /** Families of native histograms (sim_*). Default: none. */
  nativeHistograms?: boolean;
}

export interface SimulatedNode {
  name: string;
  /** InternalIP; node_exporter's `instance` begins with it. */
  address: string;
  hash: number;
  /** Last boot before a time. */
  bootedAt: (timeMs: number) => number;
  nodeExporter: ScrapeTarget;
  kubelet: ScrapeTarget;
  dcgm: ScrapeTarget;
}

/** One life of a pod slot: a pod with its own name, from start to end. */
export interface SimulatedPod {
  slot: number;
  name: string;
  namespace: string;
  uid: string;
  address: string;
  container: string;
  image: string;
  node: SimulatedNode;
  /** The node's GPU that the pod uses. */
  gpu: number | undefined;
  startMs: number;
  endMs: number;
  hash: number;
  /** The container's restarts follow each other at this distance. */
  restartEveryMs: number;
}

export interface ClusterLayout {
  shape: ClusterShape;
  hash: number;
  nodes: readonly SimulatedNode[];
  kubeState: ScrapeTarget;
  prometheus: ScrapeTarget;
  /** Configured but never up. */
  down: ScrapeTarget;
  /** All pods that lived at some time of the span, slot by slot. */
  pods(span: ScrapeSpan): Iterable<SimulatedPod>;
  /** Those that lived with one GPU of a node in the span. */
  podsOfGpu(node: number, gpu: number, span: ScrapeSpan): Iterable<SimulatedPod>;
}

const DAY_MS = 86_400_000;
const SERVICE_PREFIX = "bud-metrics";

/**
 * The parts of a cluster, all functions of the seed and the shape. `index` keeps the addresses of several
 * clusters apart.
 */
export function createLayout(shape: ClusterShape, seed: string, index: number): ClusterLayout {
  const hash = hashText(`${seed}/${shape.id}`);
  const target = (labels: Label[]): ScrapeTarget => ({
    hash: hashText(labels.map(([, value]) => value).join("/"), hash),
    labels,
    intervalMs: shape.scrapeIntervalMs,
    jitterMs: Math.min(shape.jitterMs, Math.floor(shape.scrapeIntervalMs * 0.4)),
  });
  const nodes = Array.from({ length: shape.nodes }, (_, n) => createNode(shape, target, hash, index, n));
  const lives = (slot: number, span: ScrapeSpan): Iterable<SimulatedPod> =>
    podLives(shape, nodes, hash, slot, span);
  return {
    shape,
    hash,
    nodes,
    kubeState: target([
      ["container", "kube-state-metrics"],
      ["endpoint", "http"],
      ["instance", `10.${128 + index}.0.2:8080`],
      ["job", "kube-state-metrics"],
      ["service", `${SERVICE_PREFIX}-kube-state-metrics`],
    ]),
    prometheus: target([
      ["container", "prometheus"],
      ["endpoint", "http-web"],
      ["instance", `10.${128 + index}.0.3:9090`],
      ["job", "bud-metrics-kube-prometheu-prometheus"],
      ["namespace", "bud-system"],
      ["pod", "prometheus-bud-metrics-kube-prometheu-prometheus-0"],
      ["service", "bud-metrics-kube-prometheu-prometheus"],
    ]),
    down: target([
      ["endpoint", "http"],
      ["instance", `10.${128 + index}.0.9:8888`],
      ["job", "never-up"],
      ["namespace", "bud-system"],
    ]),
    *pods(span) {
      for (let slot = 0; slot < shape.pods; slot++) yield* lives(slot, span);
    },
    *podsOfGpu(node, gpu, span) {
      const slot = gpu * shape.nodes + node;
      if (slot < shape.pods) yield* lives(slot, span);
    },
  };
}

function createNode(
  shape: ClusterShape,
  target: (labels: Label[]) => ScrapeTarget,
  clusterHash: number,
  index: number,
  n: number,
): SimulatedNode {
  const name = `${shape.id}-node-${n}`;
  const address = `10.${index}.${n >> 8}.${(n & 255) + 1}`;
  const hash = mix(clusterHash, n + 1);
  const everyMs = n === 0 ? shape.resetEveryMs : (20 + (hash % 20)) * DAY_MS;
  const phaseMs = Math.floor(fraction(mix(hash, 7)) * everyMs);
  const pod = (prefix: string): Label => ["pod", `${prefix}-${podSuffix(hash)}`];
  return {
    name,
    address,
    hash,
    bootedAt: (timeMs) => phaseMs + Math.floor((timeMs - phaseMs) / everyMs) * everyMs,
    nodeExporter: {
      ...target([
        ["container", "node-exporter"],
        ["endpoint", "http-metrics"],
        ["instance", `${address}:9100`],
        ["job", "node-exporter"],
        ["namespace", "bud-system"],
        pod(`${SERVICE_PREFIX}-prometheus-node-exporter`),
        ["service", `${SERVICE_PREFIX}-prometheus-node-exporter`],
      ]),
      ...(n === 0 && shape.outages ? { isDown: outageOf(shape.outages) } : {}),
    },
    kubelet: target([
      ["endpoint", "https-metrics"],
      ["instance", `${address}:10250`],
      ["job", "kubelet"],
      ["metrics_path", "/metrics/cadvisor"],
      ["node", name],
      ["service", `${SERVICE_PREFIX}-kube-prometheu-kubelet`],
    ]),
    dcgm: target([
      ["endpoint", "gpu-metrics"],
      ["instance", `${address}:9400`],
      ["job", "nvidia-dcgm-exporter"],
      ["service", "nvidia-dcgm-exporter"],
    ]),
  };
}

function outageOf({ everyMs, forMs }: { everyMs: number; forMs: number }): (scrapedMs: number) => boolean {
  return (scrapedMs) => scrapedMs % everyMs < forMs;
}

function podSuffix(hash: number): string {
  const letters = "bcdfghjklmnpqrstvwxz2456789";
  return [1, 2, 3, 4, 5].map((part) => letters[mix(hash, part) % letters.length]).join("");
}

function* podLives(
  shape: ClusterShape,
  nodes: readonly SimulatedNode[],
  clusterHash: number,
  slot: number,
  span: ScrapeSpan,
): Iterable<SimulatedPod> {
  const n = slot % shape.nodes;
  const node = nodes[n];
  if (!node) return;
  const slotHash = mix(clusterHash ^ 0x27d4eb2f, slot);
  const lifeMs = slot % 4 === 3 ? shape.churnEveryMs : 30 * DAY_MS;
  const phaseMs = Math.floor(fraction(slotHash) * lifeMs);
  const gpu = Math.floor(slot / shape.nodes);
  const last = Math.floor((span.toMs - phaseMs) / lifeMs);
  for (let life = Math.floor((span.fromMs - phaseMs) / lifeMs); life <= last; life++) {
    const hash = mix(slotHash, life);
    const startMs = phaseMs + life * lifeMs;
    yield {
      slot,
      name: `trainer-${slot}-${podSuffix(hash)}`,
      namespace: namespaceOf(slot),
      uid: uuidOf(hash),
      address: `10.${128 + (clusterHash % 100)}.${(slot >> 8) & 255}.${slot & 255}`,
      container: "main",
      image: `registry.example.com/team/trainer:${1 + (slot % 7)}.${life & 15}`,
      node,
      gpu: gpu < shape.gpus ? gpu : undefined,
      startMs,
      endMs: startMs + lifeMs,
      hash,
      restartEveryMs: slot % 5 === 0 ? shape.resetEveryMs : lifeMs,
    };
  }
}

/** The namespace of the Pods in a place. */
export function namespaceOf(slot: number): string {
  return `team-${String.fromCharCode(97 + (slot % 5))}`;
}
