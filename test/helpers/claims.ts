import { expect } from "vitest";
import { watermarkOf, type ClusterProgress, type QueryProgress } from "#collect/progress.ts";
import type { Collection } from "./collection.ts";
import { identityOf } from "./fake-collector.ts";
import { samplesIn, type SourceSample } from "./fake-prometheus.ts";

const within = (at: number, stretches: Iterable<{ from: number; to: number }>): boolean =>
  [...stretches].some(({ from, to }) => at > from && at <= to);

/** Every claim of a record must be true for the samples that the Collector stored. */
export function checkClaims(
  collection: Collection,
  progress: ClusterProgress,
  promised: Map<string, number>,
): void {
  const { prometheus, collector } = collection;
  for (const [name, state] of Object.entries(progress.queries)) {
    if (!promised.has(name)) promised.set(name, Math.max(state.from, prometheus.oldestMs));
    const samples = prometheus.series
      .filter(({ metric }) => metric === name)
      .flatMap((series) => samplesIn(series, { fromMs: promised.get(name)!, toMs: prometheus.nowMs }))
      .filter((sample) => !collector.points.has(identityOf(sample)));
    checkMissing(samples, state, prometheus.oldestMs);
    const refused = state.gaps.reduce((sum, gap) => sum + gap.points, 0);
    expect(state.samples_sent + refused).toBe(state.samples_read);
  }
  expect(collector.conflicts).toEqual([]);
}

/** Samples that are not stored may only be where the record says so. */
function checkMissing(missing: readonly SourceSample[], state: QueryProgress, oldestMs: number): void {
  const refused = state.gaps.filter((gap) => gap.state === "refused");
  const lost = [
    ...state.gaps.filter((gap) => gap.state === "lost"),
    ...(state.unlisted_lost ?? []).map(([from, to]) => ({ from, to })),
  ];
  const committed = state.committed.map(([from, to]) => ({ from, to }));
  for (const { timestampMs } of missing) {
    if (within(timestampMs, committed)) expect(within(timestampMs, refused)).toBe(true);
    else if (within(timestampMs, lost)) expect(timestampMs).toBeLessThanOrEqual(oldestMs);
    else expect(timestampMs).toBeGreaterThan(watermarkOf(state));
  }
}

/** Every stored sample has the value that it has in Prometheus. */
export function checkValues(collection: Collection): void {
  for (const point of collection.collector.points.values()) {
    if (point.metric.startsWith("budcluster_")) continue;
    const source = collection.prometheus.series.find(
      (series) =>
        identityOf({ ...point, labels: series.labels }) === identityOf(point) &&
        series.metric === point.metric,
    );
    const [sample] = samplesIn(source!, { fromMs: point.timestampMs - 1, toMs: point.timestampMs });
    expect(point.value).toBe(sample!.value);
  }
}
