import type { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Query } from "#prometheus/catalogue.ts";
import type { PrometheusClient } from "#prometheus/client.ts";
import type { StateRecords } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import { missingIn, type Interval } from "./intervals.ts";
import { settledIntervals, type ClusterProgress, type QueryProgress } from "./progress.ts";
import { countAtSource, type CountLimits, type CountTask } from "./proof-compare.ts";
import { countedPart, createProofLedger, type LateSamples, type ProofLedger } from "./proof-ledger.ts";
import { comparisonsDue, isDue, type ProofSettings } from "./proof-schedule.ts";
import { openProof, proofKey } from "./proof-store.ts";
import { noSamples, totalOf, type ClusterProof, type StretchProof, type UnprovedReason } from "./proof.ts";

/** The proof of completeness in one collection. */
export interface ProofRun extends ProofLedger {
  /** Compares stretches with the source, as many as its share of time allows. Never throws. */
  compare(client: PrometheusClient, limits: Omit<CountLimits, "shareMs">): Promise<void>;
  /** Never throws: counts that are not saved only cause a stretch to be read again. */
  save(): Promise<void>;
}

export interface ProofRunSettings {
  proof: ProofSettings;
  queries: readonly Query[];
  intervalMs: number;
  maxBackfillMs: number;
  windowMsMax: number;
}

/** The collection that is under way. Times are ms, by Prometheus' clock. */
export interface ProofContext {
  /** Of the progress record: the counts are kept beside it. */
  recordId: string;
  progress: ClusterProgress;
  /** The progress was lost. */
  isRestart: boolean;
  /** The name of the Pod that is read and compared with. */
  pod: string;
  acceptPartial: boolean;
  nowMs: number;
  endMs: number;
  logger: Logger;
}

/** Of the time between two rounds: comparisons must not delay the next one. */
const TIME_SHARE = 1 / 10;
const SHARE_MS_MIN = 5000;
const REREADS_MAX = 2;
const QUERIES_LOGGED_MAX = 20;

/** Throws BridgeError `state_unavailable`. */
export async function openProofRun(
  deps: { store: StateRecords; clock: Clock },
  settings: ProofRunSettings,
  context: ProofContext,
): Promise<ProofRun> {
  const { recordId, pod, endMs, logger } = context;
  const { stretchMs } = settings.proof;
  const { maxBackfillMs } = settings;
  // Everything is read again: the counts of before would be added to the new ones.
  if (context.isRestart) await deps.store.delete(proofKey(recordId));
  const file = await openProof(deps.store, recordId, stretchMs);
  if (file.restart !== undefined)
    logger.warn(`${file.restart}: time that was collected before has no proof of completeness`);
  const ledger = createProofLedger(file.proof, { pod, floorMs: endMs - maxBackfillMs });
  return {
    ...ledger,
    compare: async (client, limits) => {
      const tasks = toTasks(file.proof, settings, context);
      const shareMs = Math.min(
        settings.intervalMs / 2,
        Math.max(SHARE_MS_MIN, settings.intervalMs * TIME_SHARE),
      );
      await countAtSource({ client, clock: deps.clock }, tasks, { ...limits, shareMs });
      logUnproved(tasks, logger);
    },
    save: async () => {
      logLate(ledger.late, logger);
      try {
        await file.save();
      } catch (error) {
        logger.warn({ err: error }, "the counts of this collection could not be saved");
      }
    },
  };
}

type ProofTask = CountTask & { stretch: StretchProof; error?: BridgeError };

/** The comparisons that are due: those that failed least often first, then the oldest. Decides those that need no count. */
function toTasks(proof: ClusterProof, settings: ProofRunSettings, context: ProofContext): ProofTask[] {
  const hasOtherPods = Object.values(proof.queries).some(({ stretches }) =>
    stretches.some(({ pod }) => pod !== "" && pod !== context.pod),
  );
  const tasks = settings.queries.flatMap((query): ProofTask[] => {
    const known = proof.queries[query.name];
    const progress = context.progress.queries[query.name];
    if (query.kind !== "selector" || !known || !progress) return [];
    return known.stretches.flatMap((stretch): ProofTask[] => {
      const due = comparisonsDue(stretch.from, context.nowMs, settings.proof, settings.maxBackfillMs);
      const part = countedPart(known, stretch, proof.stretchMs);
      const floorMs = context.endMs - settings.maxBackfillMs;
      if (!isDue(stretch, due) || part[1] <= Math.max(part[0], floorMs) || !isSettled(progress, part))
        return [];
      const obstacle = obstacleOf(stretch, context, hasOtherPods);
      if (obstacle) {
        setAside(stretch, obstacle, due);
        return [];
      }
      const windowMsMax = Math.min(progress.window?.ms ?? Infinity, settings.windowMsMax);
      const compared = { due, nowMs: context.nowMs, isReadable: part[0] >= floorMs };
      return [toTask(query, stretch, part, windowMsMax, compared)];
    });
  });
  return tasks.toSorted((a, b) => a.stretch.failures - b.stretch.failures || a.stretch.from - b.stretch.from);
}

