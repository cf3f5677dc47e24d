import { assert } from "#lib/assert.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { HistogramPoint } from "./histogram-point.ts";
import { RequestEncoder, type MetricDescription, type PointsKind } from "./request-encoder.ts";
import type { Compression } from "./transport.ts";

/** Points of one owner (a query's window) in a batch, in the order of the batch's points. */
export interface BatchPart<Owner> {
  owner: Owner;
  points: number;
}

/** One ExportMetricsServiceRequest. `body` is a view of a pooled buffer: call `release` once when it is no longer read. */
export interface Batch<Owner> {
  body: Buffer;
  /** How `body` is compressed, if it is. */
  packed?: Compression;
  points: number;
  parts: BatchPart<Owner>[];
  release(): void;
}

export interface BatchSettings {
  /** Resource attributes of every point: stable values only, they are part of what is stored. */
  resource: Readonly<Record<string, string>>;
  scope: { name: string; version: string };
  /** Points a batch, at least 1. */
  pointsMax: number;
  /** Bytes a batch before compression, at least 128 KiB. */
  bytesMax: number;
}

export interface WriterSettings<Owner> extends BatchSettings {
  pool: BufferPool;
  /** Called synchronously with each full batch. */
  onBatch(batch: Batch<Owner>): void;
}

export interface OtlpWriter<Owner> {
  /**
   * Adds the samples of a series as points of `metric` that belong to `owner`. Returns why none of them was added when one point alone is larger than a
   * batch. `kind`: by default values.
   */
  series(
    series: ScannedSeries,
    metric: MetricDescription,
    owner: Owner,
    kind?: PointsKind,
  ): string | undefined;
  /** Adds a native histogram of a series, or the marker of its end, as a point of `metric`, whose kind is the point's. Returns why it was not added, as `series` does. */
  histogram(
    series: ScannedSeries,
    point: HistogramPoint,
    metric: MetricDescription,
    owner: Owner,
  ): string | undefined;
  /** Adds the points of a batch that another writer with the same settings wrote, and releases it. */
  append(batch: Batch<Owner>): void;
  /** Hands over what is buffered, if anything. */
  flush(): void;
  /** Forgets what is buffered. */
  discard(): void;
}

/**
 * Writes series as OTLP/protobuf and hands them over as batches: each holds at most `pointsMax` points and `bytesMax` bytes, and its parts
 * add up to its points.
 */
export function createOtlpWriter<Owner>(settings: WriterSettings<Owner>): OtlpWriter<Owner> {
  const { pointsMax, bytesMax, pool } = settings;
  const request = new RequestEncoder(settings);
  let parts: BatchPart<Owner>[] = [];

  const flush = (): void => {
    if (request.points === 0) return request.discard();
    const { points } = request;
    const { buffer, bytes } = request.finish();
    assert(bytes <= bytesMax, "a batch is not larger than bytesMax");
    assert(points === pointsOf(parts), "the parts of a batch add up to its points");
    const batch = {
      body: buffer.subarray(0, bytes),
      points,
      parts,
      release: onlyOnce(() => pool.give(buffer)),
    };
    parts = [];
    settings.onBatch(batch);
  };

  const discard = (): void => {
    request.discard();
    parts = [];
  };

  const count = (owner: Owner, points: number): void => {
    const last = parts[parts.length - 1];
    if (last && last.owner === owner) last.points += points;
    else parts.push({ owner, points });
  };

  return {
    flush,
    discard,
    append: (batch) => {
      assert(batch.packed === undefined, "a batch is appended as it was written");
      if (request.points + batch.points > pointsMax || !request.hasRoomFor(batch.body)) flush();
      request.appendRequest(batch.body, batch.points);
      for (const part of batch.parts) count(part.owner, part.points);
      batch.release();
      if (request.points >= pointsMax) flush();
    },
    series: (series, metric, owner, kind = "samples") => {
      let done = 0;
      while (done < series.sampleCount) {
        request.openMetric(metric);
        const added = request.append(series, done, pointsMax - request.points, kind);
        if (added === 0) {
          if (request.points === 0) return tooLarge(request.recordBytes);
          flush();
          continue;
        }
        count(owner, added);
        done += added;
        if (request.points >= pointsMax) flush();
      }
      return undefined;
    },
    histogram: (series, point, metric, owner) => {
      request.openMetric(metric);
      if (!request.appendHistogram(series, point)) {
        if (request.points === 0) return tooLarge(request.recordBytes);
        flush();
        request.openMetric(metric);
        if (!request.appendHistogram(series, point)) return tooLarge(request.recordBytes);
      }
      count(owner, 1);
      if (request.points >= pointsMax) flush();
      return undefined;
    },
  };
}

function tooLarge(recordBytes: number): string {
  return `one point of it has ${recordBytes} bytes, more than a batch may have`;
}

function pointsOf(parts: readonly BatchPart<unknown>[]): number {
  return parts.reduce((sum, { points }) => sum + points, 0);
}

/** A buffer that went back to the pool twice would be two batches at once. */
function onlyOnce(release: () => void): () => void {
  let isReleased = false;
  return () => {
    assert(!isReleased, "a batch is released once");
    isReleased = true;
    release();
  };
}
