import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterWorld } from "#simulator/world.ts";
import { identity, isOwn, type OtlpCollector, type ReceivedPoint } from "./otlp-collector.ts";

export interface Comparison {
  /** Samples that the cluster had in the covered time. */
  samples: number;
  missing: string[];
  /** Points that the cluster never had, or that lie outside of the covered time. */
  extra: string[];
  /** Points with another value. */
  different: string[];
}

export interface ComparisonOptions {
  /** Compares only this stretch (left-open). Default: everything that is committed. */
  between?: readonly [fromMs: number, toMs: number];
  /** Which replica of Prometheus was read. Default 0. */
  replica?: number;
  /** Points that are not expected, as the Collector refuses them. */
  without?: (point: Pick<ReceivedPoint, "metric" | "labels">) => boolean;
}

const EVER = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;

/** Everything is there, once, with its value: what `compare` gives then. */
export function exact(samples: number): Comparison {
  return { samples, missing: [], extra: [], different: [] };
}

/**
 * What the Collector acknowledged of a cluster, beside what the cluster really had in the time that its progress record calls committed.
 * At most 5 examples of each kind of difference are named.
 */
export function compare(
  collector: OtlpCollector,
  world: ClusterWorld,
  progress: ClusterProgress,
  options: ComparisonOptions = {},
): Comparison {
  const clusterId = world.shape.id;
  const { between = EVER, replica = 0, without = () => false } = options;
  const left = new Map(
    [...collector.acknowledged].filter(
      ([, point]) =>
        point.clusterId === clusterId &&
        !isOwn(point) &&
        point.timestampMs > between[0] &&
        point.timestampMs <= between[1],
    ),
  );
  const result = exact(0);
  const note = (list: string[], text: string): void => void (list.length < 5 && list.push(text));
  for (const [metric, { committed }] of Object.entries(progress.queries)) {
    for (const [start, end] of committed) {
      const fromMs = Math.max(start, between[0]);
      const toMs = Math.min(end, between[1]);
      if (fromMs >= toMs) continue;
      for (const { labels, timestamps, values } of world.expected({ fromMs, toMs, metric, replica })) {
        const own = labels.filter(([name]) => name !== "__name__");
        if (without({ metric, labels: Object.fromEntries(own) })) continue;
        timestamps.forEach((timestampMs, i) => {
          const key = identity(clusterId, metric, own, timestampMs);
          result.samples++;
          const point = left.get(key);
          if (!point) note(result.missing, key);
          else if (!Object.is(point.value, values[i])) note(result.different, key);
          left.delete(key);
        });
      }
    }
  }
  for (const key of left.keys()) note(result.extra, key);
  return result;
}
