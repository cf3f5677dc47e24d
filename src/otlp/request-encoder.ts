import { assert } from "#lib/assert.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { ATTRIBUTES, histogramBytesMax, putHistogram } from "./histogram-bytes.ts";
import type { HistogramKind, HistogramPoint } from "./histogram-point.ts";
import { patchPoints, putLabels, recordBytesMax, repeatRecord } from "./point-bytes.ts";
import { encodeField, putVarint, varintBytes } from "./wire.ts";

/** A metric as OTLP describes it, under the name that Prometheus has for it. A counter is a cumulative monotonic Sum, a gauge a Gauge, histograms are cumulative. */
export interface MetricDescription {
  name: string;
  kind: "counter" | "gauge" | HistogramKind;
  /** UCUM, or empty when unknown. */
  unit: string;
  description: string;
}

/** What the samples of a series are: values as the source has them, or stale markers. */
export type PointsKind = "samples" | "markers";

export interface RequestSettings {
  resource: Readonly<Record<string, string>>;
  scope: { name: string; version: string };
  /** Bytes of a request. */
  bytesMax: number;
  pool: BufferPool;
}

/**
 * An attribute of the scope that says how to read the points of a request. From version 2 on, the attributes of a point are the labels of the source and
 * nothing else, so all of them identify the series; before, the bridge added `k8s.node.name`. The version of the program can't say that: it changes with
 * each release. storage/migrations/0004_series_identity.sql reads this attribute.
 */
export const SCHEMA_VERSION = { name: "budcluster.schema_version", value: "2" } as const;

// Field tags of opentelemetry/proto/{collector/metrics/v1,metrics/v1,common/v1}: field number << 3 | wire type.
const RESOURCE_METRICS = 0x0a;
const RESOURCE = 0x0a;
const RESOURCE_ATTRIBUTES = 0x0a;
const SCOPE_METRICS = 0x12;
const SCOPE = 0x0a;
const METRIC = 0x12;
const NAME = 0x0a;
const VERSION = 0x12;
const SCOPE_ATTRIBUTES = 0x1a;
const DESCRIPTION = 0x12;
const UNIT = 0x1a;
const GAUGE = 0x2a;
const SUM = 0x3a;
const DATA_TAGS: Record<MetricDescription["kind"], number> = {
  counter: SUM,
  gauge: GAUGE,
  histogram: 0x4a,
  exponential_histogram: 0x52,
};
const DATA_POINT = 0x0a;
const CUMULATIVE = [0x10, 2];
const MONOTONIC = [0x18, 1];
const TIME_UNIX_NANO = 0x19;
const AS_DOUBLE = 0x21;
/** flags = NO_RECORDED_VALUE (opentelemetry.proto.metrics.v1.DataPointFlags). */
const NO_RECORDED_VALUE = [0x40, 1];
const KEY = 0x0a;
const VALUE = 0x12;
const STRING_VALUE = 0x0a;

/** The length of an enclosing message takes 4 bytes (a padded varint), which are filled in when the message is closed. */
const OPEN_LENGTH = 4;
/** Of the first buffer of a request. */
export const FIRST_BYTES = 256 << 10;
const NO_BUFFER = Buffer.alloc(0);
const NO_VALUES = new Float64Array(0);
/** Bytes beyond bytesMax that the buffer may have. */
const SLACK_BYTES = 1024;
const METRIC_END_BYTES = CUMULATIVE.length + MONOTONIC.length;

/**
 * Encodes one ExportMetricsServiceRequest at a time. The record of a point is written once for a series and copied for each further sample,
 * with 16 bytes (time and value) patched: a request costs little more than copying memory. Source: opentelemetry-proto 1.x.
 */
export class RequestEncoder {
  readonly #prefix: RequestPrefix;
  readonly #pool: BufferPool;
  readonly #bytesMax: number;
  // Taken from the pool when there is something to write: an idle encoder holds no buffer.
  #buffer: Buffer = NO_BUFFER;
  #view = viewOf(NO_BUFFER);
  #position = 0;
  #points = 0;
  #recordBytes = 0;
  #metric: MetricDescription | undefined;
  /** Where the lengths of the open metric and of its data stand. */
  #metricAt = 0;
  #dataAt = 0;
  #pointsBeforeMetric = 0;
  #values: Float64Array = NO_VALUES;
  #valueBits = bitsOf(NO_VALUES);

  constructor({ resource, scope, bytesMax, pool }: RequestSettings) {
    this.#prefix = encodePrefix(resource, scope);
    this.#pool = pool;
    this.#bytesMax = bytesMax;
  }

  /** Points of the request so far. */
  get points(): number {
    return this.#points;
  }

  /** Bytes of one point of the series that was appended last. */
  get recordBytes(): number {
    return this.#recordBytes;
  }

