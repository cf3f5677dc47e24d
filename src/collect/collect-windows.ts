import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import { createMemoryBudget, type MemoryAccount, type MemoryBudget } from "#lib/memory-budget.ts";
import { createCountedPool, type BufferPool } from "#otlp/buffer-pool.ts";
import { createDelivery, type Delivery } from "#otlp/delivery.ts";
import type { Exporter } from "#otlp/exporter.ts";
import type { KeptAnswerSettings } from "#otlp/kept-answer.ts";
import { createOtlpWriter, type Batch } from "#otlp/writer.ts";
import type { Metadata } from "#prometheus/metadata.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { sawAbsent } from "./absence.ts";
import { createAnswers } from "./answers.ts";
import type { ClusterReport } from "./cluster-report.ts";
import type { ProgressMeter, ReadProgress } from "./collection-progress.ts";
import { createMetricKinds, type MetricKinds } from "./metric-kinds.ts";
import { addGap, commit, type ClusterProgress } from "./progress.ts";
import { BackgroundSaves, type ProgressFile } from "./progress-store.ts";
import type { ProofLedger } from "./proof-ledger.ts";
import type { ReadPlan } from "./read-plan.ts";
import type { Sources } from "./sources.ts";
import { WindowLedger, type PointsOwner, type ReadTotals, type WindowRead } from "./window-ledger.ts";
import { readWindows, type ReadDeps } from "./window-reads.ts";

export interface CollectWindowsDeps {
  exporter: Exporter;
  clock: Clock;
  metrics: Pick<OwnMetrics, "batchStarted" | "batchFinished">;
  pool: BufferPool;
  /** Of all clusters. Default: no limit. */
  memory?: MemoryBudget;
}

export interface CollectWindowsSettings {
  /** Time between two rounds. */
  intervalMs: number;
  /** Windows read at once from one cluster. */
  lanes: number;
  batchPointsMax: number;
  batchBytesMax: number;
  /** Bytes that are kept of one window's answer at most, compressed, until it is whole. */
  keptBytesMax: number;
  /** Batches of one cluster on their way at once. */
  batchesInFlightMax: number;
  version: string;
}

export interface CollectSignals {
  /** Of this replica's lease of the cluster. */
  epoch: number;
  /** Aborts at once: the cluster's deadline, its deletion, or the end of the process. */
  signal: AbortSignal;
  /** Ends reading. Samples that were read by then are still delivered, until `signal`. Default: `signal` itself. */
  readSignal?: AbortSignal;
  /** Asks to end soon: windows that are being read are finished, no new ones are begun. */
  isStopping: () => boolean;
  /** Called when there is something to look at, with a function that tells how far the collection is. */
  offerProgress?: (read: ReadProgress) => void;
}

/** One collection of one cluster. */
export interface CollectionRun {
  cluster: Cluster;
  signals: CollectSignals;
  logger: Logger;
  file: ProgressFile;
  report: ClusterReport;
  meter: Pick<ProgressMeter, "expect" | "begin">;
  /** Absent: samples are not counted for a proof of completeness. */
  proof?: ProofLedger;
  /** Progress of the other shards: a metric that this one sees for the first time gets the kind that it has there. */
  peers?: readonly ClusterProgress[];
}

const WAIT_WARNED_MS = 10_000;

/**
 * Reads the windows of the plan, sends their samples to the Collector and commits each window whose points are all acknowledged or refused.
 * Returns when nothing is under way any more. Throws BridgeError `state_*` when the progress can't be saved.
 */
