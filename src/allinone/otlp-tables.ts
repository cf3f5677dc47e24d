import { toAttributeText } from "./attribute-text.ts";
import type {
  Exemplar,
  ExponentialHistogramDataPoint,
  HistogramDataPoint,
  Int64,
  KeyValue,
  Metric,
  NumberDataPoint,
  ResourceMetrics,
  ScopeMetrics,
  DataPoint,
  SummaryDataPoint,
} from "./otlp-proto.ts";
import type { RowBinaryWriter } from "./row-binary.ts";

export type MetricKind = "gauge" | "sum" | "histogram" | "exponential_histogram" | "summary";

/** A type of ClickHouse, without what only storage needs (LowCardinality, codecs), and how RowBinary has its values. */
interface ColumnType<T> {
  name: string;
  write(writer: RowBinaryWriter, value: T): void;
}

/** Fields that OTLP has once for all points of a metric. */
export interface MetricData {
  aggregationTemporality?: number;
  isMonotonic?: boolean;
}

/** A column that the receiver fills from `Source`, a point or what a metric's points have in common. */
interface FilledColumn<Source> {
  name: string;
  type: string;
  write(writer: RowBinaryWriter, source: Source, data: MetricData): void;
}

function column<Source, T>(
  name: string,
  type: ColumnType<T>,
  valueOf: (source: Source, data: MetricData) => T,
): FilledColumn<Source> {
  return {
    name,
    type: type.name,
    write: (writer, source, data) => type.write(writer, valueOf(source, data)),
  };
}

const STRING: ColumnType<string> = { name: "String", write: (writer, value) => writer.string(value) };
const BOOL: ColumnType<boolean> = { name: "Bool", write: (writer, value) => writer.uint8(value ? 1 : 0) };
const INT32: ColumnType<number> = { name: "Int32", write: (writer, value) => writer.int32(value) };
const UINT32: ColumnType<number> = { name: "UInt32", write: (writer, value) => writer.uint32(value) };
const FLOAT64: ColumnType<number> = { name: "Float64", write: (writer, value) => writer.float64(value) };
const UINT64: ColumnType<Int64> = {
  name: "UInt64",
  write: (writer, value) => writer.int64(value.low, value.high),
};
/** Nanoseconds since 1970. */
const TIME: ColumnType<Int64> = { ...UINT64, name: "DateTime64(9, 'UTC')" };
const ATTRIBUTES: ColumnType<readonly KeyValue[]> = {
  name: "Map(String, String)",
  write: (writer, attributes) => {
    writer.varint(attributes.length);
    for (const attribute of attributes) {
      writer.string(attribute.key);
      writer.string(toAttributeText(attribute.value));
    }
  },
};

/** An array of what `valueOf` takes of each item. */
function arrayOf<Item, T>(type: ColumnType<T>, valueOf: (item: Item) => T): ColumnType<readonly Item[]> {
  return {
    name: `Array(${type.name})`,
    write: (writer, items) => {
      // Nearly all arrays are those of exemplars, and empty.
      if (items.length === 0) return writer.uint8(0);
      writer.varint(items.length);
      for (const item of items) type.write(writer, valueOf(item));
    },
  };
}

/** A metric with the resource and the scope that it belongs to. */
export interface MetricContext {
  resource: ResourceMetrics;
  scope: ScopeMetrics;
  metric: Metric;
}

const attributesOf = ({ resource }: MetricContext): readonly KeyValue[] =>
  resource.resource?.attributes ?? [];

function serviceNameOf(context: MetricContext): string {
  const service = attributesOf(context).find(({ key }) => key === "service.name");
  return toAttributeText(service?.value ?? null);
}

/** The first columns of every table. They have one value for all points of a metric. */
export const METRIC_COLUMNS: readonly FilledColumn<MetricContext>[] = [
  column("ResourceAttributes", ATTRIBUTES, attributesOf),
  column("ResourceSchemaUrl", STRING, ({ resource }) => resource.schemaUrl),
  column("ScopeName", STRING, ({ scope }) => scope.scope?.name ?? ""),
  column("ScopeVersion", STRING, ({ scope }) => scope.scope?.version ?? ""),
  column("ScopeAttributes", ATTRIBUTES, ({ scope }) => scope.scope?.attributes ?? []),
  column("ScopeDroppedAttrCount", UINT32, ({ scope }) => scope.scope?.droppedAttributesCount ?? 0),
  column("ScopeSchemaUrl", STRING, ({ scope }) => scope.schemaUrl),
  column("ServiceName", STRING, serviceNameOf),
  column("MetricName", STRING, ({ metric }) => metric.name),
  column("MetricDescription", STRING, ({ metric }) => metric.description),
  column("MetricUnit", STRING, ({ metric }) => metric.unit),
];

const POINT: readonly FilledColumn<DataPoint>[] = [
  column("Attributes", ATTRIBUTES, (point) => point.attributes),
  column("StartTimeUnix", TIME, (point) => point.startTimeUnixNano),
  column("TimeUnix", TIME, (point) => point.timeUnixNano),
];
const FLAGS: FilledColumn<DataPoint> = column("Flags", UINT32, (point) => point.flags);

