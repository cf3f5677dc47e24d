import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { DeliveryOutcome, PartOutcome } from "#otlp/delivery-outcome.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
import type { KnownTransport } from "#prometheus/sample-transport.ts";
import type { RefusedCode, RefusedSeries, ScannedSeries } from "#prometheus/series-sink.ts";
import type { Loss } from "./progress.ts";
import { stretchIndex } from "./proof.ts";
import type { LateSamples } from "./proof-ledger.ts";
import type { ReadTask } from "./read-plan.ts";

/** A window that is being read and sent. It is settled when it was read to its end and every point of it is acknowledged or refused. */
export interface WindowRead {
  readonly task: ReadTask;
  /** Start of the part of the window that this read settles: later than the window's start when only its end is known to be complete. */
  fromMs: number;
  /** The oldest sample that was read, ms; Infinity when there was none. */
  oldestMs: number;
  /** Points of the answer, and those that the bridge itself refused. */
  read: number;
  acknowledged: number;
  /** By the Collector, or by the bridge when a series can never be stored. */
  refused: { code: RefusedCode | "collector_refused"; reason: string; points: number }[];
  refusedPoints: number;
  /** Samples handed to the writer in each stretch of time that the window reaches into, oldest first; absent: it lies within one. */
  inStretches?: number[];
  /** Native histograms of the answer that OTLP can't express: how many, by reason. Not yet among those above. */
  readonly refusedHistograms: Map<string, number>;
  /** The name of the Pod whose answer it is. */
  pod: string;
  whole: boolean;
  isSettled: boolean;
  failure: BridgeError | undefined;
  /** Stale markers of the answer: points that are no samples, and not among those above. */
  readonly markers: MarkersRead;
}

/** The stale markers of a window, as an owner of points. */
export interface MarkersRead {
  of(): WindowRead;
  read: number;
  acknowledged: number;
  refused: number;
}

/** Whose points those of a batch are. */
export type PointsOwner = WindowRead | MarkersRead;

/** Sums over all windows of one collection. */
export interface ReadTotals {
  series: number;
  /** Acknowledged. */
  points: number;
  /** Acknowledged stale markers; not among `points`. */
  markers: number;
  /** Samples that were read, by what they were read with. */
  samplesBy: Record<KnownTransport["transport"], number>;
  /** By the Collector. */
  refusedPoints: number;
  /** The first series that the bridge refused. */
  refusedSeries: BridgeError | undefined;
  /** Of the requests that the Collector acknowledged, as sent. */
  bytes: number;
  /** Windows that were settled. */
  windows: number;
  warnings: Set<string>;
  /** Groups of the catalogue with samples. */
  groupsSeen: Set<string>;
  /** Groups of the catalogue with a window that was read to its end. */
  groupsRead: Set<string>;
  failures: { query: string; error: BridgeError }[];
  /** Time that became lost in this round. */
  losses: Loss[];
  /** Late samples that were found and stored. */
  late: LateSamples[];
}

/** Reasons of refused histograms that are counted apart in one window. */
const REFUSAL_REASONS_MAX = 8;
const OTHER_REASONS = "for other reasons";

/** Counts, for each window of one collection, the points that were read and what became of them. */
export class WindowLedger {
  readonly totals: ReadTotals = emptyTotals();
  readonly #onSettled: (read: WindowRead) => void;
  readonly #stretchMs: number;

  /** `onSettled` is called once for each window that is settled without a failure. `stretchMs`: samples are counted for each stretch. */
  constructor(onSettled: (read: WindowRead) => void, stretchMs = Infinity) {
    this.#onSettled = onSettled;
    this.#stretchMs = stretchMs;
  }

