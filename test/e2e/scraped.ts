import { setTimeout as delay } from "node:timers/promises";
import type { Sample } from "../helpers/stored-series.ts";
import type { ClusterMetric } from "./delivery.ts";
import { openSource, valueOf } from "./source.ts";

// Samples that a real Prometheus scraped from a real cluster's exporters in the last minutes, repeated one after the other to hours.

export interface Scraped {
  metrics: ClusterMetric[];
  /** The samples lie in (fromMs, fromMs + spanMs]. */
  fromMs: number;
  spanMs: number;
  nodeNames: ReadonlyMap<string, string>;
  /** Version of that Prometheus. */
  version: string;
}

/** cAdvisor's samples arrive up to a minute after their time. */
const LAG_MS = 75_000;
const SPAN_MS_MIN = 120_000;
const SPAN_MS_MAX = 600_000;

/**
 * Reads the metrics of the cluster of E2E_KUBECONFIG; waits for a cluster that has just started. Metrics that it does not have are left out,
 * unless it is the project's test cluster, which has all.
 */
export async function readScraped(names: readonly string[]): Promise<Scraped> {
  const kubeconfig = process.env["E2E_KUBECONFIG"];
  if (!kubeconfig) {
    throw new Error(
      "E2E_KUBECONFIG must name the kubeconfig of a cluster with a Prometheus: see README.md, Tests",
    );
  }
  const source = await openSource(kubeconfig);
  try {
    const oldestMs = async (): Promise<number> => {
      const nowMs = Date.now();
      const samples = [...(await source.samples("up", nowMs - SPAN_MS_MAX - LAG_MS, nowMs)).values()];
      return Math.max(...samples.map((each) => each[0]?.ms ?? nowMs), nowMs - SPAN_MS_MAX - LAG_MS);
    };
    const since = await oldestMs();
    await delay(Math.max(0, since + LAG_MS + SPAN_MS_MIN - Date.now()));
    const toMs = Date.now() - LAG_MS;
    const counters = await source.counters();
    const metrics: ClusterMetric[] = [];
    for (const metric of names) {
      const found = await source.samples(metric, since, toMs);
      const series = [...found]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, samples]) => ({
          labels: Object.fromEntries(JSON.parse(key) as [string, string][]),
          samples: samples.map(({ ms, bits }): Sample => [ms, valueOf(bits)]),
        }))
        .filter(({ samples }) => samples.length > 1);
      if (series.length > 0)
        metrics.push({ metric, kind: counters.has(metric) ? "counter" : "gauge", series });
      else if (process.env["E2E_CLUSTER_DIR"] !== undefined) throw new Error(`the cluster has no ${metric}`);
    }
    const [version, nodeNames] = [await source.version(), await source.nodeNames()];
    return { metrics, fromMs: since, spanMs: toMs - since, nodeNames, version };
  } finally {
    await source.close();
  }
}

export interface Repetition {
  startMs: number;
  endMs: number;
  /** About; scrapes in between are left out. */
  everyMs: number;
  /** Is there a sample of the metric's series number `index` at the time? */
  isThere: (index: number, ms: number, labels: Record<string, string>) => boolean;
}

/**
 * The scraped samples again and again in (startMs, endMs], at the distances and with the values that they have. A counter that did not
 * restart goes on where it was; one that did is repeated as it is, so that it also falls to other values than 0.
 */
export function repeat({ metrics, fromMs, spanMs }: Scraped, repetition: Repetition): ClusterMetric[] {
  const { startMs, endMs, everyMs, isThere } = repetition;
  return metrics.map(({ metric, kind, series }) => ({
    metric,
    kind,
    series: series.flatMap(({ labels, samples }, index) => {
      const count = samples.length;
      const [firstMs, first] = samples[0]!;
      const [lastMs, last] = samples[count - 1]!;
      const hasRestart = samples.some(([, value], i) => i > 0 && value < samples[i - 1]![1]);
      const grown = kind === "counter" && !hasRestart ? ((last - first) * count) / (count - 1) : 0;
      const growth = samples.every(([, value]) => Number.isInteger(value)) ? Math.round(grown) : grown;
      const stride = Math.max(1, Math.round((everyMs * (count - 1)) / (lastMs - firstMs)));
      const repeated: Sample[] = [];
      for (let n = 0; ; n += stride) {
        const [ms, value] = samples[n % count]!;
        const turn = Math.floor(n / count);
        const atMs = startMs + turn * spanMs + (ms - fromMs);
        if (atMs > endMs) break;
        if (isThere(index, atMs, labels)) repeated.push([atMs, growth === 0 ? value : value + turn * growth]);
      }
      return repeated.length === 0 ? [] : [{ labels, samples: repeated }];
    }),
  }));
}

/** Series that appear and that vanish, times when nothing was scraped, gaps of single series: more or less of it, by the whole time's length. */
export function withGaps(startMs: number, endMs: number): Repetition["isThere"] {
  const part = (endMs - startMs) / 240;
  return (index, ms) => {
    const at = (ms - startMs) / part;
    if (index % 6 === 1 && at < 72) return false;
    if (index % 6 === 2 && at > 144) return false;
    return at % 67 < 60 && (Math.floor(at / 11) * 7 + index * 5) % 13 !== 0;
  };
}
