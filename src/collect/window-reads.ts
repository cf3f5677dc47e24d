import { BridgeError, toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import type { MemoryAccount } from "#lib/memory-budget.ts";
import type { Delivery } from "#otlp/delivery.ts";
import type { KeptAnswer } from "#otlp/kept-answer.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import type { OtlpWriter } from "#otlp/writer.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { ScanResult } from "#prometheus/matrix-scanner.ts";
import type { Window } from "#prometheus/window.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { Answers } from "./answers.ts";
import { createHistogramSink, type DescribeHistogram } from "./histogram-sink.ts";
import type { PrometheusConnection } from "./ports.ts";
import { toReadEnd } from "./read-end.ts";
import type { ReadPlan, ReadTask } from "./read-plan.ts";
import { createSeriesDescriber } from "./series-describer.ts";
import type { Sources } from "./sources.ts";
import type { PointsOwner, WindowLedger, WindowRead } from "./window-ledger.ts";

export interface ReadDeps {
  sources: Pick<Sources, "of" | "askedAll">;
  ledger: WindowLedger;
  answers: Answers;
  /** What the answers of small windows share. */
  writer: Pick<OtlpWriter<PointsOwner>, "flush">;
  delivery: Pick<Delivery<PointsOwner>, "room" | "stopped">;
  memory: Pick<MemoryAccount, "isShort">;
  describe(task: ReadTask, metric: string): MetricDescription;
  describeHistogram: DescribeHistogram;
  /** Called for each stretch without samples in any ready Pod, when it is older than the data that any Pod is known to have. */
  onAbsent(query: Query, stretch: Window): void;
  clock: Clock;
  /** Aborts reading at once. */
  signal: AbortSignal;
  /** Lets the windows that are being read end, and begins no new ones. */
  isStopping: () => boolean;
}

/** Whole answers are sent after this time even when their batch is not full: a deadline or the end of the process must not undo a slow round. */
const FLUSH_MS = 5000;
/** After this many failures in a row because the cluster can't be reached, the other windows are not tried. */
const UNREACHABLE_MAX = 3;

/** Reads the windows of a plan, `lanes` at once. Resolves when all of them are read or have failed; the ledger says how. */
export async function readWindows(deps: ReadDeps, plan: ReadPlan, lanes: number): Promise<void> {
  await new WindowReads(deps, plan).run(lanes);
}

class WindowReads {
  readonly #deps: ReadDeps;
  readonly #plan: ReadPlan;
  #flushedAt: number;
  #unreachableInARow = 0;
  /** Why the cluster counts as unreachable for the rest of the round. */
  #unreachable: BridgeError | undefined;

  constructor(deps: ReadDeps, plan: ReadPlan) {
    this.#deps = deps;
    this.#plan = plan;
    this.#flushedAt = deps.clock.monotonic();
  }

  async run(lanes: number): Promise<void> {
    const underWay = new Set<Promise<void>>();
    for (;;) {
      while (underWay.size < lanes && !this.#stopReason()) {
        const task = this.#plan.next();
        if (!task) break;
        const reading = this.#read(task).finally(() => underWay.delete(reading));
        underWay.add(reading);
      }
      if (underWay.size === 0) break;
      await Promise.race(underWay);
    }
    const error = this.#stopReason();
    if (!error) return;
    const { failures } = this.#deps.ledger.totals;
    for (const { name } of this.#plan.pending()) failures.push({ query: name, error });
  }

  async #read(task: ReadTask): Promise<void> {
    const { ledger, clock, signal } = this.#deps;
    const read = ledger.open(task);
    const end = await this.#readWindow(read);
    if (!("failure" in end)) {
      this.#unreachableInARow = 0;
      this.#plan.ended(task, "done", end.bytes);
      noteWhole(this.#deps, read, end);
      ledger.settleIfDone(read);
      this.#flushSometimes();
      return;
    }
    const { failure } = end;
    if (isUnreachable(failure) && ++this.#unreachableInARow >= UNREACHABLE_MAX) this.#unreachable ??= failure;
    const tookMs = clock.monotonic() - task.startedAt;
    const kind = toReadEnd(failure, { hasSamples: read.read > 0, tookMs, isAborted: signal.aborted });
    const isReadAgain = this.#plan.ended(task, kind);
    if (isReadAgain && !this.#unreachable) read.failure = failure;
    else ledger.fail(read, failure);
  }

  async #readWindow(read: WindowRead): Promise<PodAnswer | { failure: BridgeError }> {
    try {
      // It holds nothing as yet: here it may wait.
      await this.#deps.delivery.room();
      return await readWindow(this.#deps, read, () => this.#stopReason());
    } catch (thrown) {
      return { failure: toBridgeError(thrown) };
    }
  }

  #flushSometimes(): void {
    const { clock, memory } = this.#deps;
    const nowMs = clock.monotonic();
    // A read that waits for memory waits for what is here as well.
    if (nowMs - this.#flushedAt < FLUSH_MS && !memory.isShort()) return;
    this.#flushedAt = nowMs;
    this.#deps.writer.flush();
  }

  #stopReason(): BridgeError | undefined {
    const { delivery, signal, isStopping } = this.#deps;
    const stopped = this.#unreachable ?? delivery.stopped();
    if (stopped) return stopped;
    if (signal.aborted) return toBridgeError(signal.reason);
    return isStopping()
      ? new BridgeError("shutting_down", "the process is ending; the window was not begun")
      : undefined;
  }
}

/** Reads the window from the first of its Pods that has samples. */
async function readWindow(
  deps: ReadDeps,
  read: WindowRead,
  stopReason: () => BridgeError | undefined,
): Promise<PodAnswer> {
  const { pods, isCovered } = deps.sources.of(read.task.window);
  let answer: PodAnswer = { samples: 0, bytes: 0, isCovered };
  for (const pod of pods) {
    answer = await readFrom(deps, { pod, isCovered, stopReason }, read);
    if (answer.samples > 0) break;
  }
  return answer;
}

/** The window was read to its end. Its batches may be settled already: what follows from both must not wait in between. */
function noteWhole(deps: ReadDeps, read: WindowRead, { samples, isCovered }: PodAnswer): void {
  deps.ledger.totals.groupsRead.add(read.task.query.group);
  if (isCovered) read.whole = true;
  else settleUncovered(deps, read, samples > 0);
}

function storeGone(): BridgeError {
  return new BridgeError(
    "prometheus_answer_partial",
    "no store of the backend has data of this time (No StoreAPIs matched for this query)",
  );
}

interface PodRead {
  pod: PrometheusConnection;
  isCovered: boolean;
  /** Looked at after a wait for memory. */
  stopReason: () => BridgeError | undefined;
}

/** A whole answer. `samples`: the number that the Pod has, native histograms and stale markers included. `bytes`: about, compressed. `isCovered`: see Sources. */
interface PodAnswer {
  samples: number;
  bytes: number;
  isCovered: boolean;
}

/** Reads the window from one Pod, and sends the answer when it is whole. One for which there is no memory is read again when there is. */
async function readFrom(deps: ReadDeps, from: PodRead, read: WindowRead): Promise<PodAnswer> {
  const usual = await readOnce(deps, from, read, "usual");
  if (usual) return usual;
  const largest = await readOnce(deps, from, read, "largest");
  assert(largest !== undefined, "the largest answer fits into what is reserved for it");
  return largest;
}

/** Undefined: there was no memory for the answer. */
async function readOnce(
  deps: ReadDeps,
  { pod, isCovered, stopReason }: PodRead,
  read: WindowRead,
  size: "usual" | "largest",
): Promise<PodAnswer | undefined> {
  const { ledger } = deps;
  let answer: KeptAnswer | undefined;
  const begin = async (): Promise<void> => {
    await answer?.drop();
    answer = undefined;
    answer = await deps.answers.open(read, size);
    const stopped = stopReason();
    if (stopped) throw stopped;
    read.task.startedAt = deps.clock.monotonic();
    ledger.beginAnswer(read, pod.pod.name);
  };
  const opened = (): KeptAnswer => {
    assert(answer !== undefined, "an answer is kept while it is read");
    return answer;
  };
  try {
    await begin();
    const result = await readInto(deps, pod, read, { answer: opened, restart: begin });
    // Before the oldest data that is as it should be; later, a store is gone.
    if (result.noStores && isCovered) throw storeGone();
    const bytes = await opened().send();
    ledger.endAnswer(read, result);
    const refused = result.refused.reduce((sum, { samples }) => sum + samples, 0);
    const samples = result.samples + refused + result.histogramSamples + read.markers.read;
    return { samples, bytes, isCovered };
  } catch (thrown) {
    await answer?.drop();
    if (answer?.ranOut()) return undefined;
    throw thrown;
  }
}

async function readInto(
  deps: ReadDeps,
  pod: PrometheusConnection,
  read: WindowRead,
  kept: { answer(): KeptAnswer; restart(): Promise<void> },
): Promise<ScanResult> {
  const { ledger, delivery } = deps;
  const { query, window } = read.task;
  const describe = createSeriesDescriber(read.task, (task, metric) => deps.describe(task, metric));
  const sink = {
    series: (series: ScannedSeries): string | undefined => {
      ledger.totals.groupsSeen.add(query.group);
      const refusal = kept.answer().series(series, describe(series));
      if (refusal === undefined) ledger.addSeries(read, series);
      return refusal;
    },
    markers: (series: ScannedSeries): string | undefined => {
      const refusal = kept.answer().markers(series, describe(series));
      if (refusal === undefined) ledger.addMarkers(read, series);
      return refusal;
    },
    histogram: createHistogramSink(deps, read, () => kept.answer()),
  };
  const pause = (): Promise<void> | undefined => {
    const stopped = delivery.stopped();
    if (stopped) throw stopped;
    return kept.answer().room();
  };
  const restart = async (): Promise<void> => await kept.restart();
  return await pod.client.read(query, window, { sink, pause, restart }, deps.signal);
}

/**
 * A window before the time that any Pod is known to have data of: the answer counts only from its first sample on. The time before it is
 * absent, or the first samples of a young Pod would settle the hours that its twin has.
 */
function settleUncovered(deps: ReadDeps, read: WindowRead, hasSamples: boolean): void {
  const { query, window } = read.task;
  if (hasSamples) {
    if (Number.isFinite(read.oldestMs)) read.fromMs = Math.max(window.fromMs, read.oldestMs - 1);
    read.whole = true;
  }
  const absentUntil = hasSamples ? read.fromMs : window.toMs;
  if (absentUntil > window.fromMs && deps.sources.askedAll)
    deps.onAbsent(query, { fromMs: window.fromMs, toMs: absentUntil });
}

function isUnreachable(error: BridgeError): boolean {
  return /^(cluster|tunnel)_/.test(error.code);
}
