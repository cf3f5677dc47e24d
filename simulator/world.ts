import type { Clock } from "#lib/clock.ts";
import { containerMetrics } from "./families-container.ts";
import { gpuMetrics } from "./families-gpu.ts";
import { kubeMetrics } from "./families-kube.ts";
import { nativeMetrics } from "./families-native.ts";
import { nodeMetrics } from "./families-node.ts";
import { prometheusMetrics } from "./families-prometheus.ts";
import { createLayout } from "./layout.ts";
import type { ClusterLayout, ClusterShape } from "./layout.ts";
import type { NativeHistogram } from "./native-histogram.ts";
import { createSampleBuffer, readStored } from "./series.ts";
import type { Horizon, Label, MetricFamily, SampleBuffer, ScrapeSpan, SimulatedMetric } from "./series.ts";

export interface WorldSettings {
  /** The same seed gives the same series and samples, whenever the process started. */
  seed?: string | number;
  /** How many clusters, or the shape of each where it differs from `shape`. Default 1. */
  clusters?: number | readonly Partial<ClusterShape>[];
  /** Settings of all clusters that differ from the defaults. */
  shape?: Partial<ClusterShape>;
}

/** A series and its samples, as they must arrive at the other end. */
export interface ExpectedSeries {
  /** `__name__` among them, sorted by name. */
  labels: readonly Label[];
  /** ms since the epoch, ascending. */
  timestamps: number[];
  values: number[];
  /** Where the series has some; their times are not among `timestamps`. */
  histograms?: { timeMs: number; histogram: NativeHistogram }[];
}

/** A series as Prometheus stores it. */
export interface StoredSeries extends ExpectedSeries {
  /** ms of the stale markers, ascending; they are not among `timestamps`. */
  markers: number[];
  /** Those of the markers that end native histograms. */
  histogramMarkers?: number[];
}

/** Left-open: samples with fromMs < timestamp <= toMs. */
interface ExpectedWindow {
  fromMs: number;
  toMs: number;
  /** `__name__`; default: every metric. */
  metric?: string;
  /** Leaves out what was not scraped yet at this time. Default: everything that ever arrives. */
  nowMs?: number;
  /** Number of the Prometheus replica that scraped. Default 0. */
  replica?: number;
}

export interface ClusterWorld {
  shape: ClusterShape;
  layout: ClusterLayout;
  /** All metrics, sorted by name. */
  metrics: readonly SimulatedMetric[];
  /** One entry a family, sorted by name. */
  families: readonly MetricFamily[];
  /** Time in the cluster, ms: the simulator's clock and the cluster's skew. */
  now(): number;
  /** Time bounds of the samples that a Prometheus of the cluster has now. */
  horizon(replica: number): Horizon;
  /**
   * The truth: every series that has a sample in the window. Series that churn make it grow with the window.
   */
  expected(window: ExpectedWindow): ExpectedSeries[];
  /** The same with the stale markers, which remote read tells and the query API does not. */
  stored(window: ExpectedWindow): StoredSeries[];
}

export interface World {
  clusters: readonly ClusterWorld[];
  /** Throws when there is no such cluster. */
  cluster(id: string): ClusterWorld;
}

const PLACES = ["frankfurt", "oregon", "mumbai", "sydney", "montreal", "osaka", "dublin", "santiago"];
const PLATFORMS = ["eks", "gke", "aks", "openshift", "kubeadm"];
const HOUR_MS = 3_600_000;

/**
 * Clusters with their metrics, of which nothing is stored: each sample is a function of seed, series and
 * time.
 */
export function createWorld(deps: { clock: Clock }, settings: WorldSettings = {}): World {
  const { clusters = 1, shape = {}, seed = 1 } = settings;
  const shapes = typeof clusters === "number" ? Array.from({ length: clusters }, () => ({})) : clusters;
  const startMs = deps.clock.now();
  const worlds = shapes.map((own, index) =>
    createClusterWorld(
      deps.clock,
      { ...defaultShape(index, startMs), ...shape, ...own },
      String(seed),
      index,
    ),
  );
  return {
    clusters: worlds,
    cluster: (id) => {
      const found = worlds.find((world) => world.shape.id === id);
      if (!found) throw new Error(`the simulated world has no cluster ${JSON.stringify(id)}`);
      return found;
    },
  };
}

