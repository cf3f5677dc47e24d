import type { BridgeError } from "#errors/error.ts";
import { abortable } from "#lib/clock.ts";
import type { OpenPrometheus } from "#collect/ports.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { Window } from "#prometheus/window.ts";
import type { FamilyMetadata } from "#prometheus/metadata.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
import { createNativeHistogram, type NativeHistogram } from "#prometheus/remote-read/native-histogram.ts";
import type { RefusedSeries, ScannedSeries } from "#prometheus/series-sink.ts";

/** One series with a sample at every multiple of `everyMs`, `offsetMs` later. */
export interface SourceSeries {
  metric: string;
  labels: Record<string, string>;
  everyMs: number;
  offsetMs: number;
  /** No sample before or after these times. */
  fromMs?: number;
  toMs?: number;
  /** Each sample reaches Prometheus this long after its timestamp. */
  lateMs?: number;
}

export interface SourceSample {
  metric: string;
  labels: Record<string, string>;
  timestampMs: number;
  value: number;
}

/** How a read goes wrong: an error before anything came, after some series, or no end at all. */
type ReadFault = { error: BridgeError; afterSeries: number } | "hang";

export interface FakePrometheus {
  open: OpenPrometheus;
  /** Prometheus' clock, ms. */
  nowMs: number;
  series: SourceSeries[];
  metadata: Map<string, FamilyMetadata>;
  nodeNames: Map<string, string>;
  warnings: string[];
  pod: { uid: string; name: string };
  /** Other ready Pods of the Service; each holds the samples after its own `oldestMs`. */
  otherPods: { uid: string; name: string; oldestMs: number }[];
  /** By the name of a Pod: how much later than the series say it scrapes. */
  scrapesLaterMs: Record<string, number>;
  /** Called when a connection to a Pod is opened; what it gives is how that fails. */
  onOpen: (podUid: string) => BridgeError | undefined;
  /** Samples at or before this time are gone. */
  oldestMs: number;
  /** Called for each read; what it gives is how the read goes wrong. */
  onRead: (
    query: Query,
    window: Window,
    signal: AbortSignal,
  ) => ReadFault | undefined | Promise<ReadFault | undefined>;
  openFailure: BridgeError | undefined;
  metadataFailure: BridgeError | undefined;
  /** Native histograms that each read brings, at the end of its window. */
  histogramSamples: number;
  /** What these have beside a count of 3. */
  histogramParts: Partial<NativeHistogram>;
  /** Stale markers: each read of the metric gives those of its window apart from the samples. */
  markers: { metric: string; labels: Record<string, string>; timestampMs: number }[];
  /** Reads of this metric begin again, once each, after their first series. */
  restarting: string | undefined;
  /** Refused series of each read. */
  refused: RefusedSeries[];
  /** Called for each count of series; what it gives is how that fails. */
  onCountSeries?: () => BridgeError | undefined;
  /** Called for each count of samples; what it gives is how that fails. */
  onCount: (selectors: readonly string[], window: Window) => BridgeError | undefined;
  /** Added to each count: samples that no read gives. */
  countExtra: number;
  /** Counts that were asked for, in order. */
  counts: { selectors: readonly string[]; window: Window; pod: string }[];
  /** Windows that were asked for, in order. */
  reads: { query: string; window: Window; pod: string }[];
  /** Those of them that were answered to the end. */
  wholeReads: { query: string; window: Window; pod: string }[];
  pinned: (string | undefined)[];
  opened: number;
  closed: number;
}

/** A value that tells its series and time, so that a mix-up shows. */
function valueOf(series: SourceSeries, timestampMs: number): number {
  let hash = timestampMs % 1_000_003;
  for (const char of series.metric + JSON.stringify(series.labels))
    hash = (hash * 31 + char.charCodeAt(0)) % 1_000_003;
  return hash % 50 === 0 ? Number.NaN : hash / 7;
}

/** Every sample of a series in (fromMs, toMs]. */
export function samplesIn(series: SourceSeries, { fromMs, toMs }: Window): SourceSample[] {
  const { metric, labels, everyMs, offsetMs } = series;
  const samples: SourceSample[] = [];
  const from = Math.max(fromMs, (series.fromMs ?? 0) - 1);
  const to = Math.min(toMs, series.toMs ?? Infinity);
  const first = Math.floor((from - offsetMs) / everyMs) + 1;
  for (let at = first * everyMs + offsetMs; at <= to; at += everyMs) {
    samples.push({ metric, labels, timestampMs: at, value: valueOf(series, at) });
  }
  return samples;
}

