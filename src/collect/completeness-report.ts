import { crc32 } from "node:zlib";
import type { Cluster } from "#clusters/cluster.ts";
import { toBridgeError, type ErrorCode } from "#errors/error.ts";
import { deadline, type Clock } from "#lib/clock.ts";
import { SAMPLE_COUNTS } from "#lib/completeness.ts";
import { STATE_NUMBERS, STRETCH_REASONS, type StretchReason } from "#lib/stretch-states.ts";
import type { Turns } from "#lib/turns.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { StateRecords } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { ClusterReport } from "./cluster-report.ts";
import {
  readCollectionRecords,
  stretchesOfQuery,
  type CollectionRecords,
  type KnownStretch,
} from "./completeness.ts";
import { missingIn, type Interval } from "./intervals.ts";
import { CLUSTER_METRICS, type OwnSample } from "./own-samples.ts";
import { settledIntervals, type QueryProgress } from "./progress.ts";
import { openTold, type Told } from "./told-record.ts";
import { lossReason } from "./stretches.ts";

export interface CompletenessReportDeps {
  store: StateRecords;
  clock: Clock;
  turns: Turns;
}

export interface CompletenessReportSettings {
  queries: readonly Query[];
  /** Absent: samples are not counted. */
  proof?: { stretchMs: number };
  maxBackfillMs: number;
}

/** The collection that has just ended; its records are saved. */
export interface EndedCollection {
  cluster: Cluster;
  report: ClusterReport;
  logger: Logger;
  /** The error that it ended with. */
  error: ErrorCode | undefined;
  /** The collection's. When it is over already, only the error is told. */
  signal: AbortSignal;
}

type Records = readonly [CollectionRecords, ...CollectionRecords[]];

const REPORT_MS = 30_000;
const LATE_REPORT_MS = 5000;
/** A stretch is compared until it leaves MAX_BACKFILL, and its state is settled by the next collection. */
const SETTLED_MS = 3 * 3_600_000;
/** Of all queries: what is looked at in each collection. */
const STRETCHES_MAX = 100_000;
/** Their ends: each has an entry in the record of what was told. */
const ENDS_MAX = 5000;
/** What is sent in one collection; a stretch of 1,000 queries has 8,000. */
const SAMPLES_MAX = 20_000;
const SAMPLES_OF_STRETCH = SAMPLE_COUNTS.length + 3;
const GAPS_MAX = 1000;
const NOT_KNOWN = Number.NaN;

/**
 * Tells the query role how complete the cluster is: the last error, the sources, the gaps, and the stretches that have changed since they were
 * last told. Never throws: what is not accepted is told again after the next collection.
 */
export async function reportCompleteness(
  deps: CompletenessReportDeps,
  settings: CompletenessReportSettings,
  ended: EndedCollection,
): Promise<void> {
  const isLate = ended.signal.aborted;
  const limitMs = isLate ? LATE_REPORT_MS : REPORT_MS;
  const limit = deadline(deps.clock, limitMs, () => new Error("took too long"));
  const signal = isLate ? limit.signal : AbortSignal.any([limit.signal, ended.signal]);
  try {
    await tell(deps, settings, { ...ended, isLate }, signal);
  } catch (thrown) {
    ended.logger.warn(
      { err: toBridgeError(thrown) },
      "the completeness of the cluster could not be reported",
    );
  } finally {
    limit.dispose();
  }
}

async function tell(
  deps: CompletenessReportDeps,
  settings: CompletenessReportSettings,
  { cluster, report, error, isLate }: EndedCollection & { isLate: boolean },
  signal: AbortSignal,
): Promise<void> {
  const nowMs = deps.clock.now();
  const file = await openTold(deps.store, cluster.id);
  const { told } = file;
  const news = isLate ? NOTHING : await newsOf(deps, settings, cluster, told, nowMs);
  await report.send([...errorSamples(error, told.error, nowMs), ...news.samples], signal);
  const stretches = news.stretches ?? told.stretches;
  if (stretches !== told.stretches || (error ?? null) !== told.error)
    await file.save({ error: error ?? null, stretches });
}

/** Samples, and the fingerprints of what will be told then; undefined: the same as before. */
interface News {
  samples: OwnSample[];
  stretches?: Told["stretches"];
}

const NOTHING: News = { samples: [] };

async function newsOf(
  { store, turns }: CompletenessReportDeps,
  settings: CompletenessReportSettings,
  cluster: Cluster,
  told: Told,
  nowMs: number,
): Promise<News> {
  const { queries } = settings;
  const records = await readCollectionRecords(store, cluster.id, settings.proof?.stretchMs ?? 0);
  const { stretchMs } = records[0].proof;
  const ended = endedStretches({ ...settings, stretchMs }, nowMs);
  const fingerprints = await fingerprintsOf(queries, records, ended, turns);
  const changed = [...fingerprints].filter(([to, print]) => told.stretches.get(to) !== print);
  const stretchesMax = Math.max(1, Math.floor(SAMPLES_MAX / (queries.length * SAMPLES_OF_STRETCH)));
  const next = changed.toSorted(([a], [b]) => a - b).slice(0, stretchesMax);
  const samples = [
    ...clusterSamples(cluster, queries, records, nowMs),
    ...(await stretchSamples(queries, records, new Set(next.map(([to]) => to)), turns)),
  ];
  const known = [...told.stretches].filter(([to]) => fingerprints.has(to));
  if (next.length === 0 && known.length === told.stretches.size) return { samples };
  return { samples, stretches: new Map([...known, ...next]) };
}

