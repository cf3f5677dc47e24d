import protobuf from "protobufjs";

// Names and numbers of opentelemetry-proto v1 (opentelemetry/proto/{common,resource,metrics}/v1, collector/metrics/v1) and google.rpc.Status:
// the fields that are stored. Fields that are not listed are skipped by the decoder.
const PROTO = `
syntax = "proto3";
message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4;
  ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7; } }
message ArrayValue { repeated AnyValue values = 1; }
message KeyValueList { repeated KeyValue values = 1; }
message KeyValue { string key = 1; AnyValue value = 2; }
message Resource { repeated KeyValue attributes = 1; }
message InstrumentationScope { string name = 1; string version = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }

message ExportMetricsServiceRequest { repeated ResourceMetrics resource_metrics = 1; }
message ResourceMetrics { Resource resource = 1; repeated ScopeMetrics scope_metrics = 2; string schema_url = 3; }
message ScopeMetrics { InstrumentationScope scope = 1; repeated Metric metrics = 2; string schema_url = 3; }
message Metric { string name = 1; string description = 2; string unit = 3;
  oneof data { Gauge gauge = 5; Sum sum = 7; Histogram histogram = 9; ExponentialHistogram exponential_histogram = 10; Summary summary = 11; } }
message Gauge { repeated NumberDataPoint data_points = 1; }
message Sum { repeated NumberDataPoint data_points = 1; int32 aggregation_temporality = 2; bool is_monotonic = 3; }
message Histogram { repeated HistogramDataPoint data_points = 1; int32 aggregation_temporality = 2; }
message ExponentialHistogram { repeated ExponentialHistogramDataPoint data_points = 1; int32 aggregation_temporality = 2; }
message Summary { repeated SummaryDataPoint data_points = 1; }
message NumberDataPoint { repeated KeyValue attributes = 7; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3;
  oneof value { double as_double = 4; sfixed64 as_int = 6; } repeated Exemplar exemplars = 5; uint32 flags = 8; }
message HistogramDataPoint { repeated KeyValue attributes = 9; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4;
  double sum = 5; repeated fixed64 bucket_counts = 6; repeated double explicit_bounds = 7; repeated Exemplar exemplars = 8; uint32 flags = 10;
  double min = 11; double max = 12; }
message ExponentialHistogramDataPoint { repeated KeyValue attributes = 1; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3;
  fixed64 count = 4; double sum = 5; sint32 scale = 6; fixed64 zero_count = 7; Buckets positive = 8; Buckets negative = 9; uint32 flags = 10;
  repeated Exemplar exemplars = 11; double min = 12; double max = 13; }
message Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2; }
message SummaryDataPoint { repeated KeyValue attributes = 7; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4;
  double sum = 5; repeated ValueAtQuantile quantile_values = 6; uint32 flags = 8; }
message ValueAtQuantile { double quantile = 1; double value = 2; }
message Exemplar { repeated KeyValue filtered_attributes = 7; fixed64 time_unix_nano = 2; oneof value { double as_double = 3; sfixed64 as_int = 6; }
  bytes span_id = 4; bytes trace_id = 5; }

message ExportMetricsServiceResponse { ExportMetricsPartialSuccess partial_success = 1; }
message ExportMetricsPartialSuccess { int64 rejected_data_points = 1; string error_message = 2; }
message Status { int32 code = 1; string message = 2; }
`;

/** 64 bits as two 32-bit integers: the decoder's form of fixed64, sfixed64, int64 and uint64. Exact, unlike a number. */
export interface Int64 {
  low: number;
  high: number;
  toNumber(): number;
  toString(): string;
}

