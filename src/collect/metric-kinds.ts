import type { MetricDescription } from "#otlp/writer.ts";
import { hasType, metricTypeOf, type Metadata, type MetricType } from "#prometheus/metadata.ts";
import { fixedKind, type ClusterProgress, type QueryProgress } from "./progress.ts";
import type { ReadTask } from "./plan.ts";

export interface MetricKinds {
  /** The description of a metric in a window of a query: always the same object for the same kind. */
  describe(task: ReadTask, metric: string): MetricDescription;
  /** Resolves when every kind that was given so far is in the progress record. Rejects when the record can't be written. */
  saved(): Promise<void>;
}

/**
 * What each metric is sent as. A point may only leave after `saved`: a restart must know the kinds of what may have arrived, else the same
 * window could be sent again under another kind, into another table.
 */
export function createMetricKinds(
  progress: ClusterProgress,
  metadata: Metadata,
  save: () => Promise<void>,
): MetricKinds {
  const known = new Map<string, MetricDescription>();
  let isNew = false;
  let saving: Promise<void> = Promise.resolve();

  const describe = ({ query, window }: ReadTask, metric: string): MetricDescription => {
    const state = progress.queries[query.name]!;
    const source = metricTypeOf(metric, metadata);
    const before = kindsOf(state, metric);
    const kind =
      query.type ??
      (query.kind === "selector" ? toldOrKnown(metric, metadata, source.kind, before) : "gauge");
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
function toldOrKnown(
  metric: string,
  metadata: Metadata,
  told: MetricType["kind"],
  before: readonly { kind: MetricType["kind"] }[],
): MetricType["kind"] {
  if (hasType(metric, metadata) || (told === "counter" && metadata.has(metric))) return told;
  return before.at(-1)?.kind ?? told;
}

function kindsOf(state: QueryProgress, metric: string): { kind: MetricType["kind"] }[] {
  return [...(state.types[metric] ?? [])];
}