  open(task: ReadTask): WindowRead {
    const { fromMs, toMs } = task.window;
    const stretches = stretchIndex(toMs, this.#stretchMs) - stretchIndex(fromMs + 1, this.#stretchMs) + 1;
    const read: WindowRead = {
      task,
      ...(stretches > 1 ? { inStretches: Array.from({ length: stretches }, () => 0) } : {}),
      fromMs,
      oldestMs: Infinity,
      read: 0,
      acknowledged: 0,
      refused: [],
      refusedPoints: 0,
      refusedHistograms: new Map(),
      pod: "",
      whole: false,
      isSettled: false,
      failure: undefined,
      markers: { of: () => read, read: 0, acknowledged: 0, refused: 0 },
    };
    return read;
  }

  /** An answer begins, or begins again: nothing of an earlier one counts. */
  beginAnswer(read: WindowRead, pod: string): void {
    read.pod = pod;
    read.read = 0;
    read.oldestMs = Infinity;
    read.markers.read = 0;
    read.refusedHistograms.clear();
    read.inStretches?.fill(0);
  }

  /** Stale markers belong to the answer. */
  addMarkers(read: WindowRead, { sampleCount, timestamps }: ScannedSeries): void {
    read.markers.read += sampleCount;
    read.oldestMs = Math.min(read.oldestMs, timestamps[0] ?? Infinity);
  }

  /** The stale marker of a series of native histograms belongs to the answer. */
  addMarker(read: WindowRead, timestampMs: number): void {
    read.markers.read++;
    read.oldestMs = Math.min(read.oldestMs, timestampMs);
  }

  /** A native histogram belongs to the answer. */
  addHistogram(read: WindowRead, timestampMs: number): void {
    read.read++;
    read.oldestMs = Math.min(read.oldestMs, timestampMs);
    const { inStretches, task } = read;
    if (!inStretches) return;
    const first = stretchIndex(task.window.fromMs + 1, this.#stretchMs);
    inStretches[stretchIndex(timestampMs, this.#stretchMs) - first]!++;
  }

  /** A native histogram of the answer can't be sent. `reason`: one of few. */
  refuseHistogram(read: WindowRead, reason: string, timestampMs: number): void {
    const reasons = read.refusedHistograms;
    const named = reasons.has(reason) || reasons.size < REFUSAL_REASONS_MAX ? reason : OTHER_REASONS;
    reasons.set(named, (reasons.get(named) ?? 0) + 1);
    read.oldestMs = Math.min(read.oldestMs, timestampMs);
  }

  /** The samples of a series belong to the answer. */
  addSeries(read: WindowRead, series: ScannedSeries): void {
    read.read += series.sampleCount;
    read.oldestMs = Math.min(read.oldestMs, series.timestamps[0] ?? Infinity);
    const { inStretches, task } = read;
    if (!inStretches) return;
    const first = stretchIndex(task.window.fromMs + 1, this.#stretchMs);
    for (let i = 0; i < series.sampleCount; i++)
      inStretches[stretchIndex(series.timestamps[i]!, this.#stretchMs) - first]!++;
  }

  /** The answer is whole. */
  endAnswer(read: WindowRead, result: ScanResult): void {
    const { totals } = this;
    const { histogramSamples, refused, warnings, transport = "query_api" } = result;
    totals.samplesBy[transport] += result.samples + histogramSamples;
    totals.series += result.series;
    for (const each of refused) {
      const { series, samples, reason } = each;
      this.#refuse(read, each, `${series} series with ${samples} samples are refused for good: ${reason}`);
    }
    for (const [reason, samples] of read.refusedHistograms) {
      const each = {
        code: "prometheus_histogram_refused",
        reason: `a native histogram is refused: ${reason}`,
        samples,
      } as const;
      this.#refuse(read, each, `${samples} native histograms are refused for good: ${reason}`);
    }
    for (const warning of warnings) totals.warnings.add(`${read.task.query.name}: ${warning}`);
  }

  /** The bridge refused what can never be stored. */
  #refuse(
    read: WindowRead,
    { code, reason, samples }: Pick<RefusedSeries, "code" | "reason" | "samples">,
    message: string,
  ): void {
    read.read += samples;
    read.refused.push({ code, reason, points: samples });
    read.refusedPoints += samples;
    this.totals.refusedSeries ??= new BridgeError(code, message, {
      details: { query: read.task.query.name },
    });
  }

  /** The window can't be settled in this round. Its first failure counts. */
  fail(read: WindowRead, error: BridgeError): void {
    if (read.failure) return;
    read.failure = error;
    this.totals.failures.push({ query: read.task.query.name, error });
  }

  /** The exporter's report on some points. */
  addOutcome(parts: readonly PartOutcome<PointsOwner>[], bytes: number): void {
    this.totals.bytes += bytes;
    for (const { owner, points, outcome } of parts) {
      if ("of" in owner) this.#addMarkersOutcome(owner, points, outcome);
      else if (outcome.state === "acknowledged") {
        owner.acknowledged += points;
        this.totals.points += points;
      } else if (outcome.state === "refused") {
        owner.refused.push({ code: "collector_refused", reason: outcome.reason, points });
        owner.refusedPoints += points;
        this.totals.refusedPoints += points;
      } else this.fail(owner, outcome.error);
    }
    for (const read of new Set(parts.map(({ owner }) => ("of" in owner ? owner.of() : owner))))
      this.settleIfDone(read);
  }

  #addMarkersOutcome(markers: MarkersRead, points: number, outcome: DeliveryOutcome): void {
    if (outcome.state === "acknowledged") {
      markers.acknowledged += points;
      this.totals.markers += points;
    } else if (outcome.state === "refused") {
      markers.refused += points;
      this.totals.refusedPoints += points;
      // A gap names them; they are no samples for the proof.
      markers.of().refused.push({ code: "collector_refused", reason: outcome.reason, points });
    } else this.fail(markers.of(), outcome.error);
  }

  settleIfDone(read: WindowRead): void {
    const { markers } = read;
    const settled = read.acknowledged + read.refusedPoints;
    const settledMarkers = markers.acknowledged + markers.refused;
    assert(settled <= read.read, "acknowledged and refused points were read");
    assert(settledMarkers <= markers.read, "acknowledged and refused markers were read");
    if (!read.whole || read.failure || settled < read.read || settledMarkers < markers.read) return;
    assert(!read.isSettled, "a window is settled once");
    read.isSettled = true;
    this.totals.windows++;
    this.#onSettled(read);
  }
}

/** Adds the sums of another part of the collection. */
export function addTotals(sum: ReadTotals, part: ReadTotals): void {
  for (const name of ["series", "points", "markers", "refusedPoints", "bytes", "windows"] as const)
    sum[name] += part[name];
  for (const name of ["remote_read", "query_api"] as const) sum.samplesBy[name] += part.samplesBy[name];
  sum.refusedSeries ??= part.refusedSeries;
  for (const name of ["warnings", "groupsSeen", "groupsRead"] as const)
    for (const each of part[name]) sum[name].add(each);
  sum.failures.push(...part.failures);
  sum.losses.push(...part.losses);
  sum.late.push(...part.late);
}

export function emptyTotals(): ReadTotals {
  return {
    series: 0,
    points: 0,
    markers: 0,
    samplesBy: { remote_read: 0, query_api: 0 },
    refusedPoints: 0,
    refusedSeries: undefined,
    bytes: 0,
    windows: 0,
    warnings: new Set(),
    groupsSeen: new Set(),
    groupsRead: new Set(),
    failures: [],
    losses: [],
    late: [],
  };
}