// The decoder's output: a field that was not sent has proto3's default, a message null. The member of a oneof that was sent is an own
// property (Object.hasOwn): the library's own getter for it is too slow for millions of labels.
export interface AnyValue {
  stringValue: string;
  boolValue: boolean;
  intValue: Int64;
  doubleValue: number;
  arrayValue: { values: AnyValue[] } | null;
  kvlistValue: { values: KeyValue[] } | null;
  bytesValue: Uint8Array;
}
export interface KeyValue {
  key: string;
  value: AnyValue | null;
}
export interface Exemplar {
  filteredAttributes: KeyValue[];
  timeUnixNano: Int64;
  asDouble: number;
  asInt: Int64;
  spanId: Uint8Array;
  traceId: Uint8Array;
}
export interface DataPoint {
  attributes: KeyValue[];
  startTimeUnixNano: Int64;
  timeUnixNano: Int64;
  flags: number;
}
export interface NumberDataPoint extends DataPoint {
  asDouble: number;
  asInt: Int64;
  exemplars: Exemplar[];
}
export interface HistogramDataPoint extends DataPoint {
  count: Int64;
  sum: number;
  bucketCounts: Int64[];
  explicitBounds: number[];
  exemplars: Exemplar[];
  min: number;
  max: number;
}
interface Buckets {
  offset: number;
  bucketCounts: Int64[];
}
export interface ExponentialHistogramDataPoint extends DataPoint {
  count: Int64;
  sum: number;
  scale: number;
  zeroCount: Int64;
  positive: Buckets | null;
  negative: Buckets | null;
  exemplars: Exemplar[];
  min: number;
  max: number;
}
export interface SummaryDataPoint extends DataPoint {
  count: Int64;
  sum: number;
  quantileValues: { quantile: number; value: number }[];
}
export interface Metric {
  name: string;
  description: string;
  unit: string;
  gauge: { dataPoints: NumberDataPoint[] } | null;
  sum: { dataPoints: NumberDataPoint[]; aggregationTemporality: number; isMonotonic: boolean } | null;
  histogram: { dataPoints: HistogramDataPoint[]; aggregationTemporality: number } | null;
  exponentialHistogram: {
    dataPoints: ExponentialHistogramDataPoint[];
    aggregationTemporality: number;
  } | null;
  summary: { dataPoints: SummaryDataPoint[] } | null;
}
interface Scope {
  name: string;
  version: string;
  attributes: KeyValue[];
  droppedAttributesCount: number;
}
export interface ScopeMetrics {
  scope: Scope | null;
  metrics: Metric[];
  schemaUrl: string;
}
export interface ResourceMetrics {
  resource: { attributes: KeyValue[] } | null;
  scopeMetrics: ScopeMetrics[];
  schemaUrl: string;
}
export interface MetricsRequest {
  resourceMetrics: ResourceMetrics[];
}

export interface OtlpCodec {
  /** Throws an Error of the protobuf library when the bytes are no such message (cut, wrong wire type, text that is not UTF-8). */
  decodeRequest(bytes: Uint8Array): MetricsRequest;
  /** ExportMetricsServiceResponse; with `rejected` 0 an empty one, which means full success. */
  encodeResponse(rejected: number, message: string): Uint8Array;
  /** google.rpc.Status. */
  encodeStatus(code: number, message: string): Uint8Array;
}

/** Compiles the messages above, about 10 ms. */
export function createOtlpCodec(): OtlpCodec {
  const { root } = protobuf.parse(PROTO, new protobuf.Root());
  const request = root.lookupType("ExportMetricsServiceRequest");
  const response = root.lookupType("ExportMetricsServiceResponse");
  const status = root.lookupType("Status");
  return {
    decodeRequest: (bytes) => {
      const reader = protobuf.Reader.create(bytes);
      reader.discardUnknown = true;
      return request.decode(reader) as unknown as MetricsRequest;
    },
    encodeResponse: (rejected, message) => {
      if (rejected === 0) return response.encode({}).finish();
      const partialSuccess = { rejectedDataPoints: rejected, errorMessage: message };
      return response.encode({ partialSuccess }).finish();
    },
    encodeStatus: (code, message) => status.encode({ code, message }).finish(),
  };
}
