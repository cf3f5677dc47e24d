import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Reservation } from "#lib/memory-budget.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { Exporter } from "./exporter.ts";
import type { HistogramPoint } from "./histogram-point.ts";
import type { MetricDescription, PointsKind } from "./request-encoder.ts";
import { createOtlpWriter, type Batch, type OtlpWriter, type BatchSettings } from "./writer.ts";

/** The points of one answer, kept until it is known to be whole: nothing of half an answer is sent. */
export interface KeptAnswer {
  /** Like OtlpWriter.series. Throws when there is no memory for them: see `ranOut`. */
  series(series: ScannedSeries, metric: MetricDescription): string | undefined;
  /** The same for stale markers. */
  markers(series: ScannedSeries, metric: MetricDescription): string | undefined;
  /** Like OtlpWriter.histogram: a native histogram, or the stale marker of a series of them. */
  histogram(series: ScannedSeries, point: HistogramPoint, metric: MetricDescription): string | undefined;
  /**
   * Asked between chunks: undefined while reading may go on, else a promise to wait for. Throws when the answer must be given up: like `series`, or
   * `prometheus_answer_too_large`.
   */
  room(): Promise<void> | undefined;
  /** The answer is whole: sends everything. Returns about how many bytes it has, compressed. Throws like `room`. */
  send(): Promise<number>;
  /** Forgets everything. Resolves when nothing of it is in memory any more. */
  drop(): Promise<void>;
  /** True when it was given up for want of memory. It can be read again with `answerBytesMax` reserved. */
  ranOut(): boolean;
}

export interface KeptAnswerDeps<Owner> {
  exporter: Pick<Exporter, "pack">;
  pool: BufferPool;
  /** Takes what is less than half a batch, so that the answers of small windows share batches. */
  shared: Pick<OtlpWriter<Owner>, "append">;
  submit(batch: Batch<Owner>): void;
}

export interface KeptAnswerSettings extends BatchSettings {
  /** Bytes that are kept of one answer at most, compressed. */
  keptBytesMax: number;
}

/** Of a sample, compressed: 12 to 16 were measured. */
const SAMPLE_BYTES = 16;
/** Full batches in memory that are not compressed yet, and the one that is being written. */
const PLAIN_BATCHES_MAX = 2;
const BUFFER_SLACK_BYTES = 4096;
const MIB = 1 << 20;

/** Bytes that the largest answer needs at once. */
export function answerBytesMax(settings: { keptBytesMax: number; bytesMax: number }): number {
  return settings.keptBytesMax + PLAIN_BATCHES_MAX * (settings.bytesMax + BUFFER_SLACK_BYTES);
}

/** Keeps an answer of `owner` in memory of `reservation`, which ends with `send` or `drop`. `markersOwner`: of its stale markers. */
export function createKeptAnswer<Owner>(
  deps: KeptAnswerDeps<Owner>,
  settings: KeptAnswerSettings,
  owner: Owner,
  reservation: Reservation,
  markersOwner = owner,
): KeptAnswer {
  const { pointsMax, bytesMax, keptBytesMax } = settings;
  const kept: Batch<Owner>[] = [];
  let keptBytes = 0;
  let points = 0;
  let failure: BridgeError | undefined;
  let ranOut = false;
  /** Full batches that are being compressed, one after another. */
  const packing: Promise<void>[] = [];
  let rest: Batch<Owner> | undefined;
  let isWhole = false;

  const take = (bytes: number): void => {
    if (reservation.take(bytes)) return;
    ranOut = true;
    failure ??= new BridgeError("internal", "there is no memory for the answer; it is read again");
    throw failure;
  };

  const pool: BufferPool = {
    take: (bytesMin) => {
      const buffer = deps.pool.take(bytesMin);
      try {
        take(buffer.length);
      } catch (error) {
        deps.pool.give(buffer);
        throw error;
      }
      return buffer;
    },
    give: (buffer) => {
      reservation.give(buffer.length);
      deps.pool.give(buffer);
    },
  };

  const forget = (): void => {
    for (const batch of kept.splice(0)) reservation.give(batch.body.length);
  };

  const keep = (batch: Batch<Owner>): void => {
    if (failure) return;
    keptBytes += batch.body.length;
    if (keptBytes > keptBytesMax) {
      const limit = keptBytesMax < MIB ? `${keptBytesMax} bytes` : `${Math.floor(keptBytesMax / MIB)} MiB`;
      const text = `the answer has more samples than are kept of one: ${limit} compressed, after ${points} samples`;
      failure = new BridgeError("prometheus_answer_too_large", text);
      forget();
      return;
    }
    take(batch.body.length);
    kept.push(batch);
  };

  const pack = async (batch: Batch<Owner>, before: Promise<void> | undefined): Promise<void> => {
    await before;
    try {
      if (failure) batch.release();
      else keep(await deps.exporter.pack(batch));
    } catch (thrown) {
      failure ??= toBridgeError(thrown);
    } finally {
      void packing.shift();
    }
  };

  const writer = createOtlpWriter<Owner>({
    ...settings,
    pool,
    onBatch: (batch) => {
      if (isWhole) rest = batch;
      else packing.push(pack(batch, packing.at(-1)));
    },
  });

  const check = (): void => {
    if (failure) throw failure;
  };

  const write = (series: ScannedSeries, metric: MetricDescription, kind: PointsKind): string | undefined => {
    const refusal = writer.series(series, metric, kind === "markers" ? markersOwner : owner, kind);
    if (refusal === undefined) points += series.sampleCount;
    return refusal;
  };

  return {
    series: (series, metric) => write(series, metric, "samples"),
    markers: (series, metric) => write(series, metric, "markers"),
    histogram: (series, point, metric) => {
      const refusal = writer.histogram(series, point, metric, point.isMarker ? markersOwner : owner);
      if (refusal === undefined) points++;
      return refusal;
    },
    room: () => {
      check();
      return packing.at(-PLAIN_BATCHES_MAX);
    },
    send: async () => {
      await packing.at(-1);
      check();
      isWhole = true;
      writer.flush();
      for (const batch of kept) deps.submit(batch);
      forget();
      if (rest) {
        const isLarge = rest.points * 2 > pointsMax || rest.body.length * 2 > bytesMax;
        if (isLarge) deps.submit(rest);
        else deps.shared.append(rest);
      }
      reservation.release();
      return keptBytes + (rest?.points ?? 0) * SAMPLE_BYTES;
    },
    drop: async () => {
      failure ??= new BridgeError("internal", "the answer was dropped");
      writer.discard();
      await packing.at(-1);
      forget();
      reservation.release();
    },
    ranOut: () => ranOut,
  };
}
