import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { createCollectCluster, type CollectClusterSettings } from "#collect/collect-cluster.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import { readProgress } from "#collect/progress-store.ts";
import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterResult } from "#collect/status.ts";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { createBufferPool } from "#otlp/buffer-pool.ts";
import type { Exporter } from "#otlp/exporter.ts";
import { toQueries } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { Window } from "#prometheus/window.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import { createMemoryStore } from "./memory-store.ts";
import { createSilentLogger } from "./silent-logger.ts";
import { LAG, MINUTE, SECOND, START, testCluster } from "./collection.ts";
import { createVirtualTime, type VirtualTime } from "./virtual-time.ts";

/** One query and the number of its series. */
export interface VirtualQuery {
  name: string;
  series: number;
}

/** How Prometheus and the way to it behave for one read; the defaults are perfect. */
interface ReadCosts {
  /** Bytes of the answer that pass per second, shared by all answers under way. */
  bytesPerSecond: number;
  roundTripMs: number;
  /** Time that Prometheus takes per minute of the window. */
  msPerMinute: number;
  /** Fails like this, after the time above. */
  failure?: BridgeError;
}

/** JSON bytes of a sample in an answer: `[1700000000.123,"12345.678"],` and its share of the labels. */
const SAMPLE_BYTES = 72;
/** Bytes of a sample in a compressed batch. */
const PACKED_BYTES = 14;
const SCRAPE_MS = 15 * SECOND;
const TIMEOUT_MS = 30 * SECOND;

/**
 * A cluster whose scrapes are a function of time, a link with a speed, and a store that remembers which samples came, all in virtual time.
 * Every series of every query has a sample at each multiple of 15 s.
 */
export interface VirtualCluster {
  time: VirtualTime;
  queries: readonly VirtualQuery[];
  /** How each read goes. */
  costs: (query: string, window: Window) => ReadCosts;
  /** Reads that began. */
  reads: { query: string; window: Window; atMs: number }[];
  /** One collection with a deadline. */
  collect(deadlineMs: number): Promise<ClusterResult>;
  progress(): Promise<ClusterProgress>;
  /** Samples of the query in (fromMs, toMs] that are not stored. */
  missing(query: string, window: Window): number;
  /** The newest stored sample of the query, ms. */
  newest(query: string): number;
}

export function createVirtualCluster(
  queries: readonly VirtualQuery[],
  change: Partial<CollectClusterSettings> = {},
): VirtualCluster {
  const time = createVirtualTime(START);
  const { clock } = time;
  const link = createLink(time);
  const stored = createStored(queries);
  const store = createMemoryStore();
  const cluster = testCluster("virtual");

  const read: PrometheusClient["read"] = async (query, window, hooks, signal) => {
    virtual.reads.push({ query: query.name, window, atMs: clock.monotonic() });
    const costs = virtual.costs(query.name, window);
    const series = queries.find(({ name }) => name === query.name)!.series;
    const timestamps = scrapesIn(window);
    const late = (): BridgeError =>
      new BridgeError("prometheus_timeout", "Prometheus did not answer in 30 s");
    const limit = deadline(clock, TIMEOUT_MS, late, signal);
    try {
      const minutes = (window.toMs - window.fromMs) / MINUTE;
      await clock.sleep(costs.roundTripMs + costs.msPerMinute * minutes, limit.signal);
      if (costs.failure) throw costs.failure;
      const bytes = SAMPLE_BYTES * series * timestamps.length;
      await link.transfer(bytes, costs.bytesPerSecond, limit.signal);
    } finally {
      limit.dispose();
    }
    for (let i = 0; i < series; i++) {
      if (timestamps.length > 0) hooks.sink.series(toScanned(query.name, i, timestamps));
      const wait = hooks.pause();
      if (wait) await abortable(wait, signal);
    }
    const samples = series * timestamps.length;
    return { series, samples, refused: [], histogramSamples: 0, warnings: [] };
  };
  const client: PrometheusClient = {
    read,
    ready: async () => true,
    version: async () => "3.15.0",
    prepareReads: async () => undefined,
    now: async () => clock.now(),
    metadata: async () => new Map(),
    hasSamplesAt: async () => true,
    oldestSample: async () => 0,
    countSeries: async (selector) => queries.find(({ name }) => name === selector)?.series ?? 0,
    countSamples: async (selectors, window) =>
      selectors.map(
        (selector) => queries.find(({ name }) => name === selector)!.series * scrapesIn(window).length,
      ),
  };
  const openPrometheus: OpenPrometheus = async () => ({
    client,
    pod: { uid: "pod", name: "prometheus-0" },
    otherPods: [],
    unreadyPods: [],
    nodeNames: new Map(),
    warnings: [],
    close: async () => {},
  });
  const settings: CollectClusterSettings = {
    queries: toQueries(queries.map(({ name }) => ({ name, promql: name, group: "node", type: "gauge" }))),
    intervalMs: 5 * MINUTE,
    lagMs: LAG,
    initialLookbackMs: 15 * MINUTE,
    maxBackfillMs: 48 * 60 * MINUTE,
    windowMsMax: 60 * MINUTE,
    lanes: 2,
    batchPointsMax: 20_000,
    batchBytesMax: 8 << 20,
    keptBytesMax: 8 << 20,
    batchesInFlightMax: 2,
    version: "1.2.3",
    ...change,
  };
  const deps = {
    openPrometheus,
    exporter: stored.exporter,
    store,
    clock,
    logger: createSilentLogger(),
    metrics: {
      batchStarted: () => {},
      batchFinished: () => {},
      errorOccurred: () => {},
      timeLost: () => {},
      samplesRead: () => {},
    },
    pool: createBufferPool(4),
    turns: createTurns(),
  };
  const virtual: VirtualCluster = {
    time,
    queries,
    costs: () => ({ bytesPerSecond: Infinity, roundTripMs: 1, msPerMinute: 0 }),
    reads: [],
    collect: async (deadlineMs) => {
      const late = (): BridgeError => new BridgeError("cluster_deadline_exceeded", "late");
      const limit = deadline(clock, deadlineMs, late);
      const reading = deadline(clock, deadlineMs - 10 * SECOND, late);
      const signals = { epoch: 0, signal: limit.signal, readSignal: reading.signal, isStopping: () => false };
      const collect = createCollectCluster(deps, settings);
      try {
        return await time.run(collect(cluster, signals));
      } finally {
        reading.dispose();
        limit.dispose();
      }
    },
    progress: () => readProgress(store, cluster.id),
    missing: stored.missing,
    newest: stored.newest,
  };
  return virtual;
}

