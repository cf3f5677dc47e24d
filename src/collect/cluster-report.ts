import type { Cluster } from "#clusters/cluster.ts";
import { credentialsEnd } from "#clusters/credential-facts.ts";
import { toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { BufferPool } from "#otlp/buffer-pool.ts";
import type { Exporter } from "#otlp/exporter.ts";
import type { HistogramKind, HistogramPoint } from "#otlp/histogram-point.ts";
import type { PointKind } from "#otlp/split.ts";
import { createOtlpWriter, type Batch, type OtlpWriter } from "#otlp/writer.ts";
import type { Query } from "#prometheus/catalogue.ts";
import { mergeQuery, type ShardEnd } from "./merged-progress.ts";
import { CLUSTER_METRICS, toSeries, type OwnSample } from "./own-samples.ts";

/** Sends the `budcluster_*` metrics of one collection of one cluster. */
export interface ClusterReport {
  /** The resource of every point of the cluster. */
  readonly resource: Readonly<Record<string, string>>;
  /** True once `sendUp` succeeded. */
  readonly upSent: boolean;
  /** `budcluster_cluster_up` 1, and when the credentials end. Throws the Collector's BridgeError when it is not accepted. */
  sendUp(signal: AbortSignal): Promise<void>;
  /**
   * `budcluster_node_info`: node names by their addresses. Returns warnings for the status: addresses that were left out, or a refusal by
   * the Collector; either only leaves names of nodes out of answers. Throws nothing but the signal's reason.
   */
  sendNodes(nodeNames: ReadonlyMap<string, string>, signal: AbortSignal): Promise<string[]>;
  /** `budcluster_cluster_up` 0, as well as it can: never throws. */
  sendDown(signal: AbortSignal): Promise<void>;
  /** Does the Collector accept a point of this kind that is known to be good? One request. */
  probe(kind: PointKind, signal: AbortSignal): Promise<boolean>;
  /** Watermark, samples and gaps of each query over all shards. Throws the Collector's BridgeError. */
  sendQueries(shards: readonly ShardEnd[], signal: AbortSignal): Promise<void>;
  /** Any samples about the cluster. Throws the Collector's BridgeError. */
  send(samples: readonly OwnSample[], signal: AbortSignal): Promise<void>;
}

/** Kubernetes lists up to 5,000 nodes, each with a name and a few addresses. */
const NODE_ADDRESSES_MAX = 40_000;
const SAMPLES_AT_ONCE = 2000;
/** Longest DNS subdomain that Kubernetes allows: a longer text is no address. */
const ADDRESS_CHARS_MAX = 253;

export function createClusterReport(
  deps: { exporter: Exporter; clock: Clock; pool: BufferPool },
  settings: { queries: readonly Query[]; batchPointsMax: number; batchBytesMax: number; version: string },
  cluster: Cluster,
): ClusterReport {
  const resource = {
    "service.name": "budcluster",
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    cluster_platform: cluster.platform,
    "k8s.cluster.name": cluster.name,
  };
  let upSent = false;
  let upAtMs = 0;

  const encodeBy = (write: (writer: OtlpWriter<undefined>) => void): Batch<undefined>[] => {
    const batches: Batch<undefined>[] = [];
    const writer = createOtlpWriter<undefined>({
      resource,
      scope: { name: "budcluster", version: settings.version },
      pointsMax: settings.batchPointsMax,
      bytesMax: settings.batchBytesMax,
      pool: deps.pool,
      onBatch: (batch) => batches.push(batch),
    });
    write(writer);
    writer.flush();
    return batches;
  };

  const encode = (samples: readonly OwnSample[]): Batch<undefined>[] =>
    encodeBy((writer) => {
      for (const sample of samples) writer.series(toSeries(sample), sample.metric, undefined);
    });

  const encodeProbe = (kind: PointKind, probe: OwnSample): Batch<undefined>[] => {
    if (kind === "sum") return encode([probe]);
    if (kind === "gauge") return encode([up(1, upAtMs)]);
    const metric = { ...probe.metric, kind };
    const point = probePoint(kind, probe.timestampMs);
    return encodeBy((writer) => writer.histogram(toSeries(probe), point, metric, undefined));
  };

  const send = async (samples: readonly OwnSample[], signal: AbortSignal): Promise<void> => {
    // A part at a time: encoding the nodes of a large cluster at once would hold the event loop.
    for (let at = 0; at < samples.length; at += SAMPLES_AT_ONCE) {
      const part = samples.slice(at, at + SAMPLES_AT_ONCE).sort(byMetric);
      for (const batch of encode(part)) {
        const outcome = await deps.exporter.send(batch, () => Promise.resolve(false), signal);
        if (outcome.stop) throw outcome.stop;
      }
    }
  };

  const up = (value: 0 | 1, timestampMs: number): OwnSample => ({
    metric: CLUSTER_METRICS.up,
    labels: {},
    timestampMs,
    value,
  });

  const expiry = (timestampMs: number): OwnSample[] => {
    const endsAt = credentialsEnd(cluster);
    if (endsAt === undefined) return [];
    return [{ metric: CLUSTER_METRICS.credentialsExpiry, labels: {}, timestampMs, value: endsAt / 1000 }];
  };

  return {
    resource,
    send,
    get upSent() {
      return upSent;
    },
    sendUp: async (signal) => {
      upAtMs = deps.clock.now();
      await send([...expiry(upAtMs), up(1, upAtMs)], signal);
      upSent = true;
    },
    sendNodes: async (nodeNames, signal) => {
      const { samples, warnings } = toNodeSamples(nodeNames, deps.clock.now());
      try {
        await send(samples, signal);
      } catch (thrown) {
        if (signal.aborted) throw signal.reason;
        warnings.push(`the addresses of nodes were not stored: ${toBridgeError(thrown).message}`);
      }
      return warnings;
    },
    sendDown: async (signal) => {
      const nowMs = deps.clock.now();
      await send([...expiry(nowMs), up(0, nowMs)], signal).catch(() => {});
    },
    probe: async (kind, signal) => {
      // The same point again is the same row: probes leave at most one row of each kind a collection.
      const probe = { metric: CLUSTER_METRICS.probe, labels: {}, timestampMs: upAtMs, value: 1 };
      const [batch] = encodeProbe(kind, probe);
      return await deps.exporter.isAccepted(batch!, signal);
    },
    sendQueries: async (shards, signal) => {
      const timestampMs = deps.clock.now();
      const samples = settings.queries.flatMap((query): OwnSample[] => {
        const merged = mergeQuery(shards, query.name);
        if (!merged) return [];
        const at = { labels: { query: query.name, group: query.group }, timestampMs };
        return [
          { ...at, metric: CLUSTER_METRICS.watermark, value: merged.watermarkMs / 1000 },
          { ...at, metric: CLUSTER_METRICS.read, value: merged.samplesRead },
          { ...at, metric: CLUSTER_METRICS.sent, value: merged.samplesSent },
          { ...at, metric: CLUSTER_METRICS.openGaps, value: merged.openGaps },
          { ...at, metric: CLUSTER_METRICS.lostGaps, value: merged.lostGaps },
        ];
      });
      await send(samples, signal);
    },
  };
}

/** A histogram of one observation, the value 1. */
function probePoint(kind: HistogramKind, timestampMs: number): HistogramPoint {
  const base = {
    timestampMs,
    isMarker: false,
    sumBits: new Uint32Array(Float64Array.of(1).buffer),
    count: 1,
  };
  if (kind === "histogram") return { ...base, kind, bounds: [1], counts: [1, 0] };
  const none = { offset: 0, counts: [] };
  const positive = { offset: -1, counts: [1] };
  return { ...base, kind, scale: 0, zeroThreshold: 0, zeroCount: 0, positive, negative: none };
}

function toNodeSamples(
  nodeNames: ReadonlyMap<string, string>,
  timestampMs: number,
): { samples: OwnSample[]; warnings: string[] } {
  const isUsable = (text: string): boolean => text !== "" && text.length <= ADDRESS_CHARS_MAX;
  const usable = [...nodeNames].filter(([address, node]) => isUsable(address) && isUsable(node));
  const samples = usable.slice(0, NODE_ADDRESSES_MAX).map(([address, node]) => ({
    metric: CLUSTER_METRICS.nodeInfo,
    labels: { node, address },
    timestampMs,
    value: 1,
  }));
  const left = nodeNames.size - samples.length;
  const warnings = left === 0 ? [] : [`${left} of ${nodeNames.size} addresses of nodes were left out`];
  return { samples, warnings };
}

function byMetric(a: OwnSample, b: OwnSample): number {
  return a.metric.name < b.metric.name ? -1 : Number(a.metric.name > b.metric.name);
}