  /** The points that follow are of this metric. */
  openMetric(metric: MetricDescription): void {
    if (this.#metric === metric) return;
    if (this.#position === 0) this.#openRequest();
    this.#closeMetric();
    this.#metric = metric;
    this.#pointsBeforeMetric = this.#points;
    this.#reserve(16);
    this.#buffer[this.#position++] = METRIC;
    this.#metricAt = this.#openLength();
    this.#putText(NAME, metric.name);
    this.#putText(DESCRIPTION, metric.description);
    this.#putText(UNIT, metric.unit);
    this.#reserve(16);
    this.#buffer[this.#position++] = DATA_TAGS[metric.kind];
    this.#dataAt = this.#openLength();
  }

  /**
   * Adds samples of a series from `from` on to the open metric, at most `pointsMax`, and returns how many fitted into the request. Stale markers
   * are points without a recorded value.
   */
  append(series: ScannedSeries, from: number, pointsMax: number, kind: PointsKind): number {
    const at = this.#position;
    const timeAt = at + this.#writeRecord(series, at, kind);
    const size = this.#position - at;
    this.#recordBytes = size;
    const fitting = Math.floor((this.#bytesMax - METRIC_END_BYTES - at) / size);
    const count = Math.min(pointsMax, fitting, series.sampleCount - from);
    if (count < 1) {
      this.#position = at;
      return 0;
    }
    this.#reserve(size * (count - 1) + SLACK_BYTES);
    repeatRecord(this.#buffer, at, size, count);
    if (this.#values !== series.values) {
      this.#values = series.values;
      this.#valueBits = bitsOf(series.values);
    }
    patchPoints(this.#view, timeAt, size, series.timestamps, this.#valueBits, from, from + count);
    this.#position = at + size * count;
    this.#points += count;
    return count;
  }

  /** Adds a histogram of a series to the open metric, which is of its kind; returns whether it fitted into the request. */
  appendHistogram(series: ScannedSeries, point: HistogramPoint): boolean {
    assert(this.#metric?.kind === point.kind, "a histogram belongs to a metric of its kind");
    const at = this.#position;
    this.#reserve(recordBytesMax(series) + histogramBytesMax(point) + SLACK_BYTES);
    const body = at + 1 + OPEN_LENGTH;
    const labelsAt = putHistogram(this.#buffer, body, point);
    this.#closeRecord(at, body, putLabels(this.#buffer, labelsAt, series, ATTRIBUTES[point.kind]));
    this.#recordBytes = this.#position - at;
    if (this.#position + METRIC_END_BYTES > this.#bytesMax) {
      this.#position = at;
      return false;
    }
    this.#points++;
    return true;
  }

  /** Do the points of another request, made with the same settings, fit as well? */
  hasRoomFor(body: Buffer): boolean {
    const position = this.#position === 0 ? this.#prefix.bytes.length : this.#position;
    return position + METRIC_END_BYTES + body.length - this.#prefix.bytes.length <= this.#bytesMax;
  }

  /** Adds the points of another request, made with the same settings. */
  appendRequest(body: Buffer, points: number): void {
    assert(this.hasRoomFor(body) || this.#points === 0, "an appended request fits");
    if (this.#position === 0) this.#openRequest();
    this.#closeMetric();
    const { length } = this.#prefix.bytes;
    this.#reserve(body.length - length + SLACK_BYTES);
    this.#position += body.copy(this.#buffer, this.#position, length);
    this.#points += points;
  }

  /** The request is the first `bytes` of `buffer`, which is the caller's from now on. The next request starts empty. */
  finish(): { buffer: Buffer; bytes: number } {
    assert(this.#points > 0, "a finished request has points");
    this.#closeMetric();
    this.#closeLength(this.#prefix.scopeMetricsAt);
    this.#closeLength(this.#prefix.resourceMetricsAt);
    const finished = { buffer: this.#buffer, bytes: this.#position };
    this.#reset();
    return finished;
  }

  /** Drops the request. */
  discard(): void {
    if (this.#buffer.length > 0) this.#pool.give(this.#buffer);
    this.#reset();
  }

  #reset(): void {
    this.#setBuffer(NO_BUFFER);
    this.#position = 0;
    this.#points = 0;
    this.#metric = undefined;
  }

  #openRequest(): void {
    const { bytes } = this.#prefix;
    this.#reserve(bytes.length);
    this.#position += bytes.copy(this.#buffer, this.#position);
  }

  #closeMetric(): void {
    if (!this.#metric) return;
    const { kind } = this.#metric;
    const ends = kind === "gauge" ? [] : kind === "counter" ? [...CUMULATIVE, ...MONOTONIC] : CUMULATIVE;
    this.#metric = undefined;
    if (this.#points === this.#pointsBeforeMetric) {
      // The point that it was opened for did not fit.
      this.#position = this.#metricAt - 1;
      return;
    }
    this.#reserve(METRIC_END_BYTES);
    for (const byte of ends) this.#buffer[this.#position++] = byte;
    this.#closeLength(this.#dataAt);
    this.#closeLength(this.#metricAt);
  }

  /** Leaves room for a length and returns where it stands. */
  #openLength(): number {
    const at = this.#position;
    this.#position += OPEN_LENGTH;
    return at;
  }

  #closeLength(at: number): void {
    const bytes = this.#position - at - OPEN_LENGTH;
    const buffer = this.#buffer;
    buffer[at] = (bytes & 0x7f) | 0x80;
    buffer[at + 1] = ((bytes >>> 7) & 0x7f) | 0x80;
    buffer[at + 2] = ((bytes >>> 14) & 0x7f) | 0x80;
    buffer[at + 3] = (bytes >>> 21) & 0x7f;
  }

  #putText(tag: number, value: string): void {
    if (value === "") return;
    const bytes = Buffer.from(value);
    this.#reserve(bytes.length + 8);
    this.#buffer[this.#position++] = tag;
    this.#position = putVarint(this.#buffer, this.#position, bytes.length);
    this.#position += bytes.copy(this.#buffer, this.#position);
  }

  /** Writes `DataPoint{time, value, attributes}` with time and value left open; returns the offset of the time in the record. */
  #writeRecord(series: ScannedSeries, at: number, kind: PointsKind): number {
    this.#reserve(recordBytesMax(series) + 64);
    const buffer = this.#buffer;
    const body = at + 1 + OPEN_LENGTH;
    buffer[body] = TIME_UNIX_NANO;
    buffer[body + 9] = AS_DOUBLE;
    let end = putLabels(buffer, body + 18, series);
    if (kind === "markers") for (const byte of NO_RECORDED_VALUE) buffer[end++] = byte;
    return this.#closeRecord(at, body, end) + 1;
  }

  /** Puts tag and length before the point in [body, end); returns where in the record it begins. */
  #closeRecord(at: number, body: number, end: number): number {
    const buffer = this.#buffer;
    const bodyBytes = end - body;
    const lengthBytes = varintBytes(bodyBytes);
    buffer.copyWithin(at + 1 + lengthBytes, body, end);
    buffer[at] = DATA_POINT;
    this.#position = putVarint(buffer, at + 1, bodyBytes) + bodyBytes;
    return 1 + lengthBytes;
  }

  #reserve(bytes: number): void {
    const needed = this.#position + bytes;
    const { length } = this.#buffer;
    if (needed <= length) return;
    const size = Math.min(
      Math.max(length * 2, needed, FIRST_BYTES),
      Math.max(this.#bytesMax + SLACK_BYTES, needed),
    );
    const larger = this.#pool.take(size);
    this.#buffer.copy(larger, 0, 0, this.#position);
    if (length > 0) this.#pool.give(this.#buffer);
    this.#setBuffer(larger);
  }

  #setBuffer(buffer: Buffer): void {
    this.#buffer = buffer;
    this.#view = viewOf(buffer);
  }
}

/** The halves of the doubles' bits, the lower one first: every machine that Node.js runs on here is little-endian. */
function bitsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

function viewOf(buffer: Buffer): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
}

/** The beginning of every request. The lengths at `resourceMetricsAt` and `scopeMetricsAt` are left open. */
interface RequestPrefix {
  bytes: Buffer;
  resourceMetricsAt: number;
  scopeMetricsAt: number;
}

function encodePrefix(
  resource: Readonly<Record<string, string>>,
  scope: { name: string; version: string },
): RequestPrefix {
  const attribute = (tag: number, key: string, value: string): Buffer =>
    encodeField(
      tag,
      Buffer.concat([
        encodeField(KEY, Buffer.from(key)),
        encodeField(VALUE, encodeField(STRING_VALUE, Buffer.from(value))),
      ]),
    );
  const attributes = Object.entries(resource).map(([key, value]) =>
    attribute(RESOURCE_ATTRIBUTES, key, value),
  );
  const open = (tag: number): Buffer => Buffer.of(tag, ...new Uint8Array(OPEN_LENGTH));
  const resourceBytes = encodeField(RESOURCE, Buffer.concat(attributes));
  const scopeBytes = encodeField(
    SCOPE,
    Buffer.concat([
      encodeField(NAME, Buffer.from(scope.name)),
      encodeField(VERSION, Buffer.from(scope.version)),
      attribute(SCOPE_ATTRIBUTES, SCHEMA_VERSION.name, SCHEMA_VERSION.value),
    ]),
  );
  const bytes = Buffer.concat([open(RESOURCE_METRICS), resourceBytes, open(SCOPE_METRICS), scopeBytes]);
  return { bytes, resourceMetricsAt: 1, scopeMetricsAt: 1 + OPEN_LENGTH + resourceBytes.length + 1 };
}
