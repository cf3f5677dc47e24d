import type { PrometheusVersion } from "./answer-format.ts";
import type { NativeHistogram } from "./native-histogram.ts";
import { fraction, mix } from "./noise.ts";
import type { ValueAt } from "./values.ts";

export type Label = readonly [name: string, value: string];

/** Something that Prometheus scrapes every `intervalMs`, at irregular milliseconds. */
export interface ScrapeTarget {
  hash: number;
  /** job, instance and what else the scrape adds to each series. */
  labels: readonly Label[];
  intervalMs: number;
  /** Scrapes come up to this much late; below half of the interval. */
  jitterMs: number;
  /** Does a scrape at this time fail? Default: none does. */
  isDown?: (scrapedMs: number) => boolean;
}

/** One time series. Its samples are functions of the scrape's number: nothing is stored. */
export interface SimulatedSeries {
  /** Sorted by name (bytes), `__name__` among them. */
  labels: readonly Label[];
  target: ScrapeTarget;
  /** Exposed by the target at scrapes in [bornMs, goneMs). */
  bornMs: number;
  goneMs: number;
  /**
   * Samples carry a timestamp of their own, so many ms (and a little) before the scrape, as cAdvisor's do.
   */
  lateMs?: number;
  valueAt: ValueAt;
  /** The sample at this time where it is a native histogram; undefined: it is `valueAt`. */
  histogramAt?: (timeMs: number) => NativeHistogram | undefined;
}

export type MetricType = "counter" | "gauge" | "histogram" | "summary" | "unknown";

/** The answer of /api/v1/metadata for a family. */
export interface MetricFamily {
  name: string;
  type: MetricType;
  help: string;
  /** Always empty in the text format. */
  unit: string;
}

/** A stretch of scrape times, in ms, both ends included. */
export interface ScrapeSpan {
  fromMs: number;
  toMs: number;
}

/** All series with one `__name__`. */
export interface SimulatedMetric {
  name: string;
  /** The first version of Prometheus that knows such samples. Default: any. */
  since?: PrometheusVersion;
  /** null for what Prometheus makes itself (`up`): it has no metadata. */
  family: MetricFamily | null;
  /**
   * Series that may have been exposed at a scrape in the span; some of them may turn out to have no sample
   * there.
   */
  series(span: ScrapeSpan): Iterable<SimulatedSeries>;
}

/** Time of scrape number `k`. Replicas of Prometheus scrape the same target at different moments. */
export function scrapeTime(target: ScrapeTarget, k: number, replica: number): number {
  const hash = mix(target.hash, replica);
  const offsetMs = Math.floor(fraction(hash) * target.intervalMs);
  return k * target.intervalMs + offsetMs + Math.floor(fraction(mix(hash, k)) * target.jitterMs);
}

/**
 * Timestamp of the sample that scrape number `k` brings: the same for every replica when it is the target's
 * own.
 */
export function sampleTime(series: SimulatedSeries, k: number, replica: number): number {
  if (series.lateMs === undefined) return scrapeTime(series.target, k, replica);
  const wobbleMs = Math.floor(
    fraction(mix(series.target.hash ^ 0x5bd1e995, k)) * series.target.intervalMs * 0.4,
  );
  return scrapeTime(series.target, k, 0) - series.lateMs - wobbleMs;
}

/** Samples of one series; arrays may be longer than `count`. */
export interface SampleBuffer {
  count: number;
  timestamps: Float64Array;
  /** NaN where `isMarker` is 1. */
  values: Float64Array;
  /** 1: a stale marker, not a sample. */
  isMarker: Uint8Array;
  /** Sparse: where a sample is a native histogram, or marks the end of some, it is here; `values` has NaN. */
  histograms: (NativeHistogram | undefined)[];
}

export function createSampleBuffer(): SampleBuffer {
  return {
    count: 0,
    timestamps: new Float64Array(256),
    values: new Float64Array(256),
    isMarker: new Uint8Array(256),
    histograms: [],
  };
}

/** The samples that a Prometheus has: nothing below `oldestMs`, nothing scraped after `nowMs`. */
export interface Horizon {
  oldestMs: number;
  nowMs: number;
  replica: number;
  /** Does this Prometheus scrape the target at this time? Default: it scrapes all. */
  scrapes?: Scrapes;
}

export type Scrapes = (target: ScrapeTarget, scrapedMs: number) => boolean;

/** Bounds of the scrape numbers whose samples can lie in [fromMs, toMs]. */
function scrapeNumbers(series: SimulatedSeries, fromMs: number, toMs: number): [first: number, last: number] {
  const { intervalMs } = series.target;
  const lateMs = series.lateMs ?? 0;
  return [Math.floor((fromMs + lateMs) / intervalMs) - 2, Math.ceil((toMs + lateMs) / intervalMs) + 1];
}

function wasScraped(series: SimulatedSeries, scrapedMs: number, horizon: Horizon): boolean {
  return (
    scrapedMs >= horizon.oldestMs &&
    scrapedMs <= horizon.nowMs &&
    (horizon.scrapes?.(series.target, scrapedMs) ?? true)
  );
}

function isExposed({ bornMs, goneMs, target }: SimulatedSeries, scrapedMs: number): boolean {
  return scrapedMs >= bornMs && scrapedMs < goneMs && target.isDown?.(scrapedMs) !== true;
}

