import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";

/** Counts the time between `resume` and `suspend`, and calls `onSpent` when the whole budget is spent. */
export class TimeBudget {
  readonly #clock: Clock;
  readonly #onSpent: () => void;
  #leftMs: number;
  #since = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, budgetMs: number, onSpent: () => void) {
    this.#clock = clock;
    this.#leftMs = budgetMs;
    this.#onSpent = onSpent;
  }

  resume(): void {
    assert(this.#cancel === undefined, "the budget is suspended when it resumes");
    this.#since = this.#clock.monotonic();
    this.#cancel = this.#clock.after(this.#leftMs, this.#onSpent);
  }

  suspend(): void {
    if (!this.#cancel) return;
    this.#cancel();
    this.#cancel = undefined;
    this.#leftMs = Math.max(1, this.#leftMs - (this.#clock.monotonic() - this.#since));
  }

  /** Looks at the clock at once: no timer fires while the program works. */
  check(): void {
    if (this.#cancel && this.#clock.monotonic() - this.#since >= this.#leftMs) this.#onSpent();
  }
}
