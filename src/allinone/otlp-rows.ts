import { toAttributeText } from "./attribute-text.ts";
import type {
  Buckets,
  DataPoint,
  Exemplar,
  Int64,
  KeyValue,
  Metric,
  MetricsRequest,
  NumberDataPoint,
  ResourceMetrics,
  ScopeMetrics,
} from "./otlp-proto.ts";
import type { MetricKind } from "./otlp-tables.ts";
import { createRowBinaryWriter, type RowBinaryWriter } from "./row-binary.ts";

/** The rows of one table, in RowBinary of its COLUMNS. */
interface TableRows {
  kind: MetricKind;
  rowCount: number;
  bytes: Uint8Array;
}

/** A request as rows; points that can't be stored are counted by the reason. */
export interface RequestRows {
  tables: TableRows[];
  rejected: Map<string, number>;
}

const ROWS_BYTES_INITIAL = 1024 * 1024;

/** How many points a request has. */
export function countPoints(request: MetricsRequest): number {
  let count = 0;
  for (const resource of request.resourceMetrics) {
    for (const scope of resource.scopeMetrics) {
      for (const metric of scope.metrics) {
        const data =
          metric.gauge ?? metric.sum ?? metric.histogram ?? metric.exponentialHistogram ?? metric.summary;
        count += data?.dataPoints.length ?? 0;
      }
    }
  }
  return count;
}

/**
 * The rows that the Collector's clickhouse exporter would insert for the same request. Rejected are points without a time, after the year
 * 2262 (DateTime64(9) ends there) or without a value.
 *
 * Throws BridgeError `body_too_large` when the rows of one table are larger than `bytesMax`.
 */
export function toRows(request: MetricsRequest, bytesMax: number): RequestRows {
  const tables = new Map<MetricKind, { writer: RowBinaryWriter; rowCount: number }>();
  const rejected = new Map<string, number>();

  const writePoints = <P extends DataPoint>(
    kind: MetricKind,
    head: Uint8Array,
    points: readonly P[],
    writeRest: (writer: RowBinaryWriter, point: P) => void,
  ): void => {
    let table = tables.get(kind);
    if (table === undefined) {
      table = { writer: createRowBinaryWriter(ROWS_BYTES_INITIAL, bytesMax), rowCount: 0 };
      tables.set(kind, table);
    }
    const { writer } = table;
    for (const point of points) {
      const reason = findFault(kind, point);
      if (reason !== undefined) {
        rejected.set(reason, (rejected.get(reason) ?? 0) + 1);
        continue;
      }
      writer.copy(head);
      writeAttributes(writer, point.attributes);
      writeInt64(writer, point.startTimeUnixNano);
      writeInt64(writer, point.timeUnixNano);
      writeRest(writer, point);
      table.rowCount++;
    }
  };

  for (const resource of request.resourceMetrics) {
    for (const scope of resource.scopeMetrics) {
      for (const metric of scope.metrics) {
        writeMetric(metric, toHead(resource, scope, metric, bytesMax), writePoints);
      }
    }
  }
  return {
    tables: [...tables]
      .filter(([, table]) => table.rowCount > 0)
      .map(([kind, table]) => ({ kind, rowCount: table.rowCount, bytes: table.writer.bytes() })),
    rejected,
  };
}

type WritePoints = <P extends DataPoint>(
  kind: MetricKind,
  head: Uint8Array,
  points: readonly P[],
  writeRest: (writer: RowBinaryWriter, point: P) => void,
) => void;

function writeMetric(metric: Metric, head: Uint8Array, writePoints: WritePoints): void {
  const { gauge, sum, histogram, exponentialHistogram: exponential, summary } = metric;
  if (gauge) writePoints("gauge", head, gauge.dataPoints, writeNumber);
  if (sum) {
    writePoints("sum", head, sum.dataPoints, (writer, point) => {
      writeNumber(writer, point);
      writer.int32(sum.aggregationTemporality);
      writer.uint8(sum.isMonotonic ? 1 : 0);
    });
  }
  if (histogram) {
    writePoints("histogram", head, histogram.dataPoints, (writer, point) => {
      writeInt64(writer, point.count);
      writer.float64(point.sum);
      writeList(writer, point.bucketCounts, writeInt64);
      writeList(writer, point.explicitBounds, writeFloat64);
      writeExemplars(writer, point.exemplars);
      writeEnd(writer, point, histogram.aggregationTemporality);
    });
  }
  if (exponential) {
    writePoints("exponential_histogram", head, exponential.dataPoints, (writer, point) => {
      writeInt64(writer, point.count);
      writer.float64(point.sum);
      writer.int32(point.scale);
      writeInt64(writer, point.zeroCount);
      writeBuckets(writer, point.positive);
      writeBuckets(writer, point.negative);
      writeExemplars(writer, point.exemplars);
      writeEnd(writer, point, exponential.aggregationTemporality);
    });
  }
  if (summary) {
    writePoints("summary", head, summary.dataPoints, (writer, point) => {
      writeInt64(writer, point.count);
      writer.float64(point.sum);
      writeList(writer, point.quantileValues, (target, item) => target.float64(item.quantile));
      writeList(writer, point.quantileValues, (target, item) => target.float64(item.value));
      writer.uint32(point.flags);
    });
  }
}

