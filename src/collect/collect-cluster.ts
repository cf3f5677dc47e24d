import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError, toErrorBody, type BridgeError } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import type { Logger } from "#telemetry/logger.ts";
import { createClusterReport, type ClusterReport } from "./cluster-report.ts";
import { ProgressMeter } from "./collection-progress.ts";
import type { CollectionRun, CollectSignals } from "./collect-windows.ts";
import { reportCompleteness, type CompletenessReportDeps } from "./completeness-report.ts";
import { runCollection, type CollectionRunDeps, type CollectionRunSettings } from "./collection-run.ts";
import { fencedRecords } from "./fenced-records.ts";
import { recordLast } from "./last-collection.ts";
import { logFailures, outcomeError } from "./outcome.ts";
import { isLeaseLost } from "./ownership.ts";
import { openProgress, type CommitTarget, type ProgressFile } from "./progress-store.ts";
import type { ClusterResult } from "./status.ts";
import type { ReadTotals } from "./window-ledger.ts";

export interface CollectClusterDeps extends CollectionRunDeps, CompletenessReportDeps {
  logger: Logger;
}

export interface CollectClusterSettings extends CollectionRunSettings {
  /** Where committed windows are stored; undefined where only the Collector knows. */
  database?: CommitTarget;
}

/** Collects one cluster once. Never throws: failures are in the result and in the cluster's progress record. */
export type CollectCluster = (cluster: Cluster, signals: CollectSignals) => Promise<ClusterResult>;

const DOWN_REPORT_MS = 5000;

/** How a collection ended. Totals and clock skew are undefined when it did not get that far. */
interface CollectionEnd {
  totals: ReadTotals | undefined;
  skewMs: number | undefined;
  error: BridgeError | undefined;
  /** The Collector did not answer when the cluster was reported as down: it is asked for nothing more. */
  isCollectorSilent?: boolean;
}

const NOTHING_READ = { totals: undefined, skewMs: undefined };

export function createCollectCluster(
  deps: CollectClusterDeps,
  settings: CollectClusterSettings,
): CollectCluster {
  return async (cluster, signals) => {
    const store = fencedRecords(deps.store, signals.epoch);
    return await collectOnce({ ...deps, store }, settings, cluster, signals);
  };
}

async function collectOnce(
  deps: CollectClusterDeps,
  settings: CollectClusterSettings,
  cluster: Cluster,
  signals: CollectSignals,
): Promise<ClusterResult> {
  const startedAt = deps.clock.monotonic();
  const result = (end: Pick<CollectionEnd, "totals" | "error">): ClusterResult =>
    toResult(cluster, end, (deps.clock.monotonic() - startedAt) / 1000);
  let file: ProgressFile;
  try {
    file = await openProgress(deps.store, cluster.id, settings.database);
  } catch (error) {
    return result({ totals: undefined, error: toBridgeError(error, "state_unavailable") });
  }
  const logger = deps.logger.child({ cluster_id: cluster.id });
  logRestart(file, logger);
  const report = createClusterReport(deps, settings, cluster);
  const meter = new ProgressMeter();
  signals.offerProgress?.(meter.read);
  const end = await collect(deps, settings, { cluster, signals, logger, file, report, meter });
  const summary = result(end);
  if (isLeaseLost(end.error)) return summary;
  const { totals, skewMs } = end;
  recordLast(file.progress, summary, {
    totals,
    skewMs,
    queries: settings.queries,
    nowMs: deps.clock.now(),
  });
  try {
    await file.save();
  } catch (thrown) {
    const error = toBridgeError(thrown, "state_unavailable");
    return { ...result({ totals, error }), ...(isLeaseLost(error) ? {} : { outcome: "failed" }) };
  }
  if (end.isCollectorSilent !== true && canReport(end.error, signals)) {
    const { signal } = signals;
    const ended = { cluster, report, logger, error: end.error?.code, signal };
    await reportCompleteness(deps, settings, ended);
  }
  return summary;
}

/** Not when the Collector does not answer anyway, nor about a cluster that was deleted meanwhile. */
function canReport(error: BridgeError | undefined, { signal, isStopping }: CollectSignals): boolean {
  if (isStopping() || (error && /^collector_(?!refused)/.test(error.code))) return false;
  return !isOthers(signal);
}

/** Was the cluster deleted, or taken over by another replica? */
function isOthers(signal: AbortSignal): boolean {
  return signal.aborted && ["cluster_deleted", "lease_lost"].includes(toBridgeError(signal.reason).code);
}

/** Reports the cluster as down when its Prometheus could not be read. Never throws. */
async function collect(
  deps: CollectClusterDeps,
  settings: CollectClusterSettings,
  run: CollectionRun,
): Promise<CollectionEnd> {
  const { report, signals, logger } = run;
  try {
    const { totals, skewMs } = await runCollection(deps, settings, run);
    const error = outcomeError(totals);
    logFailures(totals, logger);
    if (totals.windows === 0 && error && /^(cluster|tunnel|prometheus)_/.test(error.code))
      return { totals, skewMs, error, isCollectorSilent: !(await sendDown(deps.clock, report)) };
    return { totals, skewMs, error };
  } catch (thrown) {
    const error = toBridgeError(thrown);
    if (isLeaseLost(error) || isOthers(signals.signal)) return { ...NOTHING_READ, error };
    if (!report.upSent && !error.code.startsWith("collector_") && !signals.isStopping())
      return { ...NOTHING_READ, error, isCollectorSilent: !(await sendDown(deps.clock, report)) };
    return { ...NOTHING_READ, error };
  }
}

/** With a time limit of its own: the cluster's deadline may be over. False: the Collector did not answer within it. */
async function sendDown(clock: Clock, report: ClusterReport): Promise<boolean> {
  const limit = deadline(clock, DOWN_REPORT_MS, () => new Error("took too long"));
  await report.sendDown(limit.signal);
  limit.dispose();
  return !limit.signal.aborted;
}

function logRestart({ restart, progress }: ProgressFile, logger: Logger): void {
  if (restart === undefined) return;
  const from = new Date(progress.restart_from ?? 0).toISOString();
  logger.warn({ from }, `${restart}: everything back to MAX_BACKFILL is read again`);
}

function toResult(
  cluster: Cluster,
  { totals, error }: Pick<CollectionEnd, "totals" | "error">,
  durationSeconds: number,
): ClusterResult {
  const hasProgress = totals !== undefined && totals.windows > 0;
  return {
    cluster_id: cluster.id,
    cluster_name: cluster.name,
    outcome: isLeaseLost(error) ? "skipped" : !error ? "successful" : hasProgress ? "partial" : "failed",
    points: totals?.points ?? 0,
    series: totals?.series ?? 0,
    bytes: totals?.bytes ?? 0,
    duration_seconds: durationSeconds,
    error: error ? toErrorBody(error) : null,
  };
}
