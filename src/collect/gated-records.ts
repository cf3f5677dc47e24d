import { BridgeError } from "#errors/error.ts";
import type { StateRecords } from "#state/store.ts";
import { clusterOfKey } from "./progress-store.ts";

/**
 * The records of collections, which this process may write only as long as it holds the lease of the cluster. A process that was paused, or that can't
 * reach the state store any more, writes nothing from the moment on that another one may take over.
 */
export function gatedRecords(store: StateRecords, holds: (clusterId: string) => boolean): StateRecords {
  const check = (key: string): void => {
    if (holds(clusterOfKey(key))) return;
    throw new BridgeError("lease_lost", "this replica does not own the cluster any more");
  };
  return {
    get: (key) => store.get(key),
    put: async (key, value, etag) => {
      check(key);
      return await store.put(key, value, etag);
    },
    delete: async (key) => {
      check(key);
      await store.delete(key);
    },
  };
}
