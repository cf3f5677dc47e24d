import { encodeField, LENGTH_DELIMITED, readFields } from "./wire.ts";

/** A request taken apart so that any run of its points can be sent as a request of its own. */
export interface SplitRequest {
  points: number;
  /** A request with the points [from, to), in the order of the original. */
  slice(from: number, to: number): Buffer;
  /** Name of the metric that point `index` belongs to. */
  metricOf(index: number): string;
}

interface MetricPoints {
  name: string;
  /** Everything of the Metric but its data. */
  header: Buffer;
  dataTag: number;
  /** Everything of the data but its points. */
  trailer: Buffer;
  points: Buffer[];
}

const RESOURCE_METRICS = 1;
const SCOPE_METRICS = 2;
const METRICS = 2;
const METRIC_NAME = 1;
/** gauge, sum, histogram, exponential_histogram, summary: all have their points in field 1. */
const METRIC_DATA = new Set([5, 7, 9, 10, 11]);
const DATA_POINTS = 1;

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
  const total = metrics.reduce((sum, metric) => sum + metric.points.length, 0);

  const build = (from: number, to: number): Buffer => {
    const parts: Buffer[] = [...scopeParts];
    let first = 0;
    for (const metric of metrics) {
      const chosen = metric.points.slice(Math.max(0, from - first), Math.max(0, to - first));
      first += metric.points.length;
      if (chosen.length === 0) continue;
      const data = encodeField(metric.dataTag, Buffer.concat([...chosen, metric.trailer]));
      parts.push(encodeField(0x12, Buffer.concat([metric.header, data])));
    }
    const scope = encodeField(0x12, Buffer.concat(parts));
    return encodeField(0x0a, Buffer.concat([...resourceParts, scope]));
  };

  return {
    points: total,
    slice: build,
    metricOf: (index) => {
      let first = 0;
      for (const metric of metrics) {
        first += metric.points.length;
        if (index < first) return metric.name;
      }
      return "";
    },
  };
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
