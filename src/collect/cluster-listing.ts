import type { Cluster } from "#clusters/cluster.ts";

/**
 * Finds the clusters of a round. One that is deleted meanwhile is left out: its collection would begin after `forget` has removed its progress.
 */
export class ClusterListing {
  /** For each call that is still finding: the clusters that were deleted since it began. */
  readonly #deletedSince = new Set<Set<string>>();

  /** Throws what `find` throws. */
  async list(find: () => Promise<Cluster[]>): Promise<Cluster[]> {
    const deleted = new Set<string>();
    this.#deletedSince.add(deleted);
    try {
      return (await find()).filter(({ id }) => !deleted.has(id));
    } finally {
      this.#deletedSince.delete(deleted);
    }
  }

  /** Takes note that a cluster was deleted. */
  forget(clusterId: string): void {
    for (const deleted of this.#deletedSince) deleted.add(clusterId);
  }
}