function scrapesIn({ fromMs, toMs }: Window): Float64Array {
  const first = Math.floor(fromMs / SCRAPE_MS) + 1;
  const count = Math.max(0, Math.floor(toMs / SCRAPE_MS) - first + 1);
  return Float64Array.from({ length: count }, (_, i) => (first + i) * SCRAPE_MS);
}

function toScanned(metric: string, index: number, timestamps: Float64Array): ScannedSeries {
  const texts = [metric, "i", String(index)].map((text) => Buffer.from(text));
  const ends = texts.map((_, i) => texts.slice(0, i + 1).reduce((sum, { length }) => sum + length, 0));
  return {
    bytes: Buffer.concat(texts),
    nameStart: 0,
    nameEnd: ends[0]!,
    labelCount: 1,
    labels: Int32Array.from([ends[0]!, ends[1]!, ends[1]!, ends[2]!]),
    sampleCount: timestamps.length,
    timestamps,
    values: new Float64Array(timestamps.length),
  };
}

/** All answers under way share the bytes per second of the link equally. */
function createLink({ clock }: VirtualTime): {
  transfer(bytes: number, bytesPerSecond: number, signal: AbortSignal): Promise<void>;
} {
  const under = new Set<{ left: number; done: () => void }>();
  let speed = Infinity;
  let since = 0;
  let cancel: (() => void) | undefined;

  const settle = (): void => {
    const passed = ((clock.monotonic() - since) / 1000) * (speed / under.size);
    since = clock.monotonic();
    for (const each of under) {
      each.left -= passed;
      if (each.left > 1e-6) continue;
      under.delete(each);
      each.done();
    }
  };
  const schedule = (): void => {
    cancel?.();
    if (under.size === 0) return;
    const least = [...under].reduce((min, { left }) => Math.min(min, left), Infinity);
    cancel = clock.after(Math.max(0.01, (least / (speed / under.size)) * 1000), () => {
      settle();
      schedule();
    });
  };
  return {
    transfer: async (bytes, bytesPerSecond, signal) => {
      if (bytes === 0 || bytesPerSecond === Infinity) return;
      if (under.size > 0) settle();
      since = clock.monotonic();
      speed = bytesPerSecond;
      const { promise, resolve } = Promise.withResolvers<void>();
      const transfer = { left: bytes, done: resolve };
      under.add(transfer);
      schedule();
      try {
        await abortable(promise, signal);
      } finally {
        if (under.size > 0) settle();
        under.delete(transfer);
        schedule();
      }
    },
  };
}

/** A Collector that remembers which samples it got. */
function createStored(queries: readonly VirtualQuery[]) {
  const codec = createOtlpCodec();
  const plainOf = new WeakMap<Buffer, Buffer>();
  const seen = new Map(
    queries.map(({ name, series }) => [name, Array.from({ length: series }, () => new Set<number>())]),
  );
  const take = (body: Buffer): void => {
    for (const { scopeMetrics } of codec.decodeRequest(body).resourceMetrics) {
      for (const { metrics } of scopeMetrics) {
        for (const metric of metrics) {
          const series = seen.get(metric.name);
          for (const point of (series && metric.gauge?.dataPoints) ?? []) {
            const index = Number(point.attributes.find(({ key }) => key === "i")?.value?.stringValue);
            series![index]!.add(Number(BigInt(point.timeUnixNano.toString()) / 1_000_000n));
          }
        }
      }
    }
  };
  const exporter: Exporter = {
    pack: async (batch) => {
      const { points, parts } = batch;
      const packed = Buffer.alloc(points * PACKED_BYTES);
      plainOf.set(packed, Buffer.from(batch.body));
      batch.release();
      return { body: packed, packed: "none", points, parts, release: () => {} };
    },
    send: async (batch) => {
      take(plainOf.get(batch.body) ?? batch.body);
      batch.release();
      await Promise.resolve();
      const parts = batch.parts.map(({ owner, points }) => ({
        owner,
        points,
        outcome: { state: "acknowledged" as const },
      }));
      return { parts, bytes: batch.body.length };
    },
    isAccepted: async (batch) => {
      batch.release();
      return true;
    },
  };
  return {
    exporter,
    missing: (query: string, window: Window): number => {
      const scrapes = scrapesIn(window);
      return seen
        .get(query)!
        .reduce((sum, samples) => sum + scrapes.filter((ms) => !samples.has(ms)).length, 0);
    },
    newest: (query: string): number =>
      seen.get(query)!.reduce((min, samples) => {
        let newest = 0;
        for (const ms of samples) newest = Math.max(newest, ms);
        return Math.min(min, newest);
      }, Infinity),
  };
}
