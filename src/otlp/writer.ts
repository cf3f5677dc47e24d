import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { patchPoints, putLabels, recordBytesMax, repeatRecord } from "./point-bytes.ts";
import { encodeField, putVarint, varintBytes } from "./wire.ts";

/** What OTLP says of a metric. Prometheus' own name is kept; counter is a cumulative monotonic Sum, gauge a Gauge. */
export interface MetricDescription {
  name: string;
  kind: "counter" | "gauge";
  /** UCUM, or empty when unknown. */
  unit: string;
  description: string;
}

/** Points of one owner (a query's window) in a batch, in the order of the batch's points. */
export interface BatchPart<Owner> {
  owner: Owner;
  points: number;
}

/** One ExportMetricsServiceRequest. `body` is a view of a pooled buffer: call `release` once when it is no longer read. */
export interface Batch<Owner> {
  body: Buffer;
  points: number;
  parts: BatchPart<Owner>[];
  release(): void;
}

export interface WriterSettings<Owner> {
  /** Resource attributes of every point: stable values only, they are part of what is stored. */
  resource: Readonly<Record<string, string>>;
  scope: { name: string; version: string };
  /** Points a batch, at least 1. */
  pointsMax: number;
  /** Bytes a batch before compression, at least 128 KiB. */
  bytesMax: number;
  pool: BufferPool;
  /** Called synchronously with each full batch. */
  onBatch(batch: Batch<Owner>): void;
}

/**
 * Says how the points of a request are to be read, as an attribute of the scope. From 2 on a point's attributes are the source's labels and nothing else, so
 * all of them are the identity of the series; before, the bridge added `k8s.node.name`. The program's version can't say that: it changes with each release.
 * storage/migrations/0004_series_identity.sql reads it.
 */
export const SCHEMA_VERSION = { name: "budcluster.schema_version", value: "2" } as const;

export interface OtlpWriter<Owner> {
  /**
   * Adds the samples of a series as points of `metric` that belong to `owner`. Returns why none of them was added when one point alone is larger than a
   * batch.
   */
  series(series: ScannedSeries, metric: MetricDescription, owner: Owner): string | undefined;
  /** Hands over what is buffered, if anything. */
  flush(): void;
}

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
const DATA_POINT = 0x0a;
const CUMULATIVE = [0x10, 2];
const MONOTONIC = [0x18, 1];
const TIME_UNIX_NANO = 0x19;
const AS_DOUBLE = 0x21;
const KEY = 0x0a;
const VALUE = 0x12;
const STRING_VALUE = 0x0a;

/** Enclosing messages get a length of 4 bytes (a padded varint) that is filled in at their end. */
const OPEN_LENGTH = 4;
const FIRST_BYTES = 256 << 10;
const NO_BUFFER = Buffer.alloc(0);
/** Room for what closes a batch, beyond bytesMax. */
const SLACK_BYTES = 1024;
const METRIC_END_BYTES = CUMULATIVE.length + MONOTONIC.length;

/**
 * Writes series as OTLP/protobuf, a request at a time. A point's record is written once for a series and copied for each further sample,
 * with 16 bytes (time and value) patched: a batch costs little more than copying memory. Source: opentelemetry-proto 1.x.
 */
