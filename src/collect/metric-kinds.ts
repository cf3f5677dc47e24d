import { BridgeError } from "#errors/error.ts";
import type { HistogramKind } from "#otlp/histogram-point.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import { hasType, metricTypeOf, type Metadata, type MetricType } from "#prometheus/metadata.ts";
import { fixedKind, type ClusterProgress, type QueryProgress } from "./progress.ts";
import type { ReadTask } from "./read-plan.ts";

export interface MetricKinds {
  /** The description of a metric in a window of a query: always the same object for the same kind. */
  describe(task: Pick<ReadTask, "query" | "window">, metric: string): MetricDescription;
  /** The same for native histograms. Each point tells its kind itself: it does not decide about the metric's other samples, and is in no record. */
  describeHistogram(task: Pick<ReadTask, "query">, metric: string, kind: HistogramKind): MetricDescription;
  /** Resolves when every kind that was given so far is in the progress record. Rejects when the record can't be written. */
  saved(): Promise<void>;
}

/** Size of all metric names of a cluster with their types, in its progress record. */
const TYPES_BYTES_MAX = 1 << 20;
/** `"":[{"kind":"counter","since":1700000000000}],` */
const TYPE_BYTES = 48;

/**
 * Decides the kind that each metric is sent as. A point may only leave after `saved`: a restart must know the kind of every point that may
 * have arrived, else the same window could be sent again under another kind, into another table. `peers`: the progress of other shards, in which
 * a metric must be of the same kind.
 */
export function createMetricKinds(
  progress: ClusterProgress,
  metadata: Metadata,
  save: () => Promise<void>,
  peers: readonly ClusterProgress[] = [],
): MetricKinds {
  const known = new Map<string, MetricDescription>();
  let isNew = false;
  let saving: Promise<void> = Promise.resolve();

  let typesBytes = bytesOfTypes(progress);

  /** The record of a cluster must not grow without bound with the names of its metrics. */
  const checkRoom = (query: string, metric: string): void => {
    typesBytes += bytesOfType(metric);
    if (typesBytes <= TYPES_BYTES_MAX) return;
    typesBytes -= bytesOfType(metric);
    throw tooManyNames(query, Object.keys(progress.queries[query]!.types).length);
  };

  const histograms = new Map<string, MetricDescription>();
  let histogramBytes = 0;

  const describeHistogram: MetricKinds["describeHistogram"] = ({ query }, metric, kind) => {
    const key = `${query.name}\n${kind}\n${metric}`;
    let description = histograms.get(key);
    if (!description) {
      if ((histogramBytes += bytesOfType(metric)) > TYPES_BYTES_MAX)
        throw tooManyNames(query.name, histograms.size);
      const source = metricTypeOf(metric, metadata);
      description = { name: metric, kind, unit: query.unit ?? source.unit, description: source.description };
      histograms.set(key, description);
    }
    return description;
  };

  const describe = ({ query, window }: ReadTask, metric: string): MetricDescription => {
    const state = progress.queries[query.name]!;
    if (!Object.hasOwn(state.types, metric)) {
      checkRoom(query.name, metric);
      const there = peers
        .map(({ queries }) => queries[query.name])
        .find((peer) => hasKind(peer, state, metric));
      if (there) {
        state.types[metric] = structuredClone(there.types[metric]!);
        isNew = true;
      }
    }
    const source = metricTypeOf(metric, metadata);
    const before = kindsOf(state, metric);
    const kind =
      query.type ??
      (query.kind === "selector" ? listedOrKnown(metric, metadata, source.kind, before) : "gauge");
    const fixed = fixedKind(state, metric, kind, window.toMs);
    if (kindsOf(state, metric).length !== before.length) isNew = true;
    const key = `${query.name}\n${fixed}\n${metric}`;
    let description = known.get(key);
    if (!description) {
      description = {
        name: metric,
        kind: fixed,
        unit: query.unit ?? source.unit,
        description: source.description,
      };
      known.set(key, description);
    }
    return description;
  };

  return {
    describe,
    describeHistogram,
    saved: () => {
      if (isNew) {
        isNew = false;
        saving = save();
      }
      return saving;
    },
  };
}

/**
 * Metadata comes from live targets only: a metric that it does not list now keeps the kind that it had. A metric that it lists without a type is a counter if
 * its name says so, whatever it was before: that was a guess as well.
 */
function listedOrKnown(
  metric: string,
  metadata: Metadata,
  listed: MetricType["kind"],
  before: readonly { kind: MetricType["kind"] }[],
): MetricType["kind"] {
  if (hasType(metric, metadata) || (listed === "counter" && metadata.has(metric))) return listed;
  return before.at(-1)?.kind ?? listed;
}

function tooManyNames(query: string, metrics: number): BridgeError {
  return new BridgeError(
    "prometheus_too_many_metrics",
    `the query ${query} brings so many names of metrics that the types of all would take more than ${TYPES_BYTES_MAX} bytes`,
    { details: { metrics_of_query: metrics } },
  );
}

function hasKind(peer: QueryProgress | undefined, { promql_hash }: QueryProgress, metric: string): boolean {
  return peer?.promql_hash === promql_hash && Object.hasOwn(peer.types, metric);
}

function bytesOfType(metric: string): number {
  return Buffer.byteLength(metric) + TYPE_BYTES;
}

function bytesOfTypes(progress: ClusterProgress): number {
  let bytes = 0;
  for (const { types } of Object.values(progress.queries))
    for (const metric of Object.keys(types)) bytes += bytesOfType(metric);
  return bytes;
}

function kindsOf(state: QueryProgress, metric: string): { kind: MetricType["kind"] }[] {
  return [...(state.types[metric] ?? [])];
}
