/** A run of buckets that follow each other; `offset`: how many buckets lie between it and the one before (the first: its index). */
export interface BucketSpan {
  offset: number;
  length: number;
}

/** The schema of histograms with custom buckets. */
export const CUSTOM_BUCKETS = -53;

/** What a histogram says of a counter's reset before it. */
export type ResetHint = "unknown" | "reset" | "no_reset" | "gauge";

/** Prometheus' float histogram (https://prometheus.io/docs/specs/native_histograms/). Bucket counts are absolute. Never changed. */
export interface FloatHistogram {
  /** -4 to 8: exponential; -53: custom buckets, whose upper bounds are `customValues`. */
  schema: number;
  count: number;
  sum: number;
  zeroThreshold: number;
  zeroCount: number;
  positiveSpans: readonly BucketSpan[];
  positiveBuckets: readonly number[];
  negativeSpans: readonly BucketSpan[];
  negativeBuckets: readonly number[];
  customValues?: readonly number[];
  hint: ResetHint;
}
