import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { assert } from "#lib/assert.ts";
import type { Delivery } from "#otlp/delivery.ts";
import type { PartOutcome } from "#otlp/fates.ts";
import type { MetricDescription, OtlpWriter } from "#otlp/writer.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { Window } from "#prometheus/client.ts";
import type { RefusedCode, RefusedSeries, ScannedSeries } from "#prometheus/series-sink.ts";
import type { PrometheusConnection } from "./ports.ts";
import type { Loss } from "./progress.ts";
import { LATE_MS, type ReadEnd, type ReadPlan, type ReadTask } from "./read-plan.ts";
import type { Sources } from "./sources.ts";

/** A window that is being read and sent. It is settled when it was read to the end and every point of it has its fate. */
export interface WindowRead {
  task: ReadTask;
  /** Where the part of the window begins that this read settles: its start, unless only its end is known to be whole. */
  fromMs: number;
  /** The oldest sample that was read, ms; Infinity when there was none. */
  oldestMs: number;
  /** Points handed to the writer. */
  read: number;
  acknowledged: number;
  /** By the Collector, or by ourselves when a series can never be stored. */
  refused: { code: RefusedCode | "collector_refused"; reason: string; points: number }[];
  refusedPoints: number;
  whole: boolean;
  failure: BridgeError | undefined;
}

export interface ReadTotals {
  series: number;
  /** Acknowledged. */
  points: number;
  /** By the Collector. */
  refusedPoints: number;
  /** The first series that was refused by ourselves. */
  refusedSeries: BridgeError | undefined;
  bytes: number;
  /** Windows that were settled. */
  windows: number;
  histogramSamples: number;
  warnings: Set<string>;
  /** Groups of the catalogue of which samples were read. */
  groupsSeen: Set<string>;
  /** Groups of the catalogue of which a window was read to its end. */
  groupsRead: Set<string>;
  failures: { query: string; error: BridgeError }[];
  /** What became lost in this round. */
  losses: Loss[];
}

export interface ReadDeps {
  sources: Pick<Sources, "of" | "askedAll">;
  writer: OtlpWriter<WindowRead>;
  delivery: Delivery<WindowRead>;
  describe(task: ReadTask, metric: string): MetricDescription;
  /** Called once for each window that is settled without a failure. */
  onSettled(read: WindowRead): void;
  /** Called for each stretch of which no ready Pod has samples, when it is older than what any Pod is known to have. */
  onAbsent(query: Query, stretch: Window): void;
  clock: Clock;
  /** Aborts reading at once. */
  signal: AbortSignal;
  /** Lets the windows that are being read end, and begins no new ones. */
  isStopping: () => boolean;
}

/** What was read is sent after this time also when the batch is not full: a deadline or the end of the process must not undo a slow round. */
const FLUSH_MS = 5000;
/** When so many windows in a row fail because the cluster can't be reached, the others are spared the wait. */
const UNREACHABLE_MAX = 3;

export interface WindowReads {
  /** Reads what is planned, so many windows at once; resolves when all of it is read or failed. */
  run(plan: ReadPlan, lanes: number): Promise<void>;
  /** Takes the exporter's report on some points. */
  settle(parts: readonly PartOutcome<WindowRead>[], bytes: number): void;
  readonly totals: ReadTotals;
}

