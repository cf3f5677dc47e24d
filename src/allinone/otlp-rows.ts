import type { DataPoint, MetricsRequest } from "./otlp-proto.ts";
import {
  METRIC_COLUMNS,
  METRIC_KINDS,
  TABLES,
  type MetricContext,
  type MetricData,
  type MetricKind,
  type MetricTable,
} from "./otlp-tables.ts";
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
  for (const { metric } of metricsOf(request)) {
    for (const kind of METRIC_KINDS) count += TABLES[kind].dataOf(metric)?.dataPoints.length ?? 0;
  }
  return count;
}

/**
 * The rows that the Collector's clickhouse exporter would insert for the same request. Points without a time, after the year 2262
 * (DateTime64(9) ends there) or without a value are rejected.
 *
 * Throws BridgeError `body_too_large` when the rows of one table are larger than `bytesMax`.
 */
export function toRows(request: MetricsRequest, bytesMax: number): RequestRows {
  const writers = new Map<MetricKind, TableWriter>();
  const rejected = new Map<string, number>();
  for (const context of metricsOf(request)) {
    const head = toHead(context, bytesMax);
    for (const kind of METRIC_KINDS) {
      const data = TABLES[kind].dataOf(context.metric);
      if (data === null) continue;
      let table = writers.get(kind);
      if (table === undefined) {
        table = { writer: createRowBinaryWriter(ROWS_BYTES_INITIAL, bytesMax), rowCount: 0 };
        writers.set(kind, table);
      }
      for (const point of data.dataPoints) {
        const reason = findFault(kind, point);
        if (reason === undefined) writeRow(table, head, TABLES[kind], point, data);
        else rejected.set(reason, (rejected.get(reason) ?? 0) + 1);
      }
    }
  }
  return {
    tables: [...writers]
      .filter(([, table]) => table.rowCount > 0)
      .map(([kind, { writer, rowCount }]) => ({ kind, rowCount, bytes: writer.bytes() })),
    rejected,
  };
}

interface TableWriter {
  writer: RowBinaryWriter;
  rowCount: number;
}

function writeRow(
  table: TableWriter,
  head: Uint8Array,
  { pointColumns }: MetricTable<DataPoint>,
  point: DataPoint,
  data: MetricData,
): void {
  const { writer } = table;
  writer.copy(head);
  for (const column of pointColumns) column.write(writer, point, data);
  table.rowCount++;
}

function* metricsOf(request: MetricsRequest): Generator<MetricContext> {
  for (const resource of request.resourceMetrics) {
    for (const scope of resource.scopeMetrics) {
      for (const metric of scope.metrics) yield { resource, scope, metric };
    }
  }
}

/** The columns that all points of a metric have in common, written once. */
function toHead(context: MetricContext, bytesMax: number): Uint8Array {
  const head = createRowBinaryWriter(1024, bytesMax);
  for (const column of METRIC_COLUMNS) column.write(head, context, {});
  return head.bytes();
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
