import { divide } from "./histogram-math.ts";
import { HistogramSum } from "./histogram-sum.ts";
import type { FloatHistogram } from "./histogram.ts";

/** The mean of native histograms: the sum by the count; from where the sum would overflow, the incremental mean. */
export class HistogramMean {
  #sum: HistogramSum;
  #count = 1;
  #isIncremental = false;

  constructor(first: FloatHistogram) {
    this.#sum = new HistogramSum(first);
  }

  /** false: it does not belong to the others. */
  add(histogram: FloatHistogram): boolean {
    const count = ++this.#count;
    if (!this.#isIncremental) {
      const next = this.#sum.copy();
      if (!next.add(histogram)) return false;
      if (!next.overflows()) {
        this.#sum = next;
        return true;
      }
      this.#isIncremental = true;
      this.#sum.divide(count - 1);
    }
    this.#sum.scale((count - 1) / count);
    return this.#sum.add(divide(histogram, count));
  }

  /** Once, at the end. */
  finish(): HistogramSum {
    if (!this.#isIncremental) this.#sum.divide(this.#count);
    return this.#sum;
  }
}
