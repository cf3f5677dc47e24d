import type { OpenPrometheus, PrometheusConnection } from "#collect/ports.ts";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline } from "#lib/clock.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { Window } from "#prometheus/window.ts";
import type { Link } from "./link.ts";
import type { VirtualHost } from "./virtual-hosts.ts";

export const SCRAPE_MS = 15_000;
const TIMEOUT_MS = 10_000;

/** A series of the catalogue's query `metric`. */
interface SourceSeries {
  metric: string;
  labels: Record<string, string>;
  /** Scrapes come so long after each multiple of 15 s. */
  offsetMs: number;
}

/** The Prometheus of a cluster. What it has is a function of time and of what happened to it. */
export interface Source {
  id: string;
  series: readonly SourceSeries[];
  pod: { uid: string; name: string };
  /** It scrapes since this time. */
  startMs: number;
  /** When the cluster was to be registered. */
  addedMs: number;
  /** Nothing at or before it is left: the Pod came back without its volume. */
  oldestMs: number;
  /** It was down, and did not scrape, in these times: [from, to). */
  downtimes: [fromMs: number, toMs: number][];
  /** Windows that were read, and by whom. */
  reads: { by: string; atMs: number; query: string; window: Window }[];
}

export interface SourceSample {
  series: SourceSeries;
  timestampMs: number;
  value: number;
}

export function createSource(id: string, addedMs: number, metrics: readonly string[]): Source {
  return {
    id,
    series: metrics.flatMap((metric, m) =>
      ["a", "b"].map((node, n) => ({ metric, labels: { node }, offsetMs: 1000 * m + 137 * n + id.length })),
    ),
    pod: { uid: `${id}-pod-1`, name: `prometheus-${id}-0` },
    startMs: addedMs - 3 * 60_000,
    addedMs,
    oldestMs: 0,
    downtimes: [],
    reads: [],
  };
}

function isDown({ downtimes }: Source, atMs: number): boolean {
  return downtimes.some(([from, to]) => atMs >= from && atMs < to);
}

/** The samples in (fromMs, toMs] that the source has. */
export function samplesIn(source: Source, { fromMs, toMs }: Window, metric?: string): SourceSample[] {
  const after = Math.max(fromMs, source.startMs - 1, source.oldestMs);
  return source.series
    .filter((series) => metric === undefined || series.metric === metric)
    .flatMap((series) => {
      const samples: SourceSample[] = [];
      const first = Math.floor((after - series.offsetMs) / SCRAPE_MS) + 1;
      for (let at = first * SCRAPE_MS + series.offsetMs; at <= toMs; at += SCRAPE_MS)
        if (!isDown(source, at))
          samples.push({ series, timestampMs: at, value: valueOf(source, series, at) });
      return samples;
    });
}

/** Tells cluster, series and time, so that a mix-up shows. */
function valueOf({ id }: Source, { metric, labels }: SourceSeries, atMs: number): number {
  let hash = atMs % 1_000_003;
  for (const char of `${id}${metric}${labels["node"]}`) hash = (hash * 31 + char.charCodeAt(0)) % 1_000_003;
  return hash / 7;
}

/** Connections of one replica. `linkTo`: the way to a cluster. */
export function createOpenPrometheus(
  host: VirtualHost,
  world: {
    nowMs: () => number;
    sourceOf: (clusterId: string) => Source | undefined;
    linkTo: (clusterId: string) => Link;
  },
): OpenPrometheus {
  const { clock } = host;
  return async (cluster, _pinned, signal) => {
    const link = world.linkTo(cluster.id);
    const ask = async <T>(
      error: BridgeError,
      signalOf: AbortSignal,
      serve: (source: Source) => T,
    ): Promise<T> => {
      const limit = deadline(clock, TIMEOUT_MS, () => error, signalOf);
      const asked = link.call(host, () => {
        const source = world.sourceOf(cluster.id);
        if (!source || isDown(source, world.nowMs()))
          throw new BridgeError("prometheus_unreachable", "nothing listens");
        return serve(source);
      });
      try {
        return await abortable(asked, limit.signal);
      } finally {
        limit.dispose();
      }
    };
    const unreachable = new BridgeError("cluster_unreachable", "no answer in 10 s");
    const pod = await ask(unreachable, signal, (source) => source.pod);
    const client = createClient(host.name, world.nowMs, ask, pod.uid);
    const connection: PrometheusConnection = {
      client,
      pod,
      otherPods: [],
      unreadyPods: [],
      nodeNames: new Map(),
      warnings: [],
      close: async () => {},
    };
    return connection;
  };
}

type Ask = <T>(error: BridgeError, signal: AbortSignal, serve: (source: Source) => T) => Promise<T>;

function createClient(by: string, nowMs: () => number, ask: Ask, podUid: string): PrometheusClient {
  const late = new BridgeError("prometheus_timeout", "Prometheus did not answer in 10 s");
  /** The tunnel leads to one Pod. */
  const askPod: Ask = (error, signal, serve) =>
    ask(error, signal, (source) => {
      if (source.pod.uid !== podUid) throw new BridgeError("tunnel_closed", "the Pod is gone");
      return serve(source);
    });
  const arrived = (source: Source, window: Window, metric: string): SourceSample[] =>
    samplesIn(source, { ...window, toMs: Math.min(window.toMs, nowMs()) }, metric);
  const upOf = (source: Source, window: Window): SourceSample[] =>
    arrived(source, window, source.series[0]!.metric);
  return {
    ready: async () => true,
    version: async () => "3.15.0",
    prepareReads: async () => undefined,
    metadata: async () => new Map(),
    now: (signal) => askPod(late, signal, () => nowMs()),
    hasSamplesAt: (atMs, signal) =>
      askPod(late, signal, (source) => upOf(source, { fromMs: atMs - 300_000, toMs: atMs }).length > 0),
    oldestSample: (window, signal) => askPod(late, signal, (source) => upOf(source, window)[0]?.timestampMs),
    countSeries: (metric, signal) =>
      askPod(late, signal, ({ series }) => series.filter((each) => each.metric === metric).length),
    countSamples: (selectors, window, signal) =>
      askPod(late, signal, (source) => selectors.map((metric) => arrived(source, window, metric).length)),
    read: async (query, window, hooks, signal) => {
      const samples = await askPod(late, signal, (source) => {
        source.reads.push({ by, atMs: nowMs(), query: query.name, window });
        return arrived(source, window, query.promql);
      });
      const bySeries = Map.groupBy(samples, ({ series }) => series);
      for (const [series, own] of bySeries) {
        hooks.sink.series(toScanned(series, own));
        const wait = hooks.pause();
        if (wait) await abortable(wait, signal);
      }
      return {
        series: bySeries.size,
        samples: samples.length,
        refused: [],
        histogramSamples: 0,
        warnings: [],
      };
    },
  };
}

function toScanned({ metric, labels }: SourceSeries, samples: readonly SourceSample[]): ScannedSeries {
  const texts = [metric, ...Object.entries(labels).flat()].map((text) => Buffer.from(text));
  const ends: number[] = [];
  let length = 0;
  for (const text of texts) ends.push((length += text.length));
  const ranges = ends.slice(1).flatMap((end, i) => [ends[i]!, end]);
  return {
    bytes: Buffer.concat(texts),
    nameStart: 0,
    nameEnd: ends[0]!,
    labelCount: ranges.length / 4,
    labels: Int32Array.from(ranges),
    sampleCount: samples.length,
    timestamps: Float64Array.from(samples, (sample) => sample.timestampMs),
    values: Float64Array.from(samples, (sample) => sample.value),
  };
}