export function createWindowReads(deps: ReadDeps): WindowReads {
  const totals: ReadTotals = emptyTotals();
  let unreachableInARow = 0;
  let flushedAt = deps.clock.monotonic();
  let unreachable: BridgeError | undefined;

  const fail = (read: WindowRead, error: BridgeError): void => {
    if (read.failure) return;
    read.failure = error;
    totals.failures.push({ query: read.task.query.name, error });
  };

  const settleIfDone = (read: WindowRead): void => {
    const settled = read.acknowledged + read.refusedPoints;
    assert(settled <= read.read, "a point is settled once");
    if (!read.whole || read.failure || settled < read.read) return;
    totals.windows++;
    deps.onSettled(read);
  };

  const refuse = (read: WindowRead, { code, reason, series, samples }: RefusedSeries): void => {
    read.read += samples;
    read.refused.push({ code, reason, points: samples });
    read.refusedPoints += samples;
    const message = `${series} series with ${samples} samples are refused for good: ${reason}`;
    totals.refusedSeries ??= new BridgeError(code, message, { details: { query: read.task.query.name } });
  };

  /** Reads the window from one Pod. Resolves with the number of samples that Pod has, native histograms included. */
  const readFrom = async (pod: PrometheusConnection, read: WindowRead): Promise<number> => {
    const { task } = read;
    const describe = createDescriber(task, deps);
    const sink = {
      series: (series: ScannedSeries): string | undefined => {
        totals.groupsSeen.add(task.query.group);
        const refusal = deps.writer.series(series, describe(series), read);
        if (refusal !== undefined) return refusal;
        read.read += series.sampleCount;
        read.oldestMs = Math.min(read.oldestMs, series.timestamps[0] ?? Infinity);
        totals.series++;
        return undefined;
      },
    };
    const result = await pod.client.read(task.query, task.window, { sink, pause }, deps.signal);
    totals.histogramSamples += result.histogramSamples;
    for (const refused of result.refused) refuse(read, refused);
    for (const warning of result.warnings) totals.warnings.add(`${task.query.name}: ${warning}`);
    const refusedSamples = result.refused.reduce((sum, { samples }) => sum + samples, 0);
    return result.samples + refusedSamples + result.histogramSamples;
  };

  /** Reads the window from the first of its Pods that has samples. Resolves with the failure, if it could not be read to its end. */
  const readWindow = async (read: WindowRead): Promise<BridgeError | undefined> => {
    const { task } = read;
    const { pods, isCovered } = deps.sources.of(task.window);
    let samples = 0;
    try {
      for (const pod of pods) {
        samples = await readFrom(pod, read);
        if (samples > 0) break;
      }
    } catch (thrown) {
      return toBridgeError(thrown);
    }
    totals.groupsRead.add(task.query.group);
    if (!isCovered) settleUncovered(read, samples > 0);
    else read.whole = true;
    return undefined;
  };

  /**
   * A window before the time that any Pod is known to have data of: only from its first sample on does the answer count. What is before that is
   * absent, or the first samples of a young Pod would settle the hours that a twin has.
   */
  const settleUncovered = (read: WindowRead, hasSamples: boolean): void => {
    const { query, window } = read.task;
    if (hasSamples) {
      if (Number.isFinite(read.oldestMs)) read.fromMs = Math.max(window.fromMs, read.oldestMs - 1);
      read.whole = true;
    }
    const absentUntil = hasSamples ? read.fromMs : window.toMs;
    if (absentUntil > window.fromMs && deps.sources.askedAll)
      deps.onAbsent(query, { fromMs: window.fromMs, toMs: absentUntil });
  };

  const readOne = async (plan: ReadPlan, task: ReadTask): Promise<void> => {
    const read = newRead(task);
    const failure = await readWindow(read);
    if (!failure) {
      unreachableInARow = 0;
      plan.ended(task, "done");
      settleIfDone(read);
      flushSometimes();
      return;
    }
    if (isUnreachable(failure) && ++unreachableInARow >= UNREACHABLE_MAX) unreachable ??= failure;
    const isReadAgain = plan.ended(task, endOf(failure, read, deps));
    // What was sent of it may still be acknowledged: the points are the same rows when they are sent again with the smaller windows.
    if (isReadAgain && !unreachable) read.failure = failure;
    else fail(read, failure);
  };

  const flushSometimes = (): void => {
    const nowMs = deps.clock.monotonic();
    if (nowMs - flushedAt < FLUSH_MS) return;
    flushedAt = nowMs;
    deps.writer.flush();
  };

  const pause = (): Promise<void> | undefined => {
    const stopped = deps.delivery.stopped();
    if (stopped) throw stopped;
    return deps.delivery.room();
  };

  const stopReason = (): BridgeError | undefined => unreachable ?? deps.delivery.stopped() ?? stoppedBy(deps);

  return {
    totals,
    run: async (plan, lanes) => {
      const underWay = new Set<Promise<void>>();
      for (;;) {
        while (underWay.size < lanes && !stopReason()) {
          const task = plan.next();
          if (!task) break;
          const reading = readOne(plan, task).finally(() => underWay.delete(reading));
          underWay.add(reading);
        }
        if (underWay.size === 0) break;
        await Promise.race(underWay);
      }
      const error = stopReason();
      if (error) for (const { name } of plan.pending()) totals.failures.push({ query: name, error });
    },
    settle: (parts, bytes) => {
      totals.bytes += bytes;
      for (const { owner, points, fate } of parts) {
        if (fate.state === "acknowledged") {
          owner.acknowledged += points;
          totals.points += points;
        } else if (fate.state === "refused") {
          owner.refused.push({ code: "collector_refused", reason: fate.reason, points });
          owner.refusedPoints += points;
          totals.refusedPoints += points;
        } else fail(owner, fate.error);
      }
      for (const read of new Set(parts.map((part) => part.owner))) settleIfDone(read);
    },
  };
}

