import { toBridgeError, toErrorBody, type BridgeError } from "#errors/error.ts";
import type { Cluster } from "#clusters/cluster.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import type { MemoryBudget } from "#lib/memory-budget.ts";
import { createCountedPool, type BufferPool } from "#otlp/buffer-pool.ts";
import { createDelivery } from "#otlp/delivery.ts";
import type { Exporter } from "#otlp/exporter.ts";
import { createOtlpWriter } from "#otlp/writer.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { Metadata } from "#prometheus/metadata.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import { createClusterReport, type ClusterReport } from "./cluster-report.ts";
import { recordLast } from "./last-collection.ts";
import { createMetricKinds } from "./metric-kinds.ts";
import { sawAbsent } from "./absence.ts";
import { addGap, commit, type ClusterProgress, type Loss } from "./progress.ts";
import { openProgress, type CommitTarget, type ProgressFile } from "./progress-store.ts";
import { logFailures, lossText, outcomeError, reportLosses } from "./outcome.ts";
import { earliestStart, planReads, preparePlan, type PlanSettings } from "./plan.ts";
import type { OpenPrometheus, PrometheusConnection } from "./ports.ts";
import { createReadPlan, type ReadPlan } from "./read-plan.ts";
import { openSources, type Sources } from "./sources.ts";
import type { ClusterResult } from "./status.ts";
import { createWindowReads, type ReadTotals, type WindowRead } from "./window-reads.ts";

export interface CollectClusterDeps {
  openPrometheus: OpenPrometheus;
  exporter: Exporter;
  store: StateStore;
  clock: Clock;
  logger: Logger;
  metrics: Pick<OwnMetrics, "batchStarted" | "batchFinished" | "errorOccurred" | "timeLost">;
  pool: BufferPool;
  /** Of all clusters. Default: no limit. */
  memory?: MemoryBudget;
}

export interface CollectClusterSettings extends PlanSettings {
  queries: readonly Query[];
  /** Time between two rounds. */
  intervalMs: number;
  /** Longest window that one request reads. */
  windowMsMax: number;
  /** Windows end this long before Prometheus' now. */
  lagMs: number;
  /** Queries read at once from one cluster. */
  lanes: number;
  batchPointsMax: number;
  batchBytesMax: number;
  /** Batches of one cluster on their way at once. */
  batchesInFlightMax: number;
  version: string;
  /** Where what is committed ends up; undefined where only the Collector knows. */
  database?: CommitTarget;
}

interface CollectSignals {
  /** Aborts at once: the cluster's deadline, or the end of the process' patience. */
  signal: AbortSignal;
  /** Ends reading. What was read by then is still delivered, until `signal`. Default: `signal` itself. */
  readSignal?: AbortSignal;
  /** Asks to end soon: what is being read is finished, nothing new is begun. */
  isStopping: () => boolean;
}

/** Collects one cluster once. Never throws: what went wrong is in the result and in the cluster's progress record. */
export type CollectCluster = (cluster: Cluster, signals: CollectSignals) => Promise<ClusterResult>;

/** More than this between Prometheus' clock and ours is worth a warning, and not followed into the future. */
const SKEW_TOLERATED_MS = 30_000;
const DOWN_REPORT_MS = 5000;
/** What is this new is read before any back-fill. Two rounds, so that one that fails does not fall behind it. */
const FRESH_INTERVALS = 2;

