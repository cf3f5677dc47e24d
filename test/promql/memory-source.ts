import type { FloatHistogram } from "#promql/histogram.ts";
import { compact, isReset } from "#promql/histogram-math.ts";
import { type Labels, METRIC_NAME } from "#promql/labels.ts";
import { compileMatchers } from "#promql/matcher.ts";
import type { SampleSource, Series } from "#promql/source.ts";
import type { Point } from "./series-notation.ts";
import type { Load } from "./test-file.ts";

/** Samples of series in memory, as a test file loads them. */
export interface MemorySource extends SampleSource {
  load(load: Load): void;
  /** A series with all its samples. */
  add(series: Series): void;
  clear(): void;
  /** All series, for other stores. */
  series(): readonly Series[];
  /** Whether a native histogram was read since the last call. */
  takeHasReadHistograms(): boolean;
}

interface Stored {
  labels: Labels;
  points: Map<number, Exclude<Point, undefined>>;
  series: Series | undefined;
}

export function createMemorySource(): MemorySource {
  const stored = new Map<string, Stored>();
  let hasReadHistograms = false;
  const put = (labels: Labels, time: number, point: Exclude<Point, undefined>): void => {
    const known = stored.get(labels.key) ?? { labels, points: new Map(), series: undefined };
    known.points.set(time, point);
    known.series = undefined;
    stored.set(labels.key, known);
  };
  const seriesOf = (each: Stored): Series => (each.series ??= toSeries(each));
  return {
    load: (load) => {
      for (const { labels, points } of load.series) {
        for (const [i, point] of points.entries()) {
          if (point !== undefined) put(labels, i * load.stepMs, point);
        }
      }
      if (!load.withCustomBuckets) return;
      for (const { labels, time, histogram } of customBuckets(load)) {
        put(labels, time, { histogram, hasHint: false });
      }
    },
    add: (series) => void stored.set(series.labels.key, { labels: series.labels, points: new Map(), series }),
    clear: () => stored.clear(),
    series: () => [...stored.values()].map(seriesOf),
    takeHasReadHistograms: () => {
      const was = hasReadHistograms;
      hasReadHistograms = false;
      return was;
    },
    select: ({ matchers, fromMs, toMs }) => {
      const matches = compileMatchers(matchers);
      const answer: Series[] = [];
      for (const each of stored.values()) {
        if (!matches(each.labels)) continue;
        const cut = between(seriesOf(each), fromMs, toMs);
        if (cut.times.length === 0) continue;
        if (cut.histograms?.some((histogram) => histogram !== undefined)) hasReadHistograms = true;
        answer.push(cut);
      }
      return (async function* batches(): AsyncGenerator<readonly Series[]> {
        await Promise.resolve();
        if (answer.length > 0) yield answer;
      })();
    },
  };
}

function between(series: Series, fromMs: number, toMs: number): Series {
  const [from, to] = [indexBehind(series.times, fromMs), indexBehind(series.times, toMs)];
  return {
    labels: series.labels,
    times: series.times.slice(from, to),
    values: series.values.slice(from, to),
    ...(series.stale && { stale: series.stale.slice(from, to) }),
    ...(series.histograms && { histograms: series.histograms.slice(from, to) }),
  };
}

/** Index of the first time that is later. */
function indexBehind(times: Float64Array, ms: number): number {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! > ms) high = middle;
    else low = middle + 1;
  }
  return low;
}

function toSeries({ labels, points }: Stored): Series {
  const times = [...points.keys()].sort((a, b) => a - b);
  const all = times.map((time) => points.get(time)!);
  const floats = all.map((point) => (typeof point === "number" ? point : Number.NaN));
  const histograms = withHints(all.map((point) => (typeof point === "object" ? point.histogram : undefined)));
  return {
    labels,
    times: Float64Array.from(times),
    values: Float64Array.from(floats),
    ...(all.includes("stale") && { stale: Uint8Array.from(all, (point) => (point === "stale" ? 1 : 0)) }),
    ...(histograms.some(Boolean) && { histograms }),
  };
}

/** As Prometheus' chunks have them: they say only that there is no reset within them. */
function withHints(histograms: (FloatHistogram | undefined)[]): (FloatHistogram | undefined)[] {
  let previous: FloatHistogram | undefined;
  return histograms.map((histogram) => {
    const before = previous;
    previous = histogram;
    if (!histogram || histogram.hint === "gauge") return histogram;
    const isFirst =
      !before || before.hint === "gauge" || histogram.hint === "reset" || isReset(histogram, before);
    return { ...histogram, hint: isFirst ? "unknown" : "no_reset" };
  });
}

interface Classic {
  labels: Labels;
  time: number;
  buckets: Map<number, number>;
  count: number | undefined;
  sum: number;
}

/** Native histograms of the classic ones, as Prometheus converts them. */
function customBuckets(load: Load): { labels: Labels; time: number; histogram: FloatHistogram }[] {
  const classics = new Map<string, Classic>();
  for (const { labels, points } of load.series) {
    const [, base, part] = /^(.*)_(bucket|count|sum)$/.exec(labels.get(METRIC_NAME)) ?? [];
    if (base === undefined) continue;
    const le = Number(labels.get("le").replace(/^\+?Inf$/, "Infinity"));
    if (part === "bucket" && Number.isNaN(le)) continue;
    const own = labels.with(METRIC_NAME, base).with("le", "");
    for (const [i, point] of points.entries()) {
      if (typeof point !== "number") continue;
      const key = `${i} ${own.key}`;
      const fresh: Classic = {
        labels: own,
        time: i * load.stepMs,
        buckets: new Map(),
        count: undefined,
        sum: 0,
      };
      const classic = classics.get(key) ?? fresh;
      classics.set(key, classic);
      if (part === "bucket") classic.buckets.set(le, classic.buckets.get(le) ?? point);
      else if (part === "count") classic.count = point;
      else classic.sum = point;
    }
  }
  return [...classics.values()].map((each) => ({ ...each, histogram: toHistogram(each) }));
}

function toHistogram({ buckets, count, sum }: Classic): FloatHistogram {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = count ?? sorted.at(-1)?.[1] ?? 0;
  if (sorted.at(-1)?.[0] !== Number.POSITIVE_INFINITY) sorted.push([Number.POSITIVE_INFINITY, total]);
  return compact({
    schema: -53,
    count: total,
    sum,
    zeroThreshold: 0,
    zeroCount: 0,
    positiveSpans: [{ offset: 0, length: sorted.length }],
    positiveBuckets: sorted.map(([, cumulative], i) => cumulative - (sorted[i - 1]?.[1] ?? 0)),
    negativeSpans: [],
    negativeBuckets: [],
    customValues: sorted.slice(0, -1).map(([le]) => le),
    hint: "unknown",
  });
}
