import type { Query } from "#prometheus/catalogue.ts";
import { pruneAbsent } from "./absence.ts";
import { addInterval, missingIn } from "./intervals.ts";
import {
  forgetBefore,
  hashPromql,
  lose,
  newQueryProgress,
  settledIntervals,
  watermarkOf,
  type ClusterProgress,
  type Loss,
  type QueryProgress,
} from "./progress.ts";
import type { ProofLedger } from "./proof-ledger.ts";
import type { QueryReads } from "./read-plan.ts";

export interface PlanSettings {
  /** How far back the first collection of a query reaches. */
  initialLookbackMs: number;
  /** How far back missed time is read. */
  maxBackfillMs: number;
}

/** The earliest time at which the next windows may begin: the earliest watermark, or the start of a new query. */
export function earliestStart(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  settings: PlanSettings,
): number {
  const lookback = beginningOf(progress, endMs, settings);
  return Math.min(
    ...queries.map(({ name, promql }) => {
      const known = progress.queries[name];
      if (!known) return lookback;
      return known.promql_hash === hashPromql(promql) ? watermarkOf(known) : known.attempted;
    }),
  );
}

/**
 * Makes sure that every query has a progress. A new query begins `initialLookbackMs` ago; no sample before `oldestMs`, the oldest one that any
 * Pod is known to have, is promised. The same holds for known queries when data are seen for the first time (`isFirstSight`). A query whose
 * PromQL changed begins at the end of the old one; time that the old one had not read is lost. When the progress was lost (`restart_from`), a
 * query begins where the collection once began: all of that time was promised.
 */
export function preparePlan(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  { oldestMs, isFirstSight }: { oldestMs: number | undefined; isFirstSight: boolean },
  settings: PlanSettings,
): Loss[] {
  const losses: Loss[] = [];
  const earliest = beginningOf(progress, endMs, settings);
  const isRestart = progress.restart_from !== undefined;
  for (const { name, promql } of queries) {
    const known = progress.queries[name];
    if (known?.promql_hash === hashPromql(promql)) {
      if (isFirstSight) promiseFrom(known, oldestMs);
      continue;
    }
    if (known) {
      const [changed, lost] = changedProgress(name, known, promql);
      progress.queries[name] = changed;
      losses.push(...lost);
      continue;
    }
    const fresh = newQueryProgress(promql, earliest);
    if (!isRestart) promiseFrom(fresh, oldestMs);
    progress.queries[name] = fresh;
  }
  delete progress.restart_from;
  delete progress.begin_from;
  return losses;
}

/** No sample before the oldest one that any Pod is known to have is promised. */
function promiseFrom(query: QueryProgress, oldestMs: number | undefined): void {
  if (oldestMs !== undefined && oldestMs - 1 > query.from) query.promised_from = oldestMs - 1;
}

function beginningOf(progress: ClusterProgress, endMs: number, settings: PlanSettings): number {
  const lookback = endMs - settings.initialLookbackMs;
  const shardBegin = Math.max(progress.begin_from ?? lookback, endMs - settings.maxBackfillMs);
  return Math.min(lookback, shardBegin, progress.restart_from ?? lookback);
}

/**
 * The progress of another PromQL under the same name. It begins at the newest time that the old one tried: it may give other values for
 * times that were sent in part. Time that the old one had not read by then is lost.
 */
function changedProgress(name: string, known: QueryProgress, promql: string): [QueryProgress, Loss[]] {
  const losses = lose(name, known, [known.from, known.attempted], "query_changed");
  const changed: QueryProgress = {
    ...newQueryProgress(promql, known.attempted),
    gaps: known.gaps,
    samples_read: known.samples_read,
    samples_sent: known.samples_sent,
  };
  return [changed, losses];
}

/**
 * The open stretches of each query up to `endMs`, and those that `proof` wants to read again. Time older than `maxBackfillMs` is not read any more and becomes a lost gap.
 * Windows do not reach over a change of a metric's type, nor over one of `boundaries`.
 */
export function planReads(
  progress: ClusterProgress,
  queries: readonly Query[],
  endMs: number,
  boundaries: readonly number[],
  settings: PlanSettings,
  proof?: Pick<ProofLedger, "toReread">,
): { reads: QueryReads[]; losses: Loss[] } {
  const floor = endMs - settings.maxBackfillMs;
  const losses: Loss[] = [];
  const reads = queries.map((query): QueryReads => {
    const state = progress.queries[query.name]!;
    losses.push(...lose(query.name, state, [state.from, floor], "older_than_max_backfill"));
    forgetBefore(state, floor);
    pruneAbsent(state);
    const changes = Object.values(state.types).flatMap((types) => types.map((type) => type.since));
    return {
      query,
      progress: state,
      open: (proof?.toReread(query.name) ?? []).reduce(
        addInterval,
        missingIn([state.from, endMs], settledIntervals(state)),
      ),
      boundaries: [...new Set([...changes, ...boundaries])],
    };
  });
  return { reads, losses };
}
