import type { StateStore } from "#state/store.ts";
import { emptyProgress, type ClusterProgress } from "./progress.ts";

/** One cluster's progress record while it is being collected. */
export interface ProgressFile {
  progress: ClusterProgress;
  /** Writes the record; calls while a write is under way are joined into one more. Rejects when the store fails. */
  save(): Promise<void>;
}

export async function readProgress(store: StateStore, clusterId: string): Promise<ClusterProgress> {
  return (await store.get<ClusterProgress>(key(clusterId)))?.value ?? emptyProgress();
}

export async function deleteProgress(store: StateStore, clusterId: string): Promise<void> {
  await store.delete(key(clusterId));
}

/** Loads the record for writing. Throws BridgeError `state_*`. */
export async function openProgress(store: StateStore, clusterId: string): Promise<ProgressFile> {
  const record = await store.get<ClusterProgress>(key(clusterId));
  const progress = record?.value ?? emptyProgress();
  let etag = record?.etag;
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const write = async (): Promise<void> => {
    etag = await store.put(key(clusterId), progress, etag);
  };

  return {
    progress,
    save: async () => {
      if (next) return await next;
      if (!running) {
        running = write().finally(() => (running = undefined));
        return await running;
      }
      next = running
        .catch(() => {})
        .then(() => {
          next = undefined;
          running = write().finally(() => (running = undefined));
          return running;
        });
      return await next;
    },
  };
}

function key(clusterId: string): string {
  return `progress:${clusterId}`;
}