interface Comparison {
  /** Comparisons of the schedule that are done with this one. */
  due: number;
  nowMs: number;
  /** Can it be read again? */
  isReadable: boolean;
}

function toTask(
  query: CountTask["query"],
  stretch: StretchProof,
  [fromMs, toMs]: Interval,
  windowMsMax: number,
  comparison: Comparison,
): ProofTask {
  const task: ProofTask = {
    query,
    stretch,
    window: { fromMs, toMs },
    windowMsMax,
    done: (samples) => compareStretch(stretch, samples, comparison),
    failed: (error) => {
      task.error = error;
      stretch.failures++;
      if (stretch.comparedAt === null) stretch.unproved = "comparison_failed";
    },
  };
  return task;
}

function setAside(stretch: StretchProof, obstacle: UnprovedReason, due: number): void {
  if (stretch.comparedAt === null) stretch.unproved = obstacle;
  // The Pod may come back.
  if (obstacle !== "other_prometheus") stretch.comparisons = due;
}

function isSettled(progress: QueryProgress, [from, to]: Interval): boolean {
  return missingIn([Math.max(from, progress.from), to], settledIntervals(progress)).length === 0;
}

/** Why the stretch can't be compared now. */
function obstacleOf(
  stretch: StretchProof,
  { acceptPartial, pod }: ProofContext,
  hasOtherPods: boolean,
): UnprovedReason | undefined {
  if (acceptPartial) return "partial_answers";
  // Its counts were lost with the process: nobody knows which of several Pods it was read from.
  if (stretch.countedMs === 0 && hasOtherPods) return "several_prometheus";
  if (totalOf(stretch.counts) === 0 || stretch.pod === pod) return undefined;
  return stretch.pod === "" ? "several_prometheus" : "other_prometheus";
}

function compareStretch(stretch: StretchProof, source: number, { due, nowMs, isReadable }: Comparison): void {
  const counted = totalOf(stretch.counts);
  const wasProved = stretch.comparedAt !== null && stretch.unproved === null;
  if (due > stretch.comparisons) stretch.rereads = 0;
  Object.assign(stretch, { comparedAt: nowMs, comparisons: due, failures: 0 });
  // Nothing is missing in the store when the source deletes what it was proved to have.
  if (source < counted && wasProved) return;
  Object.assign(stretch, { source, unproved: null });
  if (source === counted) return;
  if (source < counted) stretch.unproved = "source_has_fewer";
  else if (!isReadable) stretch.unproved = "too_old";
  else if (stretch.rereads >= REREADS_MAX) stretch.unproved = "differs_again";
  else {
    stretch.rereads++;
    stretch.reread = { settled: [], counts: noSamples() };
  }
}

function logLate(late: readonly LateSamples[], logger: Logger): void {
  if (late.length === 0) return;
  const samples = late.reduce((sum, each) => sum + each.samples, 0);
  logger.warn(
    { code: "samples_late", samples, queries: namesOf(late.map(({ query }) => query)) },
    lateText(late),
  );
}

/** For example `12 samples of 2 queries reached Prometheus after their time was read; they are stored now`. */
export function lateText(late: readonly LateSamples[]): string {
  const samples = late.reduce((sum, each) => sum + each.samples, 0);
  const queries = new Set(late.map(({ query }) => query)).size;
  const from = new Date(late.reduce((min, each) => Math.min(min, each.from), Infinity)).toISOString();
  const of = `${samples} samples of ${queries} ${queries === 1 ? "query" : "queries"} from ${from} on`;
  return `${of} reached Prometheus after that time was read; they are stored now`;
}

function logUnproved(tasks: readonly ProofTask[], logger: Logger): void {
  for (const [reason, same] of Map.groupBy(tasks, ({ stretch }) => stretch.unproved)) {
    if (reason === null) continue;
    const error = same.find((task) => task.error)?.error;
    const queries = namesOf(same.map(({ query }) => query.name));
    const code = error ? { code: error.code } : {};
    const why = error ? `: ${error.message}` : "";
    logger.warn({ ...code, reason, queries, stretches: same.length }, `not proved (${reason})${why}`);
  }
}

function namesOf(names: readonly string[]): string[] {
  return [...new Set(names)].slice(0, QUERIES_LOGGED_MAX);
}
