import type { Cluster, ClusterRegistry } from "#clusters/cluster.ts";

/**
 * Lists the registry's clusters. A cluster that is deleted while the registry answers is left out: its collection would begin after
 * `forget` has removed its progress.
 */
export class ClusterListing {
  readonly #registry: ClusterRegistry;
  /** For each call that waits for the registry: the clusters that were deleted since it began. */
  readonly #deletedSince = new Set<Set<string>>();

  constructor(registry: ClusterRegistry) {
    this.#registry = registry;
  }

  /** Throws the registry's error. */
  async list(): Promise<Cluster[]> {
    const deleted = new Set<string>();
    this.#deletedSince.add(deleted);
    try {
      return (await this.#registry.list()).filter(({ id }) => !deleted.has(id));
    } finally {
      this.#deletedSince.delete(deleted);
    }
  }

  /** Takes note that a cluster was deleted. */
  forget(clusterId: string): void {
    for (const deleted of this.#deletedSince) deleted.add(clusterId);
  }
}