function emptyTotals(): ReadTotals {
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
  };
}

function newRead(task: ReadTask): WindowRead {
  return {
    task,
    fromMs: task.window.fromMs,
    oldestMs: Infinity,
    read: 0,
    acknowledged: 0,
    refused: [],
    refusedPoints: 0,
    whole: false,
    failure: undefined,
  };
}

/** Looks a metric's description up once a name, not once a series: the names of one query's series are nearly always the same. */
function createDescriber(
  task: ReadTask,
  deps: Pick<ReadDeps, "describe">,
): (series: ScannedSeries) => MetricDescription {
  const known = new Map<string, MetricDescription>();
  let lastName: Buffer | undefined;
  let last: MetricDescription | undefined;
  // What an expression computes is another metric than the one whose name it may have kept.
  if (task.query.kind === "expression") {
    const description = deps.describe(task, task.query.name);
    return () => description;
  }
  return ({ bytes, nameStart, nameEnd }) => {
    if (last && lastName && lastName.length === nameEnd - nameStart && sameBytes(lastName, bytes, nameStart))
      return last;
    lastName = Buffer.from(bytes.subarray(nameStart, nameEnd));
    const name = lastName.length === 0 ? task.query.name : lastName.toString("utf8");
    last = known.get(name);
    if (!last) {
      last = deps.describe(task, name);
      known.set(name, last);
    }
    return last;
  };
}

function sameBytes(text: Buffer, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (text[i] !== bytes[at + i]) return false;
  return true;
}

function stoppedBy(deps: ReadDeps): BridgeError | undefined {
  if (deps.signal.aborted) return toBridgeError(deps.signal.reason);
  return deps.isStopping()
    ? new BridgeError("shutting_down", "the process is ending; the window was not begun")
    : undefined;
}

/** What a failure says about the window, for the plan. */
function endOf(error: BridgeError, read: WindowRead, deps: ReadDeps): ReadEnd {
  if (deps.signal.aborted) return "aborted";
  if (error.code === "prometheus_too_many_samples" || error.code === "prometheus_answer_too_large")
    return "too_much";
  if (isSlow(error)) return "slow";
  const isAboutData = /^prometheus_(query|answer|unexpected|overloaded)/.test(error.code);
  const isCut = error.code.startsWith("tunnel_") || error.code === "prometheus_answer_truncated";
  // Before the first sample it may be what lies between that gives up waiting, or the way to the cluster that breaks.
  const isLate = deps.clock.monotonic() - read.task.startedAt >= LATE_MS;
  if (isCut && (read.read > 0 || (isLate && error.code === "tunnel_closed"))) return "cut";
  return isAboutData ? "failed" : "unreachable";
}

function isSlow(error: BridgeError): boolean {
  return (
    error.code === "prometheus_timeout" ||
    (error.code === "prometheus_overloaded" && /timed out|timeout/i.test(error.message))
  );
}

function isUnreachable(error: BridgeError): boolean {
  return /^(cluster|tunnel)_/.test(error.code);
}