export function createCollectCluster(
  deps: CollectClusterDeps,
  settings: CollectClusterSettings,
): CollectCluster {
  return async (cluster, signals) => {
    const startedAt = deps.clock.monotonic();
    const logger = deps.logger.child({ cluster_id: cluster.id });
    const result = (
      outcome: ClusterResult["outcome"],
      totals?: ReadTotals,
      error?: BridgeError,
    ): ClusterResult => ({
      cluster_id: cluster.id,
      cluster_name: cluster.name,
      outcome,
      points: totals?.points ?? 0,
      series: totals?.series ?? 0,
      bytes: totals?.bytes ?? 0,
      duration_seconds: (deps.clock.monotonic() - startedAt) / 1000,
      error: error ? toErrorBody(error) : null,
    });

    let file: ProgressFile;
    try {
      file = await openProgress(deps.store, cluster.id, settings.database);
    } catch (error) {
      return result("failed", undefined, toBridgeError(error, "state_unavailable"));
    }
    if (file.restart !== undefined) {
      const from = new Date(file.progress.restart_from ?? 0).toISOString();
      logger.warn({ from }, `${file.restart}: everything back to MAX_BACKFILL is read again`);
    }
    const report = createClusterReport(deps, settings, cluster);
    let totals: ReadTotals | undefined;
    let skewMs: number | undefined;
    let error: BridgeError | undefined;
    try {
      ({ totals, skewMs } = await collect(cluster, file, report, signals, logger));
      error = outcomeError(totals);
      logFailures(totals, logger);
      if (totals.windows === 0 && error && /^(cluster|tunnel|prometheus)_/.test(error.code))
        await sendDown(report);
    } catch (thrown) {
      error = toBridgeError(thrown);
      if (!report.upSent && !error.code.startsWith("collector_") && !signals.isStopping())
        await sendDown(report);
    }
    const outcome = !error ? "successful" : totals && totals.windows > 0 ? "partial" : "failed";
    const summary = result(outcome, totals, error);
    const { queries } = settings;
    recordLast(file.progress, summary, { totals, skewMs, queries, nowMs: deps.clock.now() });
    try {
      await file.save();
    } catch (thrown) {
      return result("failed", totals, toBridgeError(thrown, "state_unavailable"));
    }
    return summary;
  };

  /** With a time of its own: the cluster's may be over. */
  async function sendDown(report: ClusterReport): Promise<void> {
    const limit = deadline(deps.clock, DOWN_REPORT_MS, () => new Error("took too long"));
    await report.sendDown(limit.signal);
    limit.dispose();
  }

  async function collect(
    cluster: Cluster,
    file: ProgressFile,
    report: ClusterReport,
    signals: CollectSignals,
    logger: Logger,
  ): Promise<{ totals: ReadTotals; skewMs: number }> {
    const { progress } = file;
    const { signal } = signals;
    const connection = await deps.openPrometheus(cluster, progress.pod?.uid, signal);
    let sources: Sources | undefined;
    try {
      const nowMs = await connection.client.now(signal);
      const skewMs = nowMs - deps.clock.now();
      // A Prometheus whose clock runs ahead must not commit times that are still to come: a corrected clock would never read them.
      const trustedNowMs = Math.min(nowMs, deps.clock.now() + SKEW_TOLERATED_MS);
      const endMs = Math.floor((trustedNowMs - settings.lagMs) / 1000) * 1000;
      const warnings = [...connection.warnings, ...skewWarnings(skewMs)];
      const [metadata] = await Promise.all([
        readMetadata(connection, signal, warnings),
        // Known good data first: it shows that the Collector takes data before Prometheus is asked for any.
        report.sendUp(signal),
      ]);
      // Before the samples: who reads those finds the names of their nodes.
      warnings.push(...(await report.sendNodes(connection.nodeNames, signal)));
      const earliestMs = earliestStart(progress, settings.queries, endMs, settings);
      const times = { earliestMs, endMs, nowMs, maxBackfillMs: settings.maxBackfillMs };
      sources = await openSources(deps, cluster, connection, progress, times, signal);
      const { plan, losses } = planRound(progress, sources, endMs);
      rememberPod(progress, connection, endMs, logger);
      await file.save();
      reportLosses(losses, deps.metrics, logger);

      const totals = await readAll({ sources, metadata, file, report, plan }, signals, logger);
      reportLosses(totals.losses, deps.metrics, logger);
      totals.losses.unshift(...losses);
      for (const warning of [...warnings, ...sources.warnings]) totals.warnings.add(warning);
      if (totals.losses.length > 0) totals.warnings.add(`lost: ${lossText(totals.losses)}`);
      if (totals.histogramSamples > 0) {
        totals.warnings.add(
          `${totals.histogramSamples} native histogram samples were left out: they are not converted yet`,
        );
      }
      await sendQueries(report, progress, endMs, totals, signal);
      return { totals, skewMs };
    } finally {
      await sources?.close();
      await connection.close();
    }
  }

  function planRound(
    progress: ClusterProgress,
    sources: Sources,
    endMs: number,
  ): { plan: ReadPlan; losses: Loss[] } {
    const { queries, windowMsMax, lanes } = settings;
    const changed = preparePlan(progress, queries, endMs, sources, settings);
    const { reads, losses } = planReads(progress, queries, endMs, sources.boundaries, settings);
    for (const { progress: state } of reads) state.attempted = Math.max(endMs, state.attempted);
    const freshMs = FRESH_INTERVALS * settings.intervalMs;
    const plan = createReadPlan(deps, { windowMsMax, freshMs, lanes }, reads, endMs);
    return { plan, losses: [...changed, ...losses] };
  }

  async function readAll(
    parts: {
      sources: Sources;
      metadata: Metadata;
      file: ProgressFile;
      report: ClusterReport;
      plan: ReadPlan;
    },
    signals: CollectSignals,
    logger: Logger,
  ): Promise<ReadTotals> {
    const { file, report } = parts;
    const { progress } = file;
    const saves = new Set<Promise<void>>();
    let saveError: BridgeError | undefined;
    const saveSoon = (): void => {
      const save = file
        .save()
        .catch((thrown: unknown) => void (saveError ??= toBridgeError(thrown, "state_unavailable")))
        .finally(() => saves.delete(save));
      saves.add(save);
    };
    const kinds = createMetricKinds(progress, parts.metadata, () => file.save());
    const exporter: Exporter = {
      ...deps.exporter,
      send: async (batch, probe, signal, round) => {
        try {
          signal.throwIfAborted();
          await kinds.saved();
        } catch (thrown) {
          batch.release();
          throw thrown;
        }
        return await deps.exporter.send(batch, probe, signal, round);
      },
    };
    const reads = createWindowReads({
      sources: parts.sources,
      clock: deps.clock,
      signal: signals.readSignal ?? signals.signal,
      isStopping: signals.isStopping,
      describe: (task, metric) => kinds.describe(task, metric),
      onSettled: (read) => {
        settleWindow(progress, read, logger);
        saveSoon();
      },
      onAbsent: ({ name }, { fromMs, toMs }) => {
        const times = { nowMs: deps.clock.now(), intervalMs: settings.intervalMs };
        reads.totals.losses.push(...sawAbsent(name, progress.queries[name]!, [fromMs, toMs], times));
        saveSoon();
      },
      get writer() {
        return writer;
      },
      get delivery() {
        return delivery;
      },
    });
    const memory = deps.memory?.open(() => writer.flush(), signals.signal);
    const delivery = createDelivery<WindowRead>(
      {
        exporter,
        probe: (kind) => report.probe(kind, signals.signal),
        onOutcome: (parts, bytes) => {
          deps.metrics.batchFinished();
          reads.settle(parts, bytes);
        },
        toError: (error) => toBridgeError(error),
        signal: signals.signal,
        ...(memory ? { memory } : {}),
      },
      { inFlightMax: settings.batchesInFlightMax },
    );
    const writer = createOtlpWriter<WindowRead>({
      resource: report.resource,
      scope: { name: "budcluster", version: settings.version },
      pointsMax: settings.batchPointsMax,
      bytesMax: settings.batchBytesMax,
      pool: memory ? createCountedPool(deps.pool, memory) : deps.pool,
      onBatch: (batch) => {
        deps.metrics.batchStarted();
        delivery.submit(batch);
      },
    });
    try {
      await reads.run(parts.plan, settings.lanes);
      // Also when all is over: a batch that may not be sent any more fails the windows that were read to the end.
      writer.flush();
      await delivery.drained();
    } finally {
      memory?.close();
    }
    while (saves.size > 0) await Promise.all(saves);
    if (saveError) throw saveError;
    return reads.totals;
  }
}

