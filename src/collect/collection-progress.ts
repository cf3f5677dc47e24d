import type { ReadPlan } from "./read-plan.ts";
import type { ReadTotals } from "./window-ledger.ts";

/** What a collection under way has done so far. */
export interface CollectionProgress {
  /** Queries of all shards. */
  queries: number;
  /** Those that have nothing left to read in this round. */
  queries_done: number;
  /** Windows that were read and whose points are all settled. */
  windows: number;
  /** Samples acknowledged by the Collector. */
  points: number;
  /** Series read. */
  series: number;
  /** Windows that are being read, at most 16. */
  reading: WindowUnderWay[];
}

interface WindowUnderWay {
  query: string;
  from: string;
  to: string;
}

/** Looks at a collection under way; null: it is not reading yet. */
export type ReadProgress = () => CollectionProgress | null;

const READING_MAX = 16;

type Totals = Pick<ReadTotals, "windows" | "points" | "series">;
type Plan = Pick<ReadPlan, "unfinished" | "reading">;

/** Looks at the counts that a collection keeps anyway, when it is asked: a collection that nobody watches does nothing for it. */
export class ProgressMeter {
  #queries = 0;
  #perShard = 0;
  /** Of the shards before the present one. */
  readonly #before = { queriesDone: 0, windows: 0, points: 0, series: 0 };
  #present: { plan: Plan; totals: Totals } | undefined;

  /** `queries` will be read from each of `shards`. */
  expect(queries: number, shards: number): void {
    this.#queries = queries * shards;
    this.#perShard = queries;
  }

  /** The windows of the next shard are being read. */
  begin(plan: Plan, totals: Totals): void {
    this.#keepPresent();
    this.#present = { plan, totals };
  }

  readonly read: ReadProgress = () => {
    if (!this.#present) return null;
    const { plan, totals } = this.#present;
    const before = this.#before;
    return {
      queries: this.#queries,
      queries_done: before.queriesDone + this.#perShard - plan.unfinished(),
      windows: before.windows + totals.windows,
      points: before.points + totals.points,
      series: before.series + totals.series,
      reading: plan
        .reading()
        .slice(0, READING_MAX)
        .map(({ query, window }) => ({
          query: query.name,
          from: new Date(window.fromMs).toISOString(),
          to: new Date(window.toMs).toISOString(),
        })),
    };
  };

  #keepPresent(): void {
    if (!this.#present) return;
    const { plan, totals } = this.#present;
    this.#before.queriesDone += this.#perShard - plan.unfinished();
    for (const name of ["windows", "points", "series"] as const) this.#before[name] += totals[name];
  }
}