export function createOtlpWriter<Owner>(settings: WriterSettings<Owner>): OtlpWriter<Owner> {
  const { pointsMax, bytesMax, pool } = settings;
  const prefix = encodePrefix(settings.resource, settings.scope);
  // Taken when there is something to write: a writer that waits holds nothing.
  let buffer: Buffer = NO_BUFFER;
  let view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  let pos = 0;
  let points = 0;
  let parts: BatchPart<Owner>[] = [];
  let metric: MetricDescription | undefined;
  let metricAt = 0;
  let dataAt = 0;
  let pointsBefore = 0;

  const setBuffer = (next: Buffer): void => {
    buffer = next;
    view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  };

  const reserve = (bytes: number): void => {
    if (pos + bytes <= buffer.length) return;
    const size = Math.min(
      Math.max(buffer.length * 2, pos + bytes, FIRST_BYTES),
      Math.max(bytesMax + SLACK_BYTES, pos + bytes),
    );
    const larger = pool.take(size);
    buffer.copy(larger, 0, 0, pos);
    if (buffer.length > 0) pool.give(buffer);
    setBuffer(larger);
  };

  const closeLength = (at: number): void => {
    const n = pos - at - OPEN_LENGTH;
    buffer[at] = (n & 0x7f) | 0x80;
    buffer[at + 1] = ((n >>> 7) & 0x7f) | 0x80;
    buffer[at + 2] = ((n >>> 14) & 0x7f) | 0x80;
    buffer[at + 3] = (n >>> 21) & 0x7f;
  };

  const text = (tag: number, value: string): void => {
    if (value === "") return;
    const bytes = Buffer.from(value);
    reserve(bytes.length + 8);
    buffer[pos++] = tag;
    pos = putVarint(buffer, pos, bytes.length);
    pos += bytes.copy(buffer, pos);
  };

  const openBatch = (): void => {
    reserve(prefix.bytes.length);
    pos += prefix.bytes.copy(buffer, pos);
  };

  const openMetric = (next: MetricDescription): void => {
    metric = next;
    pointsBefore = points;
    reserve(16);
    buffer[pos++] = METRIC;
    metricAt = pos;
    pos += OPEN_LENGTH;
    text(NAME, next.name);
    text(DESCRIPTION, next.description);
    text(UNIT, next.unit);
    reserve(16);
    buffer[pos++] = next.kind === "counter" ? SUM : GAUGE;
    dataAt = pos;
    pos += OPEN_LENGTH;
  };

  const closeMetric = (): void => {
    if (!metric) return;
    const { kind } = metric;
    metric = undefined;
    if (points === pointsBefore) {
      // It was opened for a point that no longer fitted.
      pos = metricAt - 1;
      return;
    }
    if (kind === "counter") {
      reserve(METRIC_END_BYTES);
      for (const byte of [...CUMULATIVE, ...MONOTONIC]) buffer[pos++] = byte;
    }
    closeLength(dataAt);
    closeLength(metricAt);
  };

  const reset = (): void => {
    pos = 0;
    points = 0;
    parts = [];
    metric = undefined;
  };

  const flush = (): void => {
    if (points === 0) {
      if (buffer.length > 0) pool.give(buffer);
      setBuffer(NO_BUFFER);
      return reset();
    }
    closeMetric();
    closeLength(prefix.scopeMetricsAt);
    closeLength(prefix.resourceMetricsAt);
    const full = buffer;
    const batch: Batch<Owner> = {
      body: full.subarray(0, pos),
      points,
      parts,
      release: () => pool.give(full),
    };
    setBuffer(NO_BUFFER);
    reset();
    settings.onBatch(batch);
  };

  /** Writes `DataPoint{time, value, attributes}` with time and value left open; returns the offset of the time in the record. */
  const writeRecord = (series: ScannedSeries, at: number): number => {
    reserve(recordBytesMax(series) + 64);
    const body = at + 1 + OPEN_LENGTH;
    buffer[body] = TIME_UNIX_NANO;
    buffer[body + 9] = AS_DOUBLE;
    const end = putLabels(buffer, body + 18, series);
    const n = end - body;
    const lengthBytes = varintBytes(n);
    buffer.copyWithin(at + 1 + lengthBytes, body, end);
    buffer[at] = DATA_POINT;
    pos = putVarint(buffer, at + 1, n) + n;
    return 1 + lengthBytes + 1;
  };

  /** Writes samples [from, to) as copies of the record at `at`. */
  const writePoints = (
    series: ScannedSeries,
    from: number,
    to: number,
    at: number,
    size: number,
    timeAt: number,
  ): void => {
    const count = to - from;
    reserve(size * (count - 1) + SLACK_BYTES);
    repeatRecord(buffer, at, size, count);
    patchPoints(view, at + timeAt, size, series, from, to);
    pos = at + size * count;
    points += count;
  };

  const account = (owner: Owner, count: number): void => {
    const last = parts[parts.length - 1];
    if (last && last.owner === owner) last.points += count;
    else parts.push({ owner, points: count });
  };

  const begin = (next: MetricDescription): void => {
    if (pos === 0) openBatch();
    if (metric !== next) {
      closeMetric();
      openMetric(next);
    }
  };

  return {
    flush,
    series: (series, next, owner) => {
      let done = 0;
      while (done < series.sampleCount) {
        begin(next);
        const at = pos;
        const timeAt = writeRecord(series, at);
        const size = pos - at;
        const room = Math.min(pointsMax - points, Math.floor((bytesMax - METRIC_END_BYTES - at) / size));
        if (room < 1) {
          pos = at;
          if (points === 0) return `one point of it has ${size} bytes, more than a batch may have`;
          flush();
          continue;
        }
        const count = Math.min(room, series.sampleCount - done);
        writePoints(series, done, done + count, at, size, timeAt);
        account(owner, count);
        done += count;
        if (points >= pointsMax) flush();
      }
      return undefined;
    },
  };
}

/** The beginning of every request: resource and scope, with the two enclosing lengths left open. */
function encodePrefix(
  resource: Readonly<Record<string, string>>,
  scope: { name: string; version: string },
): { bytes: Buffer; resourceMetricsAt: number; scopeMetricsAt: number } {
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
