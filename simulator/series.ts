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
  values: Float64Array;
}

export function createSampleBuffer(): SampleBuffer {
  return { count: 0, timestamps: new Float64Array(256), values: new Float64Array(256) };
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

function isVisible(series: SimulatedSeries, k: number, horizon: Horizon): boolean {
  const scrapedMs = scrapeTime(series.target, k, horizon.replica);
  return (
    scrapedMs >= series.bornMs &&
    scrapedMs < series.goneMs &&
    scrapedMs >= horizon.oldestMs &&
    scrapedMs <= horizon.nowMs &&
    (horizon.scrapes?.(series.target, scrapedMs) ?? true)
  );
}

/** Fills `out` with the samples in [fromMs, toMs], oldest first. */
export function readSamples(
  series: SimulatedSeries,
  fromMs: number,
  toMs: number,
  horizon: Horizon,
  out: SampleBuffer,
): void {
  out.count = 0;
  const [first, last] = scrapeNumbers(series, fromMs, toMs);
  for (let k = first; k <= last; k++) {
    const timeMs = sampleTime(series, k, horizon.replica);
    if (timeMs < fromMs || timeMs > toMs || timeMs < horizon.oldestMs) continue;
    if (!isVisible(series, k, horizon)) continue;
    if (out.count === out.timestamps.length) grow(out);
    out.timestamps[out.count] = timeMs;
    out.values[out.count] = series.valueAt(timeMs);
    out.count++;
  }
}

function grow(out: SampleBuffer): void {
  const timestamps = new Float64Array(out.timestamps.length * 2);
  const values = new Float64Array(out.values.length * 2);
  timestamps.set(out.timestamps);
  values.set(out.values);
  out.timestamps = timestamps;
  out.values = values;
}

/**
 * The sample that an instant selector finds at `atMs`: the newest in [fromMs, atMs], or none when the series
 * was marked stale since, which
 * happens at the first scrape without it and never to samples with timestamps of their own.
 */
export function latestSample(
  series: SimulatedSeries,
  fromMs: number,
  atMs: number,
  horizon: Horizon,
): { timeMs: number; value: number } | undefined {
  const [first, last] = scrapeNumbers(series, fromMs, atMs);
  for (let k = last; k >= first; k--) {
    const timeMs = sampleTime(series, k, horizon.replica);
    if (timeMs > atMs) continue;
    if (timeMs < fromMs || timeMs < horizon.oldestMs) return undefined;
    if (isVisible(series, k, horizon)) return { timeMs, value: series.valueAt(timeMs) };
    const scrapedMs = scrapeTime(series.target, k, horizon.replica);
    if (series.lateMs === undefined && scrapedMs >= series.goneMs && scrapedMs <= horizon.nowMs)
      return undefined;
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
