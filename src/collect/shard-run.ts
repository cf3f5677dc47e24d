import { BridgeError, toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { Metadata } from "#prometheus/metadata.ts";
import type { StateRecords } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { OwnMetrics } from "#telemetry/metrics.ts";
import {
  collectWindows,
  type CollectionRun,
  type CollectWindowsDeps,
  type CollectWindowsSettings,
} from "./collect-windows.ts";
import { lossText, reportLosses } from "./outcome.ts";
import { earliestStart, planReads, preparePlan, type PlanSettings } from "./plan.ts";
import type { PodConnections } from "./pod-connections.ts";
import type { OpenPrometheus, PrometheusConnection } from "./ports.ts";
import type { ClusterProgress, Loss } from "./progress.ts";
import { lateText, openProofRun, type ProofRun } from "./proof-run.ts";
import type { ProofSettings } from "./proof-schedule.ts";
import { createReadPlan, type ReadPlan } from "./read-plan.ts";
import type { Shard } from "./shard-files.ts";
import { openSources, type Sources } from "./sources.ts";
import type { ReadTotals } from "./window-ledger.ts";

export interface ShardRunDeps extends CollectWindowsDeps {
  openPrometheus: OpenPrometheus;
  store: StateRecords;
  metrics: Pick<OwnMetrics, "batchStarted" | "batchFinished" | "timeLost" | "samplesRead">;
}

export interface ShardRunSettings extends CollectWindowsSettings, PlanSettings {
  queries: readonly Query[];
  /** Longest window that one request reads. */
  windowMsMax: number;
  /** Windows end this long before Prometheus' now. */
  lagMs: number;
  /** Series that the queries of metrics that are not listed may have together. Default: no limit. */
  unlistedSeriesMax?: number;
  /** Absent: samples are not counted for a proof of completeness. */
  proof?: ProofSettings;
}

/** A larger difference between Prometheus' clock and ours is worth a warning, and not followed into the future. */
const SKEW_TOLERATED_MS = 30_000;
/** Time that is this new is read before any back-fill. Two rounds, so that one that fails does not fall behind it. */
const FRESH_INTERVALS = 2;

const LARGEST_NAMED = 5;

type QueryFailure = ReadTotals["failures"][number];

/** The times of one collection by Prometheus' clock, ms. */
interface CollectionTimes {
  nowMs: number;
  /** End of the newest window. */
  endMs: number;
  /** Prometheus' clock minus the bridge's. */
  skewMs: number;
}

/** A shard whose Prometheus answers. */
export interface ShardSession {
  shard: Shard;
  connection: PrometheusConnection;
  times: CollectionTimes;
  metadata: Metadata;
  warnings: string[];
}

/** Connects to a Pod of the shard. `onAnswer` is called as soon as its Prometheus has answered. Throws BridgeError. */
export async function beginShard(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  connections: PodConnections,
  shard: Shard,
  onAnswer: () => Promise<void>,
  signal: AbortSignal,
): Promise<ShardSession> {
  const { pods, file } = shard;
  const pod = pods.find(({ uid }) => uid === file.progress.pod?.uid) ?? pods[0];
  if (!pod) throw new BridgeError("prometheus_pod_not_ready", "the Service has no ready Pod of it");
  const opened = await connections.to(pod);
  const otherPods = opened.otherPods.filter(({ uid }) => pods.some((own) => own.uid === uid));
  const connection = { ...opened, otherPods };
  const times = toTimes(await connection.client.now(signal), deps.clock.now(), settings.lagMs);
  const warnings = skewWarnings(times.skewMs);
  const known = file.progress.pod;
  if (known?.uid === connection.pod.uid) connection.samples?.recall(known.samples_by);
  const [metadata] = await Promise.all([
    readMetadata(connection, signal, warnings),
    onAnswer(),
    connection.client.prepareReads(signal),
  ]);
  return { shard, connection, times, metadata, warnings };
}

/** Collects the open windows of a shard. Throws BridgeError when it fails before the first one. */
export async function collectShard(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  run: CollectionRun,
  session: ShardSession,
): Promise<ReadTotals> {
  const proof = await openProofOf(deps, settings, run, session);
  const sources = await findSources(deps, settings, run, session, proof);
  try {
    const totals = await collectOpen(deps, settings, run, session, { sources, proof });
    const warnings = [...session.warnings, ...sources.warnings, ...totalsWarnings(totals)];
    for (const warning of warnings) totals.warnings.add(warning);
    return totals;
  } finally {
    await sources.close();
  }
}

/** Plans a shard that can't be read now, so that its open time is known. Returns what became lost. */
export function planUnread(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  progress: ClusterProgress,
  endMs: number,
): Loss[] {
  const unknown = { boundaries: [], oldestMs: undefined, isFirstSight: false };
  return planRound(deps, settings, progress, unknown, endMs, undefined).losses;
}

/** Plans the round, records the plan, and collects its windows. */
async function collectOpen(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  run: CollectionRun,
  { connection, metadata, times }: ShardSession,
  { sources, proof }: { sources: Sources; proof: ProofRun | undefined },
): Promise<ReadTotals> {
  const { file, logger, signals } = run;
  const unread = await queriesBeyondLimit(connection.client, settings, signals.signal);
  const { plan, losses } = planRound(deps, settings, file.progress, sources, times.endMs, proof, unread);
  rememberPod(file.progress, connection, times.endMs, logger);
  rememberTransport(file.progress, connection);
  await file.save();
  reportLosses(losses, deps.metrics, logger);
  const counted = proof ? { ...run, proof } : run;
  const totals = await collectWindows(deps, settings, counted, { sources, metadata, plan });
  totals.failures.push(...unread);
  if (rememberTransport(file.progress, connection)) await file.save();
  deps.metrics.samplesRead(totals.samplesBy, totals.markers);
  reportLosses(totals.losses, deps.metrics, logger);
  totals.losses.unshift(...losses);
  if (proof) {
    const { readSignal: signal = signals.signal, isStopping } = signals;
    await proof.compare(connection.client, { signal, isStopping });
    // After the progress: counts must not be of windows that will be read again.
    await proof.save();
    totals.late.push(...proof.late);
  }
  return totals;
}

async function openProofOf(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  { cluster, file, logger, peers = [] }: CollectionRun,
  { connection, times: { nowMs, endMs } }: ShardSession,
): Promise<ProofRun | undefined> {
  if (!settings.proof) return undefined;
  // All shards together have the time for comparisons that one Prometheus has.
  const intervalMs = settings.intervalMs / (peers.length + 1);
  return await openProofRun(
    deps,
    { ...settings, intervalMs, proof: settings.proof },
    {
      recordId: file.recordId,
      progress: file.progress,
      isRestart: file.restart !== undefined,
      pod: connection.pod.name,
      acceptPartial: cluster.prometheus.acceptPartial === true,
      nowMs,
      endMs,
      logger,
    },
  );
}

function toTimes(nowMs: number, ourNowMs: number, lagMs: number): CollectionTimes {
  // A Prometheus whose clock runs ahead must not commit times that are still to come: a corrected clock would never read them.
  const trustedNowMs = Math.min(nowMs, ourNowMs + SKEW_TOLERATED_MS);
  const endMs = Math.floor((trustedNowMs - lagMs) / 1000) * 1000;
  assert(endMs <= nowMs, "a window ends before Prometheus' now");
  return { nowMs, endMs, skewMs: nowMs - ourNowMs };
}

async function findSources(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  { cluster, file, signals }: CollectionRun,
  { connection, times: { endMs, nowMs } }: ShardSession,
  proof: ProofRun | undefined,
): Promise<Sources> {
  const unread = earliestStart(file.progress, settings.queries, endMs, settings);
  const earliestMs = Math.min(unread, proof?.earliest() ?? Infinity);
  const times = { earliestMs, endMs, nowMs, maxBackfillMs: settings.maxBackfillMs };
  return await openSources(deps, cluster, connection, file.progress, times, signals.signal);
}

function planRound(
  deps: ShardRunDeps,
  settings: ShardRunSettings,
  progress: ClusterProgress,
  sources: Pick<Sources, "boundaries" | "oldestMs" | "isFirstSight">,
  endMs: number,
  proof: ProofRun | undefined,
  unread: readonly QueryFailure[] = [],
): { plan: ReadPlan; losses: Loss[] } {
  const { queries, windowMsMax, lanes, keptBytesMax } = settings;
  const changed = preparePlan(progress, queries, endMs, sources, settings);
  proof?.begin(progress, queries, endMs);
  const boundaries = [...sources.boundaries, ...(proof?.boundaries() ?? [])];
  const { reads, losses } = planReads(progress, queries, endMs, boundaries, settings, proof);
  for (const { progress: state } of reads) state.attempted = Math.max(endMs, state.attempted);
  const freshMs = FRESH_INTERVALS * settings.intervalMs;
  const readable = reads.filter(({ query }) => !unread.some((each) => each.query === query.name));
  const plan = createReadPlan(deps, { windowMsMax, freshMs, lanes, keptBytesMax }, readable, endMs);
  return { plan, losses: [...changed, ...losses] };
}

/**
 * The queries of metrics that are not listed, when they have more series together than they may, or when nobody knows: their time stays open.
 * Throws the signal's reason, and what says that the cluster can't be reached.
 */
async function queriesBeyondLimit(
  client: PrometheusClient,
  { queries, unlistedSeriesMax = Infinity }: ShardRunSettings,
  signal: AbortSignal,
): Promise<QueryFailure[]> {
  const unlisted = queries.filter((query) => query.isUnlisted === true && query.kind === "selector");
  const counts: { name: string; series: number }[] = [];
  try {
    for (const { name, promql } of unlisted)
      counts.push({ name, series: await client.countSeries(promql, signal) });
  } catch (thrown) {
    const error = toBridgeError(thrown);
    if (signal.aborted || /^(cluster|tunnel)_/.test(error.code)) throw error;
    return unlisted.map(({ name }) => ({ query: name, error }));
  }
  const sum = counts.reduce((all, { series }) => all + series, 0);
  if (sum <= unlistedSeriesMax) return [];
  const largest = counts.toSorted((a, b) => b.series - a.series).slice(0, LARGEST_NAMED);
  const text = largest.map(({ name, series }) => `${name} ${series}`).join(", ");
  const error = new BridgeError(
    "prometheus_too_many_series",
    `the metrics that are not listed have ${sum} series, more than ${unlistedSeriesMax}: ${text}`,
    { details: { series: sum } },
  );
  return unlisted.map(({ name }) => ({ query: name, error }));
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

function totalsWarnings({ losses, late }: ReadTotals): string[] {
  return [
    ...(losses.length > 0 ? [`lost: ${lossText(losses)}`] : []),
    ...(late.length > 0 ? [`late: ${lateText(late)}`] : []),
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

/** True when that was not known. */
function rememberTransport({ pod }: ClusterProgress, { samples }: PrometheusConnection): boolean {
  const known = samples?.known();
  if (!pod || !known || pod.samples_by === known) return false;
  pod.samples_by = known;
  return true;
}
