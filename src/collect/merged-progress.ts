import { missingIn } from "./intervals.ts";
import { settledIntervals, watermarkOf, type ClusterProgress, type QueryProgress } from "./progress.ts";

/** One query over all shards of a cluster: it is as complete as its worst shard. */
export interface MergedQuery {
  /** Every sample at or before this time is stored, or its time is named as a gap, in each shard; ms. */
  watermarkMs: number;
  samplesRead: number;
  samplesSent: number;
  /** Stretches that are still to be read, and that can't be read any more. */
  openGaps: number;
  lostGaps: number;
}

/** The progress of a shard, and the end of its newest window, ms. */
export interface ShardEnd {
  progress: ClusterProgress;
  endMs: number;
}

/** Undefined: the query was never collected. */
export function mergeQuery(shards: readonly ShardEnd[], name: string): MergedQuery | undefined {
  const states = shards.flatMap(({ progress, endMs }) => {
    const state = progress.queries[name];
    return state ? [{ state, endMs }] : [];
  });
  if (states.length === 0) return undefined;
  const sum = (count: (state: QueryProgress, endMs: number) => number): number =>
    states.reduce((total, { state, endMs }) => total + count(state, endMs), 0);
  return {
    watermarkMs: worstWatermark(states.map(({ state }) => state)),
    samplesRead: sum((state) => state.samples_read),
    samplesSent: sum((state) => state.samples_sent),
    openGaps: sum((state, endMs) => missingIn([state.from, endMs], settledIntervals(state)).length),
    lostGaps: sum((state) => state.gaps.filter((gap) => gap.state === "lost").length),
  };
}

/** The earliest watermark of the states; Infinity when there is none. */
export function worstWatermark(states: readonly QueryProgress[]): number {
  return states.reduce((worst, state) => Math.min(worst, watermarkOf(state)), Infinity);
}
