/** A tiny evaluator of what the query API means by PromQL: brute force over all samples, one point at a time, as Prometheus 3 defines it. */

export interface ReferenceSeries {
  labels: Record<string, string>;
  /** Ascending by time (ms). */
  samples: readonly (readonly [ms: number, value: number])[];
  /** Times (ms) of its stale markers. */
  markers?: readonly number[];
}

export interface ReferenceRequest {
  aggregation: string;
  counter: boolean;
  groupBy: readonly string[];
  firstMs: number;
  lastMs: number;
  stepMs: number;
  windowMs: number;
}

type Samples = [number, number][];

const LOOKBACK_MS = 300_000;

const QUANTILES: Record<string, number> = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 };

function quantile(q: number, values: readonly number[]): number {
  const ordered = values.toSorted((a, b) => (Number.isNaN(a) ? -1 : Number.isNaN(b) ? 1 : a - b));
  const rank = q * (ordered.length - 1);
  const lower = Math.floor(rank);
  const upper = Math.min(ordered.length - 1, lower + 1);
  const weight = rank - lower;
  return ordered[lower]! * (1 - weight) + ordered[upper]! * weight;
}

function extreme(values: readonly number[], isBetter: (a: number, b: number) => boolean): number {
  return values.reduce((best, value) => (isBetter(value, best) || Number.isNaN(best) ? value : best));
}

/** Neumaier's sum, as promql/engine.go's. */
function sum(values: readonly number[]): number {
  let total = 0;
  let rest = 0;
  for (const value of values) {
    const next = total + value;
    if (!Number.isFinite(next)) rest = 0;
    else if (Math.abs(total) >= Math.abs(value)) rest += total - next + value;
    else rest += value - next + total;
    total = next;
  }
  return total + rest;
}

function mean(values: readonly number[]): number {
  const total = sum(values);
  if (Number.isFinite(total)) return total / values.length;
  return values.reduce((all, value) => all + value / values.length, 0);
}

/** promql/functions.go, extrapolatedRate for a counter. */
function rate(samples: Samples, fromMs: number, toMs: number): number | undefined {
  const first = samples[0];
  const last = samples.at(-1);
  if (first === undefined || last === undefined || samples.length < 2) return undefined;
  let result = last[1] - first[1];
  samples.forEach(([, value], i) => {
    const before = samples[i - 1];
    if (before && value < before[1]) result += before[1];
  });
  let toStart = (first[0] - fromMs) / 1000;
  let toEnd = (toMs - last[0]) / 1000;
  const sampled = (last[0] - first[0]) / 1000;
  const between = sampled / (samples.length - 1);
  const threshold = between * 1.1;
  if (toStart >= threshold) toStart = between / 2;
  if (result > 0 && first[1] >= 0) toStart = Math.min(toStart, sampled * (first[1] / result));
  if (toEnd >= threshold) toEnd = between / 2;
  return (result * ((sampled + toStart + toEnd) / sampled)) / ((toMs - fromMs) / 1000);
}

function perSeries(request: ReferenceRequest, samples: Samples, toMs: number): number | undefined {
  if (samples.length === 0) return undefined;
  const values = samples.map(([, value]) => value);
  const { aggregation } = request;
  if (request.counter) {
    const perSecond = rate(samples, toMs - request.windowMs, toMs);
    return aggregation === "increase" && perSecond !== undefined
      ? (perSecond * request.windowMs) / 1000
      : perSecond;
  }
  if (aggregation in QUANTILES) return quantile(QUANTILES[aggregation]!, values);
  if (aggregation === "avg" || aggregation === "sum") return mean(values);
  if (aggregation === "min") return extreme(values, (a, b) => a < b);
  if (aggregation === "max") return extreme(values, (a, b) => a > b);
  return values.at(-1);
}

/** `last_over_time(m[w]) and m`, for windows that are not longer than the lookback of `m`. */
function isEnded(
  { aggregation, counter, windowMs }: ReferenceRequest,
  { inWindow, markers }: { inWindow: ReferenceSeries["samples"]; markers: readonly number[] },
  toMs: number,
): boolean {
  if (counter || windowMs > LOOKBACK_MS || !["count", "last"].includes(aggregation)) return false;
  return markers.some((ms) => ms <= toMs && ms > (inWindow.at(-1)?.[0] ?? -Infinity));
}

function across(request: ReferenceRequest, values: readonly number[]): number {
  const { aggregation, counter } = request;
  if (aggregation === "count") return values.length;
  if (aggregation === "min") return extreme(values, (a, b) => a < b);
  if (aggregation === "max") return extreme(values, (a, b) => a > b);
  if (["sum", "rate", "increase"].includes(aggregation)) return sum(values);
  if (counter && aggregation in QUANTILES) return quantile(QUANTILES[aggregation]!, values);
  return mean(values);
}

/** Values by group (its labels as sorted JSON) and time (ms). */
export type Points = Map<string, Map<number, number>>;

export function keyOfLabels(labels: Record<string, string>): string {
  return JSON.stringify(
    Object.entries(labels)
      .filter(([, value]) => value !== "")
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

export function evaluateReference(series: readonly ReferenceSeries[], request: ReferenceRequest): Points {
  const points: Points = new Map();
  for (let toMs = request.firstMs; toMs <= request.lastMs; toMs += request.stepMs) {
    const groups = new Map<string, number[]>();
    for (const { labels, samples, markers = [] } of series) {
      const inWindow = samples.filter(([ms]) => ms > toMs - request.windowMs && ms <= toMs);
      const value = perSeries(request, inWindow as Samples, toMs);
      if (value === undefined || isEnded(request, { inWindow, markers }, toMs)) continue;
      const key = keyOfLabels(
        request.groupBy[0] === "*"
          ? labels
          : Object.fromEntries(request.groupBy.map((label) => [label, labels[label] ?? ""])),
      );
      groups.set(key, [...(groups.get(key) ?? []), value]);
    }
    for (const [key, values] of groups) {
      const group = points.get(key) ?? new Map<number, number>();
      group.set(toMs, across(request, values));
      points.set(key, group);
    }
  }
  return points;
}
