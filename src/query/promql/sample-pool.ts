import { BridgeError } from "#errors/error.ts";
import { type BudgetLimits, type CountingBudget, createBudget } from "#promql/budget.ts";

/** What one query holds of the pool. */
export interface PooledBudget extends CountingBudget {
  /** Gives everything back: the answer is sent, or there is none. */
  close(): void;
}

/** The samples that all queries together may hold: each has its own limit, too. */
export interface SamplePool {
  /** `add` throws as a query's own budget does, and `query_busy` when the others hold too much. */
  open(limits: BudgetLimits): PooledBudget;
}

const RETRY_AFTER_SECONDS = 5;

export function createSamplePool(samplesMax: number): SamplePool {
  let used = 0;
  return {
    open: (limits) => {
      const own = createBudget(limits);
      let isOpen = true;
      return {
        add: (samples) => {
          if (isOpen) used += samples;
          own.add(samples);
          if (used <= samplesMax || !isOpen) return;
          throw new BridgeError("query_busy", "other queries hold too many samples in memory", {
            details: { limit: "samples", retry_after_seconds: RETRY_AFTER_SECONDS },
          });
        },
        release: (samples) => {
          own.release(samples);
          if (isOpen) used -= samples;
        },
        addSeries: (series) => own.addSeries(series),
        get used() {
          return own.used;
        },
        get peak() {
          return own.peak;
        },
        get series() {
          return own.series;
        },
        close: () => {
          if (isOpen) used -= own.used;
          isOpen = false;
        },
      };
    },
  };
}
