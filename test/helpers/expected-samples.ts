import type { ClusterProgress } from "#collect/progress.ts";
import type { ClusterWorld } from "#simulator/world.ts";
import { identity, isOwn, isSameValue, type OtlpCollector, type ReceivedPoint } from "./otlp-collector.ts";

export interface Comparison {
  /** Samples that the cluster had in the covered time. */
  samples: number;
  missing: string[];
  /** Points that the cluster never had, or that are outside the covered time. */
  extra: string[];
  /** Points with another value. */
  different: string[];
}

export interface ComparisonOptions {
  /** Compares only this range (left-open). Default: all committed windows. */
  between?: readonly [fromMs: number, toMs: number];
  /** Number of the Prometheus replica that was read. Default 0. */
  replica?: number;
  /** Compares only these points. */
  only?: (point: Pick<ReceivedPoint, "metric" | "labels">) => boolean;
  /** Points that are not expected, as the Collector refuses them. */
  without?: (point: Pick<ReceivedPoint, "metric" | "labels">) => boolean;
}

const EVER = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;

/** The result of `compareWithExpected` when every sample is stored once, with its value. */
export function noDifferences(samples: number): Comparison {
  return { samples, missing: [], extra: [], different: [] };
}

/**
 * Compares the points that the Collector acknowledged for a cluster with the samples that the simulated cluster has in its committed windows. Each
 * stale marker must be one of the cluster's; that none is missing depends on the transport.
 * Lists at most 5 examples of each kind of difference.
 */
export function compareWithExpected(
  collector: OtlpCollector,
  world: ClusterWorld,
  progress: ClusterProgress,
  options: ComparisonOptions = {},
): Comparison {
  const clusterId = world.shape.id;
  const { between = EVER, replica = 0, only = () => true, without = () => false } = options;
  const isCompared = ([, point]: [string, ReceivedPoint]): boolean =>
    point.clusterId === clusterId &&
    !isOwn(point) &&
    only(point) &&
    point.timestampMs > between[0] &&
    point.timestampMs <= between[1];
  const left = new Map([...collector.acknowledged].filter(isCompared));
  const result = noDifferences(0);
  const note = (list: string[], text: string): void => void (list.length < 5 && list.push(text));
  for (const [metric, { committed }] of Object.entries(progress.queries)) {
    for (const [start, end] of committed) {
      const fromMs = Math.max(start, between[0]);
      const toMs = Math.min(end, between[1]);
      if (fromMs >= toMs) continue;
      for (const { labels, timestamps, values } of world.expected({ fromMs, toMs, metric, replica })) {
        const own = labels.filter(([name]) => name !== "__name__");
        const point = { metric, labels: Object.fromEntries(own) };
        if (!only(point) || without(point)) continue;
        timestamps.forEach((timestampMs, i) => {
          const key = identity(clusterId, metric, own, timestampMs);
          result.samples++;
          const stored = left.get(key);
          if (!stored) note(result.missing, key);
          else if (!isSameValue(stored.value, values[i]!)) note(result.different, key);
          left.delete(key);
        });
      }
    }
  }
  for (const key of left.keys()) note(result.extra, key);
  for (const key of unknownMarkers([...collector.markers].filter(isCompared), world, replica))
    note(result.extra, key);
  return result;
}

function unknownMarkers(
  points: readonly [string, ReceivedPoint][],
  world: ClusterWorld,
  replica: number,
): string[] {
  return [...Map.groupBy(points, ([, { metric }]) => metric)].flatMap(([metric, markers]) => {
    const times = markers.map(([, { timestampMs }]) => timestampMs);
    const window = { fromMs: Math.min(...times) - 1, toMs: Math.max(...times), metric, replica };
    const known = new Set(
      world.stored(window).flatMap(({ labels, markers: ends }) => {
        const others = labels.filter(([name]) => name !== "__name__");
        return ends.map((ms) => identity(world.shape.id, metric, others, ms));
      }),
    );
    return markers.map(([key]) => key).filter((key) => !known.has(key));
  });
}
