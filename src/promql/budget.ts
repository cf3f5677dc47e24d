import { PromqlError } from "./error.ts";

/** The limits of one query. Each throws PromqlError `execution` with Prometheus' own text when the limit is passed. */
export interface QueryBudget {
  /**
   * Samples that are in memory at the same time: of a selector's answer, of a grid (one for each time of it, also where there is no value).
   * `add` before they are kept, `release` when they are dropped.
   */
  add(samples: number): void;
  release(samples: number): void;
  /** Series that were read. */
  addSeries(series: number): void;
}

export interface BudgetLimits {
  /** Prometheus' --query.max-samples: 50 million, which is about 800 MB there and 450 MB here. */
  samplesMax: number;
  seriesMax: number;
}

/** What a query may hold; `used` and `peak` are samples. */
export interface CountingBudget extends QueryBudget {
  readonly used: number;
  readonly peak: number;
  readonly series: number;
}

export function tooManySamples(): PromqlError {
  return new PromqlError(
    "execution",
    "query processing would load too many samples into memory in query execution",
  );
}

export function createBudget(limits: BudgetLimits): CountingBudget {
  let used = 0;
  let peak = 0;
  let series = 0;
  return {
    add: (samples) => {
      used += samples;
      if (used > peak) peak = used;
      if (used > limits.samplesMax) throw tooManySamples();
    },
    release: (samples) => {
      used -= samples;
    },
    addSeries: (count) => {
      series += count;
      if (series > limits.seriesMax)
        throw new PromqlError(
          "execution",
          `query reads more than ${limits.seriesMax} series: narrow its selectors`,
        );
    },
    get used() {
      return used;
    },
    get peak() {
      return peak;
    },
    get series() {
      return series;
    },
  };
}
