import { assert } from "#lib/assert.ts";

/** The collection of one cluster, from the time it waits for its turn. */
interface Job {
  done: Promise<void>;
  deleted: AbortController;
}

/** The clusters that are being collected or wait for their turn: each at most once at a time, whatever the round. */
export class BusyClusters {
  readonly #jobs = new Map<string, Job>();

  has(clusterId: string): boolean {
    return this.#jobs.has(clusterId);
  }

  /** Runs the collection of a cluster that is not busy. Its signal is aborted when the cluster is deleted. */
  async run(clusterId: string, collect: (deleted: AbortSignal) => Promise<void>): Promise<void> {
    assert(!this.#jobs.has(clusterId), "a cluster is collected at most once at a time");
    const deleted = new AbortController();
    const done = collect(deleted.signal).finally(() => this.#jobs.delete(clusterId));
    this.#jobs.set(clusterId, { done, deleted });
    await done;
  }

  /** Aborts the cluster's collection, if there is one, and waits for its end. */
  async cancel(clusterId: string, reason: Error): Promise<void> {
    const job = this.#jobs.get(clusterId);
    job?.deleted.abort(reason);
    await job?.done.catch(() => {});
  }

  /** Resolves when no cluster is busy any more. */
  async idle(): Promise<void> {
    while (this.#jobs.size > 0) await Promise.allSettled([...this.#jobs.values()].map(({ done }) => done));
  }
}
