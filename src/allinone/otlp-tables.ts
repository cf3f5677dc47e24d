export type MetricKind = "gauge" | "sum" | "histogram" | "exponential_histogram" | "summary";

/** A column that the receiver fills: its name and its type without what only storage needs (LowCardinality, codecs). */
export type Column = readonly [name: string, type: string];

const TEXTS = "Map(String, String)";
const TIME = "DateTime64(9, 'UTC')";

const COMMON: readonly Column[] = [
  ["ResourceAttributes", TEXTS],
  ["ResourceSchemaUrl", "String"],
  ["ScopeName", "String"],
  ["ScopeVersion", "String"],
  ["ScopeAttributes", TEXTS],
  ["ScopeDroppedAttrCount", "UInt32"],
  ["ScopeSchemaUrl", "String"],
  ["ServiceName", "String"],
  ["MetricName", "String"],
  ["MetricDescription", "String"],
  ["MetricUnit", "String"],
  ["Attributes", TEXTS],
  ["StartTimeUnix", TIME],
  ["TimeUnix", TIME],
];
const EXEMPLARS: readonly Column[] = [
  ["Exemplars.FilteredAttributes", `Array(${TEXTS})`],
  ["Exemplars.TimeUnix", `Array(${TIME})`],
  ["Exemplars.Value", "Array(Float64)"],
  ["Exemplars.SpanId", "Array(String)"],
  ["Exemplars.TraceId", "Array(String)"],
];
const EXTREMES: readonly Column[] = [
  ["Flags", "UInt32"],
  ["Min", "Float64"],
  ["Max", "Float64"],
  ["AggregationTemporality", "Int32"],
];
const NUMBER: readonly Column[] = [...COMMON, ["Value", "Float64"], ["Flags", "UInt32"], ...EXEMPLARS];

/**
 * The columns that the Collector's clickhouse exporter (0.161) fills, in the order in which the receiver writes them.
 * storage/migrations/0001_tables.sql has the tables.
 */
export const COLUMNS: Readonly<Record<MetricKind, readonly Column[]>> = {
  gauge: NUMBER,
  sum: [...NUMBER, ["AggregationTemporality", "Int32"], ["IsMonotonic", "Bool"]],
  histogram: [
    ...COMMON,
    ["Count", "UInt64"],
    ["Sum", "Float64"],
    ["BucketCounts", "Array(UInt64)"],
    ["ExplicitBounds", "Array(Float64)"],
    ...EXEMPLARS,
    ...EXTREMES,
  ],
  exponential_histogram: [
    ...COMMON,
    ["Count", "UInt64"],
    ["Sum", "Float64"],
    ["Scale", "Int32"],
    ["ZeroCount", "UInt64"],
    ["PositiveOffset", "Int32"],
    ["PositiveBucketCounts", "Array(UInt64)"],
    ["NegativeOffset", "Int32"],
    ["NegativeBucketCounts", "Array(UInt64)"],
    ...EXEMPLARS,
    ...EXTREMES,
  ],
  summary: [
    ...COMMON,
    ["Count", "UInt64"],
    ["Sum", "Float64"],
    ["ValueAtQuantiles.Quantile", "Array(Float64)"],
    ["ValueAtQuantiles.Value", "Array(Float64)"],
    ["Flags", "UInt32"],
  ],
};
