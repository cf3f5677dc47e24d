import type { Ownership } from "#collect/ownership.ts";

/** The only replica: it owns every cluster, with the epoch 1. */
export function ownsAll(): Ownership {
  return {
    claim: async (clusterIds) => {
      const { signal } = new AbortController();
      return await Promise.resolve(new Map(clusterIds.map((id) => [id, { epoch: 1, signal }])));
    },
    ended: () => Promise.resolve(),
    close: () => Promise.resolve(),
    remove: () => Promise.resolve(),
  };
}
