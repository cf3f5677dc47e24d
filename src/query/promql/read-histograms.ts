import { toSchema, toSpans } from "#promql/histogram-buckets.ts";
import { CUSTOM_BUCKETS, type FloatHistogram } from "#promql/histogram.ts";
import { type NativeBlock, readNative } from "#storage/native-columns.ts";
import { IS_MARKER } from "#storage/samples-sql.ts";
import type { HistogramTable } from "./histogram-tables.ts";
import type { SampleBlock } from "./place-samples.ts";

const COLUMNS = {
  id: "UInt64",
  time: "Float64",
  marker: "UInt8",
  count: "Float64",
  sum: "Float64",
  scale: "Float64",
  zero_count: "Float64",
  positive_offset: "Float64",
  positive: "Array(Float64)",
  negative_offset: "Float64",
  negative: "Array(Float64)",
  bounds: "Array(Float64)",
} as const;
type HistogramBlock = NativeBlock<typeof COLUMNS>;

const NONE = "CAST([], 'Array(Float64)')";
const OWN_COLUMNS: Record<HistogramTable, string> = {
  exponential_histogram: `toFloat64(Scale) AS scale, toFloat64(ZeroCount) AS zero_count,
    toFloat64(PositiveOffset) AS positive_offset, CAST(PositiveBucketCounts, 'Array(Float64)') AS positive,
    toFloat64(NegativeOffset) AS negative_offset, CAST(NegativeBucketCounts, 'Array(Float64)') AS negative, ${NONE} AS bounds`,
  histogram: `toFloat64(${CUSTOM_BUCKETS}) AS scale, toFloat64(0) AS zero_count,
    toFloat64(0) AS positive_offset, CAST(BucketCounts, 'Array(Float64)') AS positive,
    toFloat64(0) AS negative_offset, ${NONE} AS negative, CAST(ExplicitBounds, 'Array(Float64)') AS bounds`,
};
/** Other senders may store points without buckets, and points that contradict themselves. */
const IS_WHOLE: Record<HistogramTable, string> = {
  exponential_histogram: "1",
  histogram: "length(BucketCounts) IN (0, length(ExplicitBounds) + 1)",
};

/** Of the tables, no column says it. Prometheus' client libraries have this one unless they are told otherwise. */
const ZERO_THRESHOLD = 2 ** -128;
/** The largest schema of Prometheus. Stored scales may be larger. */
const SCHEMA_MAX = 8;

/** The statement whose answer `toHistogramBlocks` reads. */
export function toHistogramSql(databaseName: string, table: HistogramTable, where: string): string {
  return `SELECT series_id AS id, toFloat64(toUnixTimestamp64Milli(TimeUnix)) AS time, CAST(${IS_MARKER}, 'UInt8') AS marker,
      toFloat64(Count) AS count, Sum AS sum, ${OWN_COLUMNS[table]}
    FROM ${databaseName}.otel_metrics_${table} FINAL WHERE ${where} AND ${IS_WHOLE[table]}`;
}

export function toHistogramBlocks(bytes: Uint8Array): SampleBlock[] {
  return [...readNative(bytes, COLUMNS)].map((block) => ({
    rows: block.rows,
    id: block.id,
    time: block.time,
    value: block.sum,
    marker: block.marker,
    histograms: Array.from(block.marker, (marker, row) =>
      marker === 1 ? undefined : toHistogram(block, row),
    ),
  }));
}

function toHistogram(block: HistogramBlock, row: number): FloatHistogram {
  const scale = block.scale[row]!;
  const isCustom = scale === CUSTOM_BUCKETS;
  const schema = Math.min(scale, SCHEMA_MAX);
  // OTLP's bucket i begins where Prometheus' bucket i ends; custom buckets are counted from 0 in both.
  const shift = isCustom ? 0 : 1;
  const side = (offset: number, counts: Float64Array) => {
    const buckets = { indices: Array.from(counts, (_count, i) => offset + shift + i), counts: [...counts] };
    return toSpans(schema === scale ? buckets : toSchema(buckets, scale, schema));
  };
  const positive = side(block.positive_offset[row]!, block.positive[row]!);
  const negative = side(block.negative_offset[row]!, block.negative[row]!);
  return {
    schema,
    count: block.count[row]!,
    sum: block.sum[row]!,
    zeroThreshold: isCustom ? 0 : ZERO_THRESHOLD,
    zeroCount: block.zero_count[row]!,
    positiveSpans: positive.spans,
    positiveBuckets: positive.counts,
    negativeSpans: negative.spans,
    negativeBuckets: negative.counts,
    ...(isCustom && { customValues: [...block.bounds[row]!] }),
    hint: "unknown",
  };
}

/** What a histogram costs in samples of 16 bytes, as Prometheus counts it. */
export function samplesOf(h: FloatHistogram): number {
  const buckets = h.positiveBuckets.length + h.negativeBuckets.length + (h.customValues?.length ?? 0);
  const spans = h.positiveSpans.length + h.negativeSpans.length;
  return Math.ceil((FIXED_BYTES + 8 * (buckets + spans)) / 16);
}

const FIXED_BYTES = 160;