async function sendQueries(
  report: ClusterReport,
  progress: ClusterProgress,
  endMs: number,
  totals: ReadTotals,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted || totals.failures.some(({ error }) => error.code.startsWith("collector_"))) return;
  try {
    await report.sendQueries(progress, endMs, signal);
  } catch (thrown) {
    totals.failures.push({ query: "budcluster_query_*", error: toBridgeError(thrown) });
  }
}

async function readMetadata(
  connection: PrometheusConnection,
  signal: AbortSignal,
  warnings: string[],
): Promise<Metadata> {
  try {
    return await connection.client.metadata(signal);
  } catch (thrown) {
    const error = toBridgeError(thrown);
    if (signal.aborted || /^(cluster|tunnel)_/.test(error.code)) throw error;
    warnings.push(`metric types are known by their names only: /api/v1/metadata failed (${error.message})`);
    return new Map();
  }
}

function skewWarnings(skewMs: number): string[] {
  if (Math.abs(skewMs) < SKEW_TOLERATED_MS) return [];
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  return [
    `Prometheus' clock is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} this one; windows follow Prometheus' clock`,
  ];
}

function rememberPod(
  progress: ClusterProgress,
  connection: PrometheusConnection,
  endMs: number,
  logger: Logger,
): void {
  const { pod } = connection;
  if (progress.pod?.uid === pod.uid) return;
  if (progress.pod)
    logger.info(
      { from: progress.pod.name, to: pod.name },
      "windows are read from another Prometheus Pod from here on",
    );
  progress.pod = { ...pod, since: endMs };
}

function settleWindow(progress: ClusterProgress, read: WindowRead, logger: Logger): void {
  const { query, window } = read.task;
  const state = progress.queries[query.name]!;
  commit(state, [read.fromMs, window.toMs], { read: read.read, sent: read.acknowledged });
  for (const { reason, points } of read.refused) {
    addGap(state, { from: window.fromMs, to: window.toMs, state: "refused", reason, points });
  }
  for (const [code, refused] of Map.groupBy(read.refused, (part) => part.code)) {
    const points = refused.reduce((sum, part) => sum + part.points, 0);
    const who = code === "collector_refused" ? "the Collector refused" : "refused";
    logger.error(
      { code, query: query.name, points, from: window.fromMs, to: window.toMs },
      `${who} ${points} points for good: ${refused[0]!.reason}`,
    );
  }
}
