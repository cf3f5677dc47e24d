import { BridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { PartOutcome } from "#otlp/delivery-outcome.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
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
  series: number;
  acknowledged: number;
  /** By the Collector, or by the bridge when a series can never be stored. */
  refused: { code: RefusedCode | "collector_refused"; reason: string; points: number }[];
  refusedPoints: number;
  /** Samples handed to the writer in each stretch of time that the window reaches into, oldest first; absent: it lies within one. */
  inStretches?: number[];
  /** Samples of native histograms that were left out; not among `read`. */
  histograms: number;
  /** The name of the Pod whose answer it is. */
  pod: string;
  whole: boolean;
  isSettled: boolean;
  failure: BridgeError | undefined;
}

/** Sums over all windows of one collection. */
export interface ReadTotals {
  series: number;
  /** Acknowledged. */
  points: number;
  /** By the Collector. */
  refusedPoints: number;
  /** The first series that the bridge refused. */
  refusedSeries: BridgeError | undefined;
  /** Of the requests that the Collector acknowledged, as sent. */
  bytes: number;
  /** Windows that were settled. */
  windows: number;
  histogramSamples: number;
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
    return {
      task,
      ...(stretches > 1 ? { inStretches: Array.from({ length: stretches }, () => 0) } : {}),
      fromMs,
      oldestMs: Infinity,
      read: 0,
      series: 0,
      acknowledged: 0,
      refused: [],
      refusedPoints: 0,
      histograms: 0,
      pod: "",
      whole: false,
      isSettled: false,
      failure: undefined,
    };
  }

  /** An answer begins, or begins again: nothing of an earlier one counts. */
  beginAnswer(read: WindowRead, pod: string): void {
    read.pod = pod;
    read.read = 0;
    read.series = 0;
    read.oldestMs = Infinity;
    read.inStretches?.fill(0);
  }

  /** The samples of a series belong to the answer. */
  addSeries(read: WindowRead, series: ScannedSeries): void {
    read.read += series.sampleCount;
    read.oldestMs = Math.min(read.oldestMs, series.timestamps[0] ?? Infinity);
    read.series++;
    const { inStretches, task } = read;
    if (!inStretches) return;
    const first = stretchIndex(task.window.fromMs + 1, this.#stretchMs);
    for (let i = 0; i < series.sampleCount; i++)
      inStretches[stretchIndex(series.timestamps[i]!, this.#stretchMs) - first]!++;
  }

  /** The answer is whole. */
  endAnswer(read: WindowRead, { histogramSamples, refused, warnings }: ScanResult): void {
    const { totals } = this;
    totals.series += read.series;
    // They are left out.
    read.histograms += histogramSamples;
    totals.histogramSamples += histogramSamples;
    for (const each of refused) this.#refuse(read, each);
    for (const warning of warnings) totals.warnings.add(`${read.task.query.name}: ${warning}`);
  }

  /** The bridge refused series that can never be stored. */
  #refuse(read: WindowRead, { code, reason, series, samples }: RefusedSeries): void {
    read.read += samples;
    read.refused.push({ code, reason, points: samples });
    read.refusedPoints += samples;
    const message = `${series} series with ${samples} samples are refused for good: ${reason}`;
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
  addOutcome(parts: readonly PartOutcome<WindowRead>[], bytes: number): void {
    this.totals.bytes += bytes;
    for (const { owner, points, outcome } of parts) {
      if (outcome.state === "acknowledged") {
        owner.acknowledged += points;
        this.totals.points += points;
      } else if (outcome.state === "refused") {
        owner.refused.push({ code: "collector_refused", reason: outcome.reason, points });
        owner.refusedPoints += points;
        this.totals.refusedPoints += points;
      } else this.fail(owner, outcome.error);
    }
    for (const read of new Set(parts.map((part) => part.owner))) this.settleIfDone(read);
  }

  settleIfDone(read: WindowRead): void {
    const settled = read.acknowledged + read.refusedPoints;
    assert(settled <= read.read, "acknowledged and refused points were read");
    if (!read.whole || read.failure || settled < read.read) return;
    assert(!read.isSettled, "a window is settled once");
    read.isSettled = true;
    this.totals.windows++;
    this.#onSettled(read);
  }
}

/** Adds the sums of another part of the collection. */
export function addTotals(sum: ReadTotals, part: ReadTotals): void {
  for (const name of ["series", "points", "refusedPoints", "bytes", "windows", "histogramSamples"] as const)
    sum[name] += part[name];
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
    refusedPoints: 0,
    refusedSeries: undefined,
    bytes: 0,
    windows: 0,
    histogramSamples: 0,
    warnings: new Set(),
    groupsSeen: new Set(),
    groupsRead: new Set(),
    failures: [],
    losses: [],
    late: [],
  };
}
