import { BridgeError, toBridgeError } from "#errors/error.ts";
import { createRecord } from "#lib/records.ts";
import type { StateRecords } from "#state/store.ts";
import { emptyProgress, type ClusterProgress } from "./progress.ts";
import { proofKey } from "./proof-store.ts";

/** One cluster's progress record while it is being collected. */
export interface ProgressFile {
  progress: ClusterProgress;
  /** Why everything back to MAX_BACKFILL is read again, if it is. */
  restart: string | undefined;
  /** Writes the record; calls while a write is under way are joined into one more. Rejects when the store fails. */
  save(): Promise<void>;
}

/** Saves the record while the collection goes on. */
export class BackgroundSaves {
  readonly #file: ProgressFile;
  readonly #running = new Set<Promise<void>>();
  #error: BridgeError | undefined;

  constructor(file: ProgressFile) {
    this.#file = file;
  }

  start(): void {
    const save = this.#file
      .save()
      .catch((thrown: unknown) => void (this.#error ??= toBridgeError(thrown, "state_unavailable")))
      .finally(() => this.#running.delete(save));
    this.#running.add(save);
  }

  /** Resolves when everything is saved. Throws the first failure, a BridgeError `state_*`. */
  async finished(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    if (this.#error) throw this.#error;
  }
}

/** Throws BridgeError `state_*`. */
export async function readProgress(store: StateRecords, clusterId: string): Promise<ClusterProgress> {
  return toProgress(clusterId, (await store.get<unknown>(key(clusterId)))?.value);
}

export async function deleteProgress(store: StateRecords, clusterId: string): Promise<void> {
  await store.delete(key(clusterId));
  await store.delete(proofKey(clusterId));
  await store.delete(beginKey(clusterId));
}

/** The database that windows are committed to; `isNew`: it has nothing that was committed before it. */
export interface CommitTarget {
  id: string;
  isNew: boolean;
}

/**
 * Loads the record for writing. When the record is missing although the cluster was collected before, or is about another database than
 * `target`, the progress restarts at the time where the collection once began. Throws BridgeError `state_*`.
 */
export async function openProgress(
  store: StateRecords,
  clusterId: string,
  target?: CommitTarget,
): Promise<ProgressFile> {
  const record = await store.get<unknown>(key(clusterId));
  const stored = toProgress(clusterId, record?.value);
  const { progress, restart } = await restarted(store, clusterId, stored, record !== undefined, target);
  let etag = record?.etag;
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const write = async (): Promise<void> => {
    if (!progress.is_begin_recorded) await recordBegin(store, clusterId, progress);
    etag = await store.put(key(clusterId), progress, etag);
  };

  return {
    progress,
    restart,
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

async function restarted(
  store: StateRecords,
  clusterId: string,
  stored: ClusterProgress,
  isStored: boolean,
  target: CommitTarget | undefined,
): Promise<{ progress: ClusterProgress; restart: string | undefined }> {
  const isOther =
    target !== undefined &&
    isStored &&
    (stored.database === undefined ? target.isNew : stored.database !== target.id);
  const database = target === undefined ? {} : { database: target.id };
  if (isStored && !isOther) return { progress: { ...stored, ...database }, restart: undefined };
  const begin = await readBegin(store, clusterId);
  const froms = [
    ...Object.values(stored.queries).map(({ from }) => from),
    ...(begin === undefined ? [] : [begin]),
  ];
  if (froms.length === 0) return { progress: { ...stored, ...database }, restart: undefined };
  return {
    progress: { ...emptyProgress(), last: stored.last, ...database, restart_from: Math.min(...froms) },
    restart: isOther
      ? "its samples were committed to another database"
      : "the record of its progress is missing, although it was collected before",
  };
}

async function readBegin(store: StateRecords, clusterId: string): Promise<number | undefined> {
  const value = (await store.get<unknown>(beginKey(clusterId)))?.value;
  const from = (value as { from?: unknown } | null | undefined)?.from;
  return typeof from === "number" ? from : undefined;
}

/** Written once for a cluster: it distinguishes a lost progress from a cluster that was never collected. */
async function recordBegin(store: StateRecords, clusterId: string, progress: ClusterProgress): Promise<void> {
  const froms = Object.values(progress.queries).map(({ from }) => from);
  if (froms.length === 0) return;
  const record = await store.get<unknown>(beginKey(clusterId));
  if (!record) await store.put(beginKey(clusterId), { from: Math.min(...froms) }, undefined);
  progress.is_begin_recorded = true;
}

/** Checks the outermost members only: the program itself wrote the record. */
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

/** Kept apart from the progress, and copied with the registry, so that it outlives a lost progress. */
function beginKey(clusterId: string): string {
  return `collected:${clusterId}`;
}

/** The keys of all records that a collection of the cluster reads and writes. */
export function progressKeys(clusterId: string): string[] {
  return [key(clusterId), proofKey(clusterId), beginKey(clusterId)];
}

function key(clusterId: string): string {
  return `progress:${clusterId}`;
}
