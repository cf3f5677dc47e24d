import { BridgeError } from "#errors.ts";
import { createRecord } from "#lib/records.ts";
import type { StateStore } from "#state/store.ts";
import { emptyProgress, type ClusterProgress } from "./progress.ts";

/** One cluster's progress record while it is being collected. */
export interface ProgressFile {
  progress: ClusterProgress;
  /** Writes the record; calls while a write is under way are joined into one more. Rejects when the store fails. */
  save(): Promise<void>;
}

/** Throws BridgeError `state_*`. */
export async function readProgress(store: StateStore, clusterId: string): Promise<ClusterProgress> {
  return toProgress(clusterId, (await store.get<unknown>(key(clusterId)))?.value);
}

export async function deleteProgress(store: StateStore, clusterId: string): Promise<void> {
  await store.delete(key(clusterId));
}

/** Loads the record for writing. Throws BridgeError `state_*`. */
export async function openProgress(store: StateStore, clusterId: string): Promise<ProgressFile> {
  const record = await store.get<unknown>(key(clusterId));
  const progress = toProgress(clusterId, record?.value);
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

/** Only the frame is looked at: what is inside is the program's own. */
function toProgress(clusterId: string, value: unknown): ClusterProgress {
  if (value === undefined) return emptyProgress();
  const { version, queries, pod, last } = (value ?? {}) as Partial<ClusterProgress>;
  const isFrame = typeof queries === "object" && queries !== null && pod !== undefined && last !== undefined;
  if (version === 1 && isFrame) return withoutPrototypes(value as ClusterProgress);
  throw new BridgeError(
    "state_record_damaged",
    `the record ${key(clusterId)} is not a collection's progress`,
  );
}

/** JSON.parse gives plain objects, in which a query named `constructor` would seem to have a progress already. */
function withoutPrototypes(progress: ClusterProgress): ClusterProgress {
  const queries = createRecord(progress.queries);
  for (const query of Object.values(queries)) query.types = createRecord(query.types);
  const { last } = progress;
  return { ...progress, queries, last: last && { ...last, groups: createRecord(last.groups) } };
}

function key(clusterId: string): string {
  return `progress:${clusterId}`;
}