function toScanned(
  { metric, labels }: Pick<SourceSeries, "metric" | "labels">,
  samples: readonly SourceSample[],
): ScannedSeries {
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

function nativeHistogram(timestampMs: number): NativeHistogram {
  return { ...createNativeHistogram(), timestampMs, count: 3, zeroCount: 3 };
}

/** A Prometheus in memory whose queries are metric names. */
export function createFakePrometheus(nowMs: number, series: SourceSeries[]): FakePrometheus {
  const visible = (window: Window, oldestMs: number): Window => ({
    ...window,
    fromMs: Math.max(window.fromMs, oldestMs),
  });

  /** The samples of a series that Prometheus has by now. */
  const arrivedIn = (each: SourceSeries, window: Window): SourceSample[] =>
    samplesIn(each, window).filter(({ timestampMs }) => timestampMs + (each.lateMs ?? 0) <= fake.nowMs);

  /** `up` has a sample whenever any series has one, unless the test gives it series of its own. */
  const upOf = (window: Window, oldestMs: number): number[] => {
    const own = fake.series.filter(({ metric }) => metric === "up");
    const all = own.length > 0 ? own : fake.series;
    return all.flatMap((each) =>
      samplesIn(each, visible(window, oldestMs)).map((sample) => sample.timestampMs),
    );
  };

  const createClient = (pod: string, oldestMsOf: () => number): PrometheusClient => ({
    ready: async () => true,
    version: async () => "3.15.0",
    prepareReads: async () => undefined,
    read: async (query, window, hooks, signal) => {
      const asked = { query: query.name, window, pod };
      fake.reads.push(asked);
      const fault = await fake.onRead(query, window, signal);
      const result: ScanResult = {
        series: 0,
        samples: 0,
        histogramSamples: 0,
        refused: fake.refused,
        warnings: [],
      };
      if (fake.restarting === query.promql) {
        const [first] = fake.series.filter(({ metric }) => metric === query.promql);
        if (first) hooks.sink.series(toScanned(first, samplesIn(first, window)));
        await hooks.restart?.();
      }
      for (const { metric, labels, timestampMs } of fake.markers) {
        if (metric !== query.promql || timestampMs <= window.fromMs || timestampMs > window.toMs) continue;
        hooks.sink.markers?.(
          toScanned({ metric, labels }, [{ metric, labels, timestampMs, value: Number.NaN }]),
        );
      }
      if (fault === "hang") await abortable(new Promise<never>(() => {}), signal);
      const later = fake.scrapesLaterMs[pod] ?? 0;
      for (const known of fake.series.filter(({ metric }) => metric === query.promql)) {
        const each = { ...known, offsetMs: known.offsetMs + later };
        if (fault && fault !== "hang" && fault.afterSeries <= result.series) throw fault.error;
        const samples = arrivedIn(each, visible(window, oldestMsOf()));
        if (samples.length === 0) continue;
        await Promise.resolve();
        signal.throwIfAborted();
        hooks.sink.series(toScanned(each, samples));
        result.series++;
        result.samples += samples.length;
        const wait = hooks.pause();
        if (wait) await abortable(wait, signal);
      }
      for (let i = 0; i < fake.histogramSamples; i++) {
        hooks.sink.histogram?.(toScanned({ metric: query.promql, labels: { native: "1" } }, []), {
          ...nativeHistogram(window.toMs),
          ...fake.histogramParts,
        });
        result.histogramSamples++;
      }
      if (fault && fault !== "hang") throw fault.error;
      fake.wholeReads.push(asked);
      return result;
    },
    now: async (signal) => {
      await Promise.resolve();
      signal.throwIfAborted();
      return fake.nowMs;
    },
    metadata: async () => {
      await Promise.resolve();
      if (fake.metadataFailure) throw fake.metadataFailure;
      return fake.metadata;
    },
    countSamples: async (selectors, window, signal) => {
      fake.counts.push({ selectors, window, pod });
      await Promise.resolve();
      signal.throwIfAborted();
      const failure = fake.onCount(selectors, window);
      if (failure) throw failure;
      const seen = visible(window, oldestMsOf());
      return selectors.map((selector) =>
        fake.series
          .filter(({ metric }) => metric === selector)
          .reduce((sum, each) => sum + arrivedIn(each, seen).length, fake.countExtra),
      );
    },
    countSeries: async (selector) => {
      await Promise.resolve();
      const failure = fake.onCountSeries?.();
      if (failure) throw failure;
      return fake.series.filter(({ metric }) => metric === selector).length;
    },
    hasSamplesAt: (atMs) =>
      Promise.resolve(upOf({ fromMs: atMs - 300_000, toMs: atMs }, oldestMsOf()).length > 0),
    oldestSample: (window) => {
      const times = upOf({ ...window, toMs: Math.min(window.toMs, fake.nowMs) }, oldestMsOf());
      return Promise.resolve(times.length === 0 ? undefined : Math.min(...times));
    },
  });

  const fake: FakePrometheus = {
    nowMs,
    series,
    metadata: new Map(),
    nodeNames: new Map(),
    warnings: [],
    pod: { uid: "pod-1", name: "prometheus-0" },
    otherPods: [],
    scrapesLaterMs: {},
    onOpen: () => undefined,
    oldestMs: 0,
    onRead: () => undefined,
    openFailure: undefined,
    metadataFailure: undefined,
    histogramSamples: 0,
    histogramParts: {},
    refused: [],
    markers: [],
    restarting: undefined,
    onCount: () => undefined,
    countExtra: 0,
    counts: [],
    reads: [],
    wholeReads: [],
    pinned: [],
    opened: 0,
    closed: 0,
    open: async (_cluster, pinnedPodUid, signal) => {
      await Promise.resolve();
      signal.throwIfAborted();
      fake.pinned.push(pinnedPodUid);
      const other = fake.otherPods.find(({ uid }) => uid === pinnedPodUid);
      const failure = fake.openFailure ?? fake.onOpen((other ?? fake.pod).uid);
      if (failure) throw failure;
      fake.opened++;
      const close = async (): Promise<void> => {
        fake.closed++;
        await Promise.resolve();
      };
      const pod = other ?? fake.pod;
      const client = createClient(pod.name, () => (other ? other.oldestMs : fake.oldestMs));
      const otherPods = [fake.pod, ...fake.otherPods].filter(({ uid }) => uid !== pod.uid);
      const { nodeNames, warnings } = fake;
      const refs = { pod: { uid: pod.uid, name: pod.name }, otherPods, unreadyPods: [] };
      return { client, ...refs, nodeNames, warnings, close };
    },
  };
  return fake;
}
