import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Delivery } from "#otlp/delivery.ts";
import type { MetricDescription } from "#otlp/request-encoder.ts";
import type { OtlpWriter } from "#otlp/writer.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { Window } from "#prometheus/window.ts";
import type { ScannedSeries } from "#prometheus/series-sink.ts";
import type { PrometheusConnection } from "./ports.ts";
import { toReadEnd } from "./read-end.ts";
import type { ReadPlan, ReadTask } from "./read-plan.ts";
import { createSeriesDescriber } from "./series-describer.ts";
import type { Sources } from "./sources.ts";
import type { WindowLedger, WindowRead } from "./window-ledger.ts";

export interface ReadDeps {
  sources: Pick<Sources, "of" | "askedAll">;
  ledger: WindowLedger;
  writer: OtlpWriter<WindowRead>;
  delivery: Pick<Delivery<WindowRead>, "room" | "stopped">;
  describe(task: ReadTask, metric: string): MetricDescription;
  /** Called for each stretch without samples in any ready Pod, when it is older than the data that any Pod is known to have. */
  onAbsent(query: Query, stretch: Window): void;
  clock: Clock;
  /** Aborts reading at once. */
  signal: AbortSignal;
  /** Lets the windows that are being read end, and begins no new ones. */
  isStopping: () => boolean;
}

/** Samples that were read are sent after this time even when their batch is not full: a deadline or the end of the process must not undo a slow round. */
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
    const failure = await readWindow(this.#deps, read);
    if (!failure) {
      this.#unreachableInARow = 0;
      this.#plan.ended(task, "done");
      ledger.settleIfDone(read);
      this.#flushSometimes();
      return;
    }
    if (isUnreachable(failure) && ++this.#unreachableInARow >= UNREACHABLE_MAX) this.#unreachable ??= failure;
    const tookMs = clock.monotonic() - task.startedAt;
    const end = toReadEnd(failure, { hasSamples: read.read > 0, tookMs, isAborted: signal.aborted });
    const isReadAgain = this.#plan.ended(task, end);
    // Points of it that were sent may still be acknowledged: the smaller windows send them again, and they overwrite the same rows.
    if (isReadAgain && !this.#unreachable) read.failure = failure;
    else ledger.fail(read, failure);
  }

  #flushSometimes(): void {
    const nowMs = this.#deps.clock.monotonic();
    if (nowMs - this.#flushedAt < FLUSH_MS) return;
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

/** Reads the window from the first of its Pods that has samples. Resolves with the failure, if it could not be read to its end. */
async function readWindow(deps: ReadDeps, read: WindowRead): Promise<BridgeError | undefined> {
  const { query, window } = read.task;
  const { pods, isCovered } = deps.sources.of(window);
  let samples = 0;
  try {
    for (const pod of pods) {
      const answer = await readFrom(deps, pod, read);
      read.pod = pod.pod.name;
      // Before the oldest data that is as it should be; later, a store is gone.
      if (answer.noStores && isCovered) throw storeGone();
      samples = answer.samples;
      if (samples > 0) break;
    }
  } catch (thrown) {
    return toBridgeError(thrown);
  }
  deps.ledger.totals.groupsRead.add(query.group);
  if (isCovered) read.whole = true;
  else settleUncovered(deps, read, samples > 0);
  return undefined;
}

function storeGone(): BridgeError {
  return new BridgeError(
    "prometheus_answer_partial",
    "no store of the backend has data of this time (No StoreAPIs matched for this query)",
  );
}

/** Reads the window from one Pod. `samples`: the number that the Pod has, native histograms included. */
async function readFrom(
  deps: ReadDeps,
  pod: PrometheusConnection,
  read: WindowRead,
): Promise<{ samples: number; noStores: boolean }> {
  const { ledger, writer, delivery } = deps;
  const { query, window } = read.task;
  const describe = createSeriesDescriber(read.task, (task, metric) => deps.describe(task, metric));
  const sink = {
    series: (series: ScannedSeries): string | undefined => {
      ledger.totals.groupsSeen.add(query.group);
      const refusal = writer.series(series, describe(series), read);
      if (refusal === undefined) ledger.addSeries(read, series);
      return refusal;
    },
  };
  const pause = (): Promise<void> | undefined => {
    const stopped = delivery.stopped();
    if (stopped) throw stopped;
    return delivery.room();
  };
  const result = await pod.client.read(query, window, { sink, pause }, deps.signal);
  ledger.leaveOut(read, result.histogramSamples);
  for (const refused of result.refused) ledger.refuse(read, refused);
  for (const warning of result.warnings) ledger.totals.warnings.add(`${query.name}: ${warning}`);
  const refusedSamples = result.refused.reduce((sum, { samples }) => sum + samples, 0);
  const samples = result.samples + refusedSamples + result.histogramSamples;
  return { samples, noStores: result.noStores === true };
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