/** The stretches that have ended and that may still change. */
function endedStretches(
  { queries, stretchMs, maxBackfillMs }: CompletenessReportSettings & { stretchMs: number },
  nowMs: number,
): { from: number; to: number } {
  const to = Math.floor(nowMs / stretchMs) * stretchMs;
  const countMax = Math.min(ENDS_MAX, Math.floor(STRETCHES_MAX / Math.max(1, queries.length)));
  const reachMs = Math.min(maxBackfillMs + SETTLED_MS + stretchMs, countMax * stretchMs);
  return { from: to - Math.ceil(reachMs / stretchMs) * stretchMs, to };
}

/** By the end of the stretch: it changes with anything that is told of any query. */
async function fingerprintsOf(
  queries: readonly Query[],
  records: Records,
  range: { from: number; to: number },
  turns: Turns,
): Promise<Map<number, number>> {
  const prints = new Map<number, number>();
  for (const query of queries) {
    for (const stretch of stretchesOfQuery(query, records, range)) {
      const { state, reason, comparedAt } = stretch;
      const facts = [query.name, state, reason, comparedAt, ...SAMPLE_COUNTS.map((name) => stretch[name])];
      prints.set(stretch.to, crc32(`${facts.join("|")}\n`, prints.get(stretch.to) ?? 0));
    }
    await turns.pause();
  }
  return prints;
}

/** The samples of the stretches that end at `ends`, by metric. */
async function stretchSamples(
  queries: readonly Query[],
  records: Records,
  ends: ReadonlySet<number>,
  turns: Turns,
): Promise<OwnSample[]> {
  if (ends.size === 0) return [];
  const range = { from: Math.min(...ends) - records[0].proof.stretchMs, to: Math.max(...ends) };
  const samples: OwnSample[] = [];
  for (const query of queries) {
    const stretches = stretchesOfQuery(query, records, range).filter(({ to }) => ends.has(to));
    samples.push(...stretches.flatMap(toSamples));
    await turns.pause();
  }
  return samples;
}

function toSamples(stretch: KnownStretch): OwnSample[] {
  const { query, from, to: timestampMs, state, reason, comparedAt } = stretch;
  // Stretches of another length end at the same times.
  const labels = { query, stretch_seconds: String((timestampMs - from) / 1000) };
  const sample = (metric: OwnSample["metric"], value: number | null, more = {}): OwnSample => ({
    metric,
    labels: { ...labels, ...more },
    timestampMs,
    value: value ?? NOT_KNOWN,
  });
  return [
    sample(CLUSTER_METRICS.stretchState, state && STATE_NUMBERS[state]),
    sample(CLUSTER_METRICS.stretchReason, reason && STRETCH_REASONS[reason].number),
    sample(CLUSTER_METRICS.stretchCompared, comparedAt && comparedAt / 1000),
    ...SAMPLE_COUNTS.map((count) => sample(CLUSTER_METRICS.stretchSamples, stretch[count], { count })),
  ];
}

/** An error that is over is told once more, as 0. */
function errorSamples(
  error: ErrorCode | undefined,
  before: ErrorCode | null,
  timestampMs: number,
): OwnSample[] {
  const sample = (code: ErrorCode, value: 0 | 1): OwnSample => ({
    metric: CLUSTER_METRICS.error,
    labels: { code },
    timestampMs,
    value,
  });
  return [
    ...(error === undefined ? [] : [sample(error, 1)]),
    ...(before === null || before === error ? [] : [sample(before, 0)]),
  ];
}

function clusterSamples(
  cluster: Cluster,
  queries: readonly Query[],
  records: Records,
  timestampMs: number,
): OwnSample[] {
  const transport = cluster.prometheus.url === undefined ? "tunnel_query" : "direct";
  const pods = new Set(records.flatMap(({ progress }) => (progress.pod ? [progress.pod.name] : [])));
  const length = records[0].proof.stretchMs / 1000;
  return [
    { metric: CLUSTER_METRICS.stretchLength, labels: {}, timestampMs, value: length },
    ...[...pods].map((pod) => ({
      metric: CLUSTER_METRICS.source,
      labels: { pod, transport },
      timestampMs,
      value: 1,
    })),
    ...gapSamples(queries, records, timestampMs),
  ];
}

/** One sample for each query, state and reason, the longest first: at most 1,000. */
function gapSamples(queries: readonly Query[], records: Records, timestampMs: number): OwnSample[] {
  const samples = queries.flatMap(({ name }) => {
    const lengths = new Map<string, { state: string; reason: StretchReason; ms: number }>();
    for (const { progress } of records) {
      const query = progress.queries[name];
      for (const {
        state,
        reason,
        time: [from, to],
      } of query ? gapsOf(query) : []) {
        const known = lengths.get(`${state} ${reason}`) ?? { state, reason, ms: 0 };
        known.ms += to - from;
        lengths.set(`${state} ${reason}`, known);
      }
    }
    return [...lengths.values()].map(({ state, reason, ms }) => ({
      metric: CLUSTER_METRICS.gap,
      labels: { query: name, state, reason },
      timestampMs,
      value: ms / 1000,
    }));
  });
  return samples.toSorted((a, b) => b.value - a.value).slice(0, GAPS_MAX);
}

function gapsOf(query: QueryProgress): { state: string; reason: StretchReason; time: Interval }[] {
  const open = missingIn([query.from, query.attempted], settledIntervals(query));
  return [
    ...query.gaps.map(({ state, reason, from, to }) => ({
      state,
      reason: state === "lost" ? lossReason(reason) : ("refused" as const),
      time: [from, to] as const,
    })),
    ...open.map((time) => ({ state: "open", reason: "not_read" as const, time })),
  ];
}