export async function collectWindows(
  deps: CollectWindowsDeps,
  settings: CollectWindowsSettings,
  run: CollectionRun,
  parts: { sources: Sources; metadata: Metadata; plan: ReadPlan },
): Promise<ReadTotals> {
  const { file, signals, logger } = run;
  const { progress } = file;
  const saves = new BackgroundSaves(file);
  const ledger = new WindowLedger((read) => {
    if (run.proof?.count(read) ?? true) commitWindow(progress, read, logger);
    saves.start();
  }, run.proof?.stretchMs);
  const kinds = createMetricKinds(progress, parts.metadata, () => file.save(), run.peers);
  const memory = (deps.memory ?? createMemoryBudget(Infinity)).open(() => writer.flush());
  const delivery = openDelivery(deps, settings, run, { ledger, kinds, memory });
  const submit = (batch: Batch<PointsOwner>): void => {
    deps.metrics.batchStarted();
    delivery.submit(batch);
  };
  const { clock, exporter, pool } = deps;
  const requests = requestSettings(settings, run);
  const writer = createOtlpWriter<PointsOwner>({
    ...requests,
    pool: createCountedPool(pool, memory),
    onBatch: submit,
  });
  const signal = signals.readSignal ?? signals.signal;
  const answers = createAnswers({ exporter, pool, shared: writer, submit, clock, memory, signal }, requests);
  const reads: ReadDeps = {
    sources: parts.sources,
    ledger,
    answers,
    writer,
    delivery,
    memory,
    clock,
    signal,
    isStopping: signals.isStopping,
    describe: (task, metric) => kinds.describe(task, metric),
    describeHistogram: (task, metric, kind) => kinds.describeHistogram(task, metric, kind),
    onAbsent: ({ name }, { fromMs, toMs }) => {
      const times = { nowMs: deps.clock.now(), intervalMs: settings.intervalMs };
      ledger.totals.losses.push(...sawAbsent(name, progress.queries[name]!, [fromMs, toMs], times));
      run.proof?.absent(name, [fromMs, toMs]);
      saves.start();
    },
  };
  run.meter.begin(parts.plan, ledger.totals);
  try {
    await readWindows(reads, parts.plan, settings.lanes);
    // Also after an abort: a batch that can't be sent any more fails its windows.
    writer.flush();
    await delivery.drained();
    assert(memory.held() === 0, "a collection gives back its memory");
  } finally {
    memory.close();
  }
  nameWait(ledger.totals, answers.waitedMs());
  await saves.finished();
  return ledger.totals;
}

function openDelivery(
  deps: CollectWindowsDeps,
  settings: CollectWindowsSettings,
  { report, signals }: CollectionRun,
  { ledger, kinds, memory }: { ledger: WindowLedger; kinds: MetricKinds; memory: MemoryAccount },
): Delivery<PointsOwner> {
  return createDelivery<PointsOwner>(
    {
      exporter: savingKindsFirst(deps.exporter, kinds),
      probe: (kind) => report.probe(kind, signals.signal),
      onOutcome: (parts, bytes) => {
        deps.metrics.batchFinished();
        ledger.addOutcome(parts, bytes);
      },
      toError: (error) => toBridgeError(error),
      signal: signals.signal,
      memory,
    },
    { inFlightMax: settings.batchesInFlightMax },
  );
}

/** A point leaves only when the progress record names the kind of its metric: see createMetricKinds. */
function savingKindsFirst(exporter: Exporter, kinds: MetricKinds): Exporter {
  return {
    ...exporter,
    send: async (batch, probe, signal, round) => {
      try {
        signal.throwIfAborted();
        await kinds.saved();
      } catch (thrown) {
        batch.release();
        throw thrown;
      }
      return await exporter.send(batch, probe, signal, round);
    },
  };
}

function requestSettings(settings: CollectWindowsSettings, { report }: CollectionRun): KeptAnswerSettings {
  return {
    resource: report.resource,
    scope: { name: "budcluster", version: settings.version },
    pointsMax: settings.batchPointsMax,
    bytesMax: settings.batchBytesMax,
    keptBytesMax: settings.keptBytesMax,
  };
}

/** The wait for memory takes from the cluster's deadline: it must not be taken for a slow cluster. */
function nameWait(totals: ReadTotals, waitedMs: number): void {
  if (waitedMs < WAIT_WARNED_MS) return;
  const seconds = Math.round(waitedMs / 1000);
  totals.warnings.add(
    `reads waited ${seconds} s in total for memory: the answers of all clusters use up MEMORY_BUDGET`,
  );
}

/** Commits a settled window and records its refused points. */
function commitWindow(progress: ClusterProgress, read: WindowRead, logger: Logger): void {
  const { query, window } = read.task;
  const state = progress.queries[query.name]!;
  commit(state, [read.fromMs, window.toMs], { read: read.read, sent: read.acknowledged });
  for (const { reason, points } of read.refused) {
    addGap(state, { from: window.fromMs, to: window.toMs, state: "refused", reason, points });
  }
  for (const [code, refused] of Map.groupBy(read.refused, (part) => part.code)) {
    const points = refused.reduce((sum, part) => sum + part.points, 0);
    const subject = code === "collector_refused" ? "the Collector refused" : "refused";
    logger.error(
      { code, query: query.name, points, from: window.fromMs, to: window.toMs },
      `${subject} ${points} points for good: ${refused[0]!.reason}`,
    );
  }
}
