import type { Clock } from "#lib/clock.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { ClusterIndex, ClusterIndexFile } from "./cluster-index.ts";
import { recordKey } from "./cluster-record.ts";

export interface ClusterDeletionsDeps {
  store: StateStore;
  updateIndex: ClusterIndexFile["update"];
  clock: Clock;
  logger: Logger;
  /** Ends the work on a deleted cluster and removes all other records of it. May be called again for the same cluster. */
  forget: (clusterId: string) => Promise<void>;
}

/** A registration takes milliseconds; one that is older belongs to a process that died. */
const CREATING_MS_MAX = 10 * 60_000;
/** A deletion takes half a minute at most: it may wait for another replica. One that is there for longer belongs to a process that died. */
const PENDING_MS_MIN = 60_000;

/** Deletes what the index lists under `deleting`, also after a crash: every step can be repeated. */
export class ClusterDeletions {
  readonly #deps: ClusterDeletionsDeps;
  readonly #running = new Map<string, Promise<void>>();
  /** Deletions of the index, by when they were first seen, monotonic ms. */
  readonly #pendingSince = new Map<string, number>();

  constructor(deps: ClusterDeletionsDeps) {
    this.#deps = deps;
  }

  /** Resolves when the record of the cluster, its keys and all else about it are gone. */
  finish(id: string): Promise<void> {
    const running = this.#running.get(id);
    if (running) return running;
    const deletion = this.#delete(id).finally(() => this.#running.delete(id));
    this.#running.set(id, deletion);
    return deletion;
  }

  /** Finishes all deletions of the index, and deletes the records of abandoned registrations. */
  async recover(): Promise<void> {
    const { index } = await this.#deps.updateIndex((index) => this.#deleteAbandoned(index));
    for (const id of index.deleting) await this.finish(id);
  }

  /** Starts `recover` when this index needs it. A failure is logged; the next index starts it again. */
  recoverInBackground(index: ClusterIndex): void {
    const isPending =
      this.#notePending(index.deleting).some((id) => !this.#running.has(id)) ||
      index.creating.some((each) => this.#isAbandoned(each));
    if (!isPending) return;
    this.recover().catch((error: unknown) =>
      this.#deps.logger.warn({ err: error }, "a deletion could not be finished; it is tried again"),
    );
  }

  /** Settles when no deletion is under way any more. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }

  /** Those that have been there for so long that no other replica is at work on them any more. */
  #notePending(deleting: readonly string[]): string[] {
    const now = this.#deps.clock.monotonic();
    for (const id of this.#pendingSince.keys()) if (!deleting.includes(id)) this.#pendingSince.delete(id);
    for (const id of deleting) if (!this.#pendingSince.has(id)) this.#pendingSince.set(id, now);
    return deleting.filter((id) => now - this.#pendingSince.get(id)! >= PENDING_MS_MIN);
  }

  async #delete(id: string): Promise<void> {
    // The record holds the keys. It goes first: no later failure may keep them.
    await this.#deps.store.delete(recordKey(id));
    await this.#deps.forget(id);
    await this.#deps.updateIndex((index) => {
      if (!index.deleting.includes(id)) return undefined;
      return { ...index, deleting: index.deleting.filter((each) => each !== id) };
    });
  }

  #isAbandoned({ at }: ClusterIndex["creating"][number]): boolean {
    return this.#deps.clock.now() - at > CREATING_MS_MAX;
  }

  #deleteAbandoned(index: ClusterIndex): ClusterIndex | undefined {
    const abandoned = index.creating.filter((each) => this.#isAbandoned(each)).map(({ id }) => id);
    if (abandoned.length === 0) return undefined;
    const creating = index.creating.filter(({ id }) => !abandoned.includes(id));
    return { ...index, creating, deleting: [...new Set([...index.deleting, ...abandoned])] };
  }
}