function defaultShape(index: number, startMs: number): ClusterShape {
  const round = index < PLACES.length ? "" : `-${Math.floor(index / PLACES.length) + 1}`;
  return {
    id: `sim-${index + 1}`,
    name: `${PLACES[index % PLACES.length]}${round}`,
    platform: PLATFORMS[index % PLATFORMS.length] ?? "kubeadm",
    nodes: 3,
    pods: 12,
    gpus: index % 3 === 2 ? 0 : 4,
    cpus: 4,
    scrapeIntervalMs: 15_000,
    jitterMs: 180,
    lateMs: 45_000,
    resetEveryMs: 10 * 60_000,
    churnEveryMs: 15 * 60_000,
    oldestMs: startMs - 6 * HOUR_MS,
    youngReplicas: new Map(),
    skewMs: 0,
    oddities: true,
  };
}

function createClusterWorld(clock: Clock, shape: ClusterShape, seed: string, index: number): ClusterWorld {
  const layout = createLayout(shape, seed, index);
  const metrics = [
    ...nodeMetrics(layout),
    ...kubeMetrics(layout),
    ...containerMetrics(layout),
    ...gpuMetrics(layout),
    ...prometheusMetrics(layout),
    ...(shape.nativeHistograms ? nativeMetrics(layout) : []),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
  const families = new Map<string, MetricFamily>();
  for (const { family } of metrics) if (family) families.set(family.name, family);
  const now = (): number => clock.now() + shape.skewMs;
  const oldestOf = (replica = 0): number =>
    Math.max(shape.oldestMs, shape.youngReplicas.get(replica) ?? shape.oldestMs);
  const stored: ClusterWorld["stored"] = ({ fromMs, toMs, metric, nowMs, replica = 0 }) => {
    const horizon = { oldestMs: oldestOf(replica), nowMs: nowMs ?? Number.POSITIVE_INFINITY, replica };
    const out = createSampleBuffer();
    const chosen = metrics.filter(({ name }) => metric === undefined || name === metric);
    return chosen.flatMap((each) =>
      [...each.series(storedSpan(shape, fromMs, toMs))].flatMap((series) => {
        readStored(series, fromMs + 1, toMs, horizon, out);
        return out.count > 0 ? [toStored(series.labels, out)] : [];
      }),
    );
  };
  return {
    shape,
    layout,
    metrics,
    families: [...families.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    now,
    horizon: (replica) => ({ oldestMs: oldestOf(replica), nowMs: now(), replica }),
    expected: (window) =>
      stored(window).flatMap(({ labels, timestamps, values, histograms }) => {
        if (histograms) return [{ labels, timestamps, values, histograms }];
        return timestamps.length > 0 ? [{ labels, timestamps, values }] : [];
      }),
    stored,
  };
}

function toStored(labels: readonly Label[], out: SampleBuffer): StoredSeries {
  const stored: StoredSeries = { labels, timestamps: [], values: [], markers: [] };
  for (let i = 0; i < out.count; i++) {
    const timeMs = out.timestamps[i] ?? 0;
    const histogram = out.histograms[i];
    if (out.isMarker[i] === 1) {
      stored.markers.push(timeMs);
      if (histogram) (stored.histogramMarkers ??= []).push(timeMs);
    } else if (histogram) (stored.histograms ??= []).push({ timeMs, histogram });
    else {
      stored.timestamps.push(timeMs);
      stored.values.push(out.values[i] ?? 0);
    }
  }
  return stored;
}

/** How scrapes and the samples that they bring lie in time. */
export type ScrapeShape = Pick<ClusterShape, "scrapeIntervalMs" | "lateMs">;

/** Latest scrape that can bring a sample with a timestamp up to `toMs`. */
export function scrapedBy(shape: ScrapeShape, toMs: number): number {
  return toMs + shape.lateMs + 2 * shape.scrapeIntervalMs;
}

/** The scrapes that can bring a sample in [fromMs, toMs], or had a series that is marked stale in it. */
export function storedSpan(shape: ScrapeShape, fromMs: number, toMs: number): ScrapeSpan {
  return { fromMs: fromMs - 2 * shape.scrapeIntervalMs, toMs: scrapedBy(shape, toMs) };
}