function findFault(kind: MetricKind, point: DataPoint): string | undefined {
  const { low, high } = point.timeUnixNano;
  if (low === 0 && high === 0) return "points without time_unix_nano";
  if (high < 0 || point.startTimeUnixNano.high < 0) return "points with a time after the year 2262";
  const isNumber = kind === "gauge" || kind === "sum";
  if (isNumber && !Object.hasOwn(point, "asDouble") && !Object.hasOwn(point, "asInt")) {
    return "points without a value";
  }
  return undefined;
}

/** The columns that all points of a metric have in common, ResourceAttributes to MetricUnit. */
function toHead(
  resource: ResourceMetrics,
  scope: ScopeMetrics,
  metric: Metric,
  bytesMax: number,
): Uint8Array {
  const head = createRowBinaryWriter(1024, bytesMax);
  const attributes = resource.resource?.attributes ?? [];
  const service = attributes.find((attribute) => attribute.key === "service.name");
  writeAttributes(head, attributes);
  head.string(resource.schemaUrl);
  head.string(scope.scope?.name ?? "");
  head.string(scope.scope?.version ?? "");
  writeAttributes(head, scope.scope?.attributes ?? []);
  head.uint32(scope.scope?.droppedAttributesCount ?? 0);
  head.string(scope.schemaUrl);
  head.string(toAttributeText(service?.value ?? null));
  head.string(metric.name);
  head.string(metric.description);
  head.string(metric.unit);
  return head.bytes();
}

function writeList<T>(
  writer: RowBinaryWriter,
  items: readonly T[],
  write: (writer: RowBinaryWriter, item: T) => void,
): void {
  writer.varint(items.length);
  for (const item of items) write(writer, item);
}

function writeInt64(writer: RowBinaryWriter, value: Int64): void {
  writer.int64(value.low, value.high);
}

function writeFloat64(writer: RowBinaryWriter, value: number): void {
  writer.float64(value);
}

function writeAttributes(writer: RowBinaryWriter, attributes: readonly KeyValue[]): void {
  writer.varint(attributes.length);
  for (const attribute of attributes) {
    writer.string(attribute.key);
    writer.string(toAttributeText(attribute.value));
  }
}

function writeNumber(writer: RowBinaryWriter, point: NumberDataPoint): void {
  writer.float64(toNumber(point));
  writer.uint32(point.flags);
  writeExemplars(writer, point.exemplars);
}

function toNumber(value: NumberDataPoint | Exemplar): number {
  return Object.hasOwn(value, "asInt") ? value.asInt.toNumber() : value.asDouble;
}

function writeBuckets(writer: RowBinaryWriter, buckets: Buckets | null): void {
  writer.int32(buckets?.offset ?? 0);
  writeList(writer, buckets?.bucketCounts ?? [], writeInt64);
}

function writeExemplars(writer: RowBinaryWriter, exemplars: readonly Exemplar[]): void {
  writeList(writer, exemplars, (target, exemplar) => writeAttributes(target, exemplar.filteredAttributes));
  writeList(writer, exemplars, (target, exemplar) => writeInt64(target, exemplar.timeUnixNano));
  writeList(writer, exemplars, (target, exemplar) => target.float64(toNumber(exemplar)));
  writeList(writer, exemplars, (target, exemplar) => target.string(toHex(exemplar.spanId)));
  writeList(writer, exemplars, (target, exemplar) => target.string(toHex(exemplar.traceId)));
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function writeEnd(
  writer: RowBinaryWriter,
  point: { flags: number; min: number; max: number },
  temporality: number,
): void {
  writer.uint32(point.flags);
  writer.float64(point.min);
  writer.float64(point.max);
  writer.int32(temporality);
}