function toNumber(value: NumberDataPoint | Exemplar): number {
  return Object.hasOwn(value, "asInt") ? value.asInt.toNumber() : value.asDouble;
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

type WithExemplars = Pick<NumberDataPoint, "exemplars">;

function exemplarColumn<T>(name: string, type: ColumnType<T>, valueOf: (exemplar: Exemplar) => T) {
  return column(`Exemplars.${name}`, arrayOf(type, valueOf), (point: WithExemplars) => point.exemplars);
}

const EXEMPLARS: readonly FilledColumn<WithExemplars>[] = [
  exemplarColumn("FilteredAttributes", ATTRIBUTES, (exemplar) => exemplar.filteredAttributes),
  exemplarColumn("TimeUnix", TIME, (exemplar) => exemplar.timeUnixNano),
  exemplarColumn("Value", FLOAT64, toNumber),
  exemplarColumn("SpanId", STRING, (exemplar) => toHex(exemplar.spanId)),
  exemplarColumn("TraceId", STRING, (exemplar) => toHex(exemplar.traceId)),
];

const NUMBER: readonly FilledColumn<NumberDataPoint>[] = [
  column("Value", FLOAT64, toNumber),
  FLAGS,
  ...EXEMPLARS,
];
const TEMPORALITY: FilledColumn<DataPoint> = column(
  "AggregationTemporality",
  INT32,
  (_point, data) => data.aggregationTemporality ?? 0,
);
const COUNT_AND_SUM: readonly FilledColumn<Pick<HistogramDataPoint, "count" | "sum">>[] = [
  column("Count", UINT64, (point) => point.count),
  column("Sum", FLOAT64, (point) => point.sum),
];
const HISTOGRAM_END: readonly FilledColumn<
  DataPoint & Pick<HistogramDataPoint, "min" | "max" | "exemplars">
>[] = [
  ...EXEMPLARS,
  FLAGS,
  column("Min", FLOAT64, (point) => point.min),
  column("Max", FLOAT64, (point) => point.max),
  TEMPORALITY,
];
const FLOATS = arrayOf(FLOAT64, (value: number) => value);
const COUNTS = arrayOf(UINT64, (value: Int64) => value);
const HISTOGRAM: readonly FilledColumn<HistogramDataPoint>[] = [
  ...COUNT_AND_SUM,
  column("BucketCounts", COUNTS, (point) => point.bucketCounts),
  column("ExplicitBounds", FLOATS, (point) => point.explicitBounds),
  ...HISTOGRAM_END,
];
const EXPONENTIAL_HISTOGRAM: readonly FilledColumn<ExponentialHistogramDataPoint>[] = [
  ...COUNT_AND_SUM,
  column("Scale", INT32, (point) => point.scale),
  column("ZeroCount", UINT64, (point) => point.zeroCount),
  column("PositiveOffset", INT32, (point) => point.positive?.offset ?? 0),
  column("PositiveBucketCounts", COUNTS, (point) => point.positive?.bucketCounts ?? []),
  column("NegativeOffset", INT32, (point) => point.negative?.offset ?? 0),
  column("NegativeBucketCounts", COUNTS, (point) => point.negative?.bucketCounts ?? []),
  ...HISTOGRAM_END,
];
type Quantile = SummaryDataPoint["quantileValues"][number];

function quantileColumn(name: string, valueOf: (item: Quantile) => number): FilledColumn<SummaryDataPoint> {
  return column(`ValueAtQuantiles.${name}`, arrayOf(FLOAT64, valueOf), (point) => point.quantileValues);
}

const SUMMARY: readonly FilledColumn<SummaryDataPoint>[] = [
  ...COUNT_AND_SUM,
  quantileColumn("Quantile", ({ quantile }) => quantile),
  quantileColumn("Value", ({ value }) => value),
  FLAGS,
];

/** A table: where OTLP has its points, and the columns that a point fills. */
export interface MetricTable<Point extends DataPoint> {
  dataOf(metric: Metric): (MetricData & { dataPoints: readonly Point[] }) | null;
  pointColumns: readonly FilledColumn<Point>[];
}

function table<Point extends DataPoint>(
  dataOf: MetricTable<Point>["dataOf"],
  columns: readonly FilledColumn<Point>[],
): MetricTable<Point> {
  return { dataOf, pointColumns: [...POINT, ...columns] };
}

/** The tables that the Collector's clickhouse exporter (0.161) fills; storage/migrations/0001_tables.sql creates them. */
export const TABLES: Readonly<Record<MetricKind, MetricTable<DataPoint>>> = {
  gauge: table((metric) => metric.gauge, NUMBER),
  sum: table(
    (metric) => metric.sum,
    [...NUMBER, TEMPORALITY, column("IsMonotonic", BOOL, (_point, data) => data.isMonotonic ?? false)],
  ),
  histogram: table((metric) => metric.histogram, HISTOGRAM),
  exponential_histogram: table((metric) => metric.exponentialHistogram, EXPONENTIAL_HISTOGRAM),
  summary: table((metric) => metric.summary, SUMMARY),
};

export const METRIC_KINDS = Object.keys(TABLES) as MetricKind[];

/** A column's name and type. */
export type Column = readonly [name: string, type: string];

function columnsOf(kind: MetricKind): Column[] {
  return [...METRIC_COLUMNS, ...TABLES[kind].pointColumns].map(({ name, type }) => [name, type]);
}

/** The columns of each table in the order in which a row has them. */
export const COLUMNS: Readonly<Record<MetricKind, readonly Column[]>> = {
  gauge: columnsOf("gauge"),
  sum: columnsOf("sum"),
  histogram: columnsOf("histogram"),
  exponential_histogram: columnsOf("exponential_histogram"),
  summary: columnsOf("summary"),
};
