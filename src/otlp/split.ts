import { createHash } from "node:crypto";
import { encodeField, LENGTH_DELIMITED, readFields } from "./wire.ts";

/** The OTLP data types that the bridge sends; each has a table of its own in ClickHouse. */
export const POINT_KINDS = ["gauge", "sum", "histogram", "exponential_histogram"] as const;
export type PointKind = (typeof POINT_KINDS)[number];

/** A request taken apart so that any of its points can be sent as a request of their own. */
export interface SplitRequest {
  points: number;
  /** A request with these points, given by their indexes in the original in ascending order. */
  select(indexes: readonly number[]): Buffer;
  /** Name of the metric that point `index` belongs to. */
  metricOf(index: number): string;
  kindOf(index: number): PointKind;
  /** The same for the same point (resource, metric, labels, time and value) in another request. */
  fingerprintOf(index: number): string;
}

interface MetricPoints {
  name: string;
  /** Everything of the Metric but its data. */
  header: Buffer;
  dataTag: number;
  /** Everything of the data but its points. */
  trailer: Buffer;
  points: Buffer[];
  /** Of everything around the points. */
  digest?: Buffer;
}

const RESOURCE_METRICS = 1;
const SCOPE_METRICS = 2;
const METRICS = 2;
const METRIC_NAME = 1;
/** gauge, sum, histogram, exponential_histogram, summary: all have their points in field 1. */
const METRIC_DATA = new Set([5, 7, 9, 10, 11]);
const DATA_POINTS = 1;
const KIND_OF_DATA: Readonly<Record<number, PointKind>> = {
  5: "gauge",
  7: "sum",
  9: "histogram",
  10: "exponential_histogram",
};
const FINGERPRINT_BYTES = 18;

/** Takes apart an ExportMetricsServiceRequest with one resource and one scope, as the writer makes it. Throws RangeError on other bytes. */
export function splitRequest(body: Buffer): SplitRequest {
  const resourceMetrics = only(body, 0, body.length, RESOURCE_METRICS);
  const resourceParts: Buffer[] = [];
  let scopeMetrics: { start: number; end: number } | undefined;
  for (const field of readFields(body, resourceMetrics.start, resourceMetrics.end)) {
    if (field.number === SCOPE_METRICS) scopeMetrics = field;
    else resourceParts.push(body.subarray(field.at, field.end));
  }
  if (!scopeMetrics) throw new RangeError("the request has no scope");
  const scopeParts: Buffer[] = [];
  const metrics: MetricPoints[] = [];
  for (const field of readFields(body, scopeMetrics.start, scopeMetrics.end)) {
    if (field.number === METRICS) metrics.push(readMetric(body, field.start, field.end));
    else scopeParts.push(body.subarray(field.at, field.end));
  }
  const points = metrics.flatMap((metric) => metric.points.map((bytes) => ({ metric, bytes })));

  const select = (indexes: readonly number[]): Buffer => {
    const chosen = Map.groupBy(indexes, (index) => points[index]!.metric);
    const parts: Buffer[] = [...scopeParts];
    for (const [{ header, dataTag, trailer }, own] of chosen) {
      const bytes = own.map((index) => points[index]!.bytes);
      const data = encodeField(dataTag, Buffer.concat([...bytes, trailer]));
      parts.push(encodeField(0x12, Buffer.concat([header, data])));
    }
    const scope = encodeField(0x12, Buffer.concat(parts));
    return encodeField(0x0a, Buffer.concat([...resourceParts, scope]));
  };

  return {
    points: points.length,
    select,
    metricOf: (index) => points[index]?.metric.name ?? "",
    kindOf: (index) => KIND_OF_DATA[points[index]!.metric.dataTag >>> 3] ?? "gauge",
    fingerprintOf: (index) => {
      const { metric, bytes } = points[index]!;
      metric.digest ??= hash(...resourceParts, ...scopeParts, metric.header, metric.trailer);
      return hash(metric.digest, bytes).toString("base64url", 0, FINGERPRINT_BYTES);
    },
  };
}

function hash(...parts: readonly Buffer[]): Buffer {
  const sha256 = createHash("sha256");
  for (const part of parts) sha256.update(part);
  return sha256.digest();
}

function readMetric(body: Buffer, start: number, end: number): MetricPoints {
  const header: Buffer[] = [];
  const trailer: Buffer[] = [];
  const points: Buffer[] = [];
  let name = "";
  let dataTag = 0;
  for (const field of readFields(body, start, end)) {
    if (!METRIC_DATA.has(field.number)) {
      header.push(body.subarray(field.at, field.end));
      if (field.number === METRIC_NAME) name = body.toString("utf8", field.start, field.end);
      continue;
    }
    dataTag = field.number * 8 + LENGTH_DELIMITED;
    for (const inner of readFields(body, field.start, field.end)) {
      (inner.number === DATA_POINTS ? points : trailer).push(body.subarray(inner.at, inner.end));
    }
  }
  return { name, header: Buffer.concat(header), dataTag, trailer: Buffer.concat(trailer), points };
}

function only(body: Buffer, start: number, end: number, number: number): { start: number; end: number } {
  const fields = [...readFields(body, start, end)];
  if (fields.length !== 1 || fields[0]!.number !== number) {
    throw new RangeError("the request is not one resource's metrics");
  }
  return fields[0]!;
}