function isVisible(series: SimulatedSeries, k: number, horizon: Horizon): boolean {
  const scrapedMs = scrapeTime(series.target, k, horizon.replica);
  return isExposed(series, scrapedMs) && wasScraped(series, scrapedMs, horizon);
}

/**
 * Does scrape number `k` mark the series as stale? The first scrape without it does (the series is gone, or
 * the scrape fails), but only where the same Prometheus had it in the scrape before. Samples with timestamps of
 * their own are never marked.
 */
function isMarked(series: SimulatedSeries, k: number, horizon: Horizon): boolean {
  if (series.lateMs !== undefined) return false;
  const scrapedMs = scrapeTime(series.target, k, horizon.replica);
  return (
    !isExposed(series, scrapedMs) &&
    wasScraped(series, scrapedMs, horizon) &&
    isVisible(series, k - 1, horizon)
  );
}

/** Fills `out` with the samples in [fromMs, toMs], oldest first, as a range selector finds them. */
export function readSamples(
  series: SimulatedSeries,
  fromMs: number,
  toMs: number,
  horizon: Horizon,
  out: SampleBuffer,
): void {
  read(series, { fromMs, toMs }, horizon, out, false);
}

/** As `readSamples`, with the stale markers among them: all that Prometheus stores. */
export function readStored(
  series: SimulatedSeries,
  fromMs: number,
  toMs: number,
  horizon: Horizon,
  out: SampleBuffer,
): void {
  read(series, { fromMs, toMs }, horizon, out, true);
}

function read(
  series: SimulatedSeries,
  { fromMs, toMs }: ScrapeSpan,
  horizon: Horizon,
  out: SampleBuffer,
  withMarkers: boolean,
): void {
  out.count = 0;
  out.histograms.length = 0;
  const [first, last] = scrapeNumbers(series, fromMs, toMs);
  for (let k = first; k <= last; k++) {
    const timeMs = sampleTime(series, k, horizon.replica);
    if (timeMs < fromMs || timeMs > toMs || timeMs < horizon.oldestMs) continue;
    const isSample = isVisible(series, k, horizon);
    if (!isSample && !(withMarkers && isMarked(series, k, horizon))) continue;
    if (out.count === out.timestamps.length) grow(out);
    out.timestamps[out.count] = timeMs;
    // A marker is of the kind that the sample before it is.
    const ofMs = isSample ? timeMs : sampleTime(series, k - 1, horizon.replica);
    const histogram = series.histogramAt?.(ofMs);
    if (histogram) out.histograms[out.count] = histogram;
    out.values[out.count] = isSample && !histogram ? series.valueAt(timeMs) : Number.NaN;
    out.isMarker[out.count] = isSample ? 0 : 1;
    out.count++;
  }
}

function grow(out: SampleBuffer): void {
  const timestamps = new Float64Array(out.timestamps.length * 2);
  const values = new Float64Array(out.values.length * 2);
  const isMarker = new Uint8Array(out.isMarker.length * 2);
  timestamps.set(out.timestamps);
  values.set(out.values);
  isMarker.set(out.isMarker);
  Object.assign(out, { timestamps, values, isMarker });
}

export interface LatestSample {
  timeMs: number;
  /** NaN where there is a histogram. */
  value: number;
  histogram?: NativeHistogram;
}

/**
 * The sample that an instant selector finds at `atMs`: the newest in [fromMs, atMs], or none when the series
 * was marked stale since.
 */
export function latestSample(
  series: SimulatedSeries,
  fromMs: number,
  atMs: number,
  horizon: Horizon,
): LatestSample | undefined {
  const [first, last] = scrapeNumbers(series, fromMs, atMs);
  for (let k = last; k >= first; k--) {
    const timeMs = sampleTime(series, k, horizon.replica);
    if (timeMs > atMs) continue;
    if (timeMs < fromMs || timeMs < horizon.oldestMs) return undefined;
    if (isVisible(series, k, horizon)) {
      const histogram = series.histogramAt?.(timeMs);
      return histogram ? { timeMs, value: Number.NaN, histogram } : { timeMs, value: series.valueAt(timeMs) };
    }
    if (isMarked(series, k, horizon)) return undefined;
  }
  return undefined;
}

/** Joins label lists and sorts them by name as Prometheus does; later lists win over earlier ones. */
export function joinLabels(...lists: (readonly Label[])[]): Label[] {
  const joined: Label[] = [];
  for (const list of lists) {
    for (const label of list) {
      const at = joined.findIndex(([name]) => name === label[0]);
      if (at >= 0) joined[at] = label;
      else joined.push(label);
    }
  }
  return joined.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Prometheus' order of series: label by label, names before values, shorter first. Compares UTF-8 order. */
export function compareLabels(a: readonly Label[], b: readonly Label[]): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const [nameA, valueA] = a[i] as Label;
    const [nameB, valueB] = b[i] as Label;
    if (nameA !== nameB) return nameA < nameB ? -1 : 1;
    if (valueA !== valueB) return compareText(valueA, valueB);
  }
  return a.length - b.length;
}

function compareText(a: string, b: string): number {
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  const unitA = i < a.length ? a.charCodeAt(i) : -1;
  const unitB = i < b.length ? b.charCodeAt(i) : -1;
  // UTF-16 order differs from UTF-8 order only where a surrogate meets U+E000..U+FFFF.
  const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xe000;
  if (isSurrogate(unitA) !== isSurrogate(unitB) && unitA >= 0xd800 && unitB >= 0xd800)
    return isSurrogate(unitA) ? 1 : -1;
  return unitA - unitB;
}
