import { BridgeError, toBridgeError } from "#errors/error.ts";
import { SHARDS_MAX } from "#clusters/cluster.ts";
import { assert } from "#lib/assert.ts";
import { createLimiter } from "#lib/limit.ts";
import { createRecord } from "#lib/records.ts";
import type { StateRecords } from "#state/store.ts";
import { emptyProgress, type ClusterProgress } from "./progress.ts";
import { proofKey } from "./proof-store.ts";
import { toldKey } from "./told-record.ts";

/** The progress record of a cluster, or of a further shard of its Prometheus, while it is being collected. */
export interface ProgressFile {
  /** The cluster's id, with the number of a further shard: the keys of its records end with it. */
  recordId: string;
  progress: ClusterProgress;
  /** Why everything back to MAX_BACKFILL is read again, if it is. */
  restart: string | undefined;
  /** Writes the record; calls while a write is under way are joined into one more. Rejects when the store fails. */
  save(): Promise<void>;
}

interface ShardProgress {
  recordId: string;
  progress: ClusterProgress;
}

type NonEmpty<T> = [T, ...T[]];

const DELETES_AT_ONCE = 8;

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

/** The progress of a shard of the cluster's Prometheus. Throws BridgeError `state_*`. */
export async function readProgress(
  store: StateRecords,
  clusterId: string,
  shard = 0,
): Promise<ClusterProgress> {
  const recordKey = progressKey(recordIdOf(clusterId, shard));
  return toProgress(recordKey, (await store.get<unknown>(recordKey))?.value);
}

/** The progress of each shard, in the order of `sharding.shards`; the cluster's own record alone where there are none. Throws BridgeError `state_*`. */
export async function readShards(store: StateRecords, clusterId: string): Promise<NonEmpty<ShardProgress>> {
  const first = { recordId: clusterId, progress: await readProgress(store, clusterId) };
  const { shards = [] } = first.progress.sharding ?? {};
  const all = await Promise.all(
    shards.map(async ({ number }): Promise<ShardProgress> => {
      if (number === 0) return first;
      const progress = await readProgress(store, clusterId, number);
      return { recordId: recordIdOf(clusterId, number), progress };
    }),
  );
  const [one = first, ...others] = all;
  return [one, ...others];
}

/** Deletes the records of all shards that there may be: the record that lists them may be lost. */
export async function deleteProgress(store: StateRecords, clusterId: string): Promise<void> {
  const limit = createLimiter(DELETES_AT_ONCE);
  await Promise.all(progressKeys(clusterId).map((key) => limit(() => store.delete(key))));
}

export async function deleteShard(store: StateRecords, clusterId: string, shard: number): Promise<void> {
  assert(shard > 0, "the first shard's records are the cluster's");
  for (const key of keysOf(recordIdOf(clusterId, shard))) await store.delete(key);
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
  shard = 0,
): Promise<ProgressFile> {
  const recordId = recordIdOf(clusterId, shard);
  const [recordKey, begin] = [progressKey(recordId), beginKey(recordId)];
  const record = await store.get<unknown>(recordKey);
  const stored = toProgress(recordKey, record?.value);
  const { progress, restart } = await restarted(store, begin, stored, record !== undefined, target);
  // From the start, so that nobody else can begin it any more: a former owner of the cluster, that is.
  let etag = record?.etag ?? (await store.put(recordKey, progress, undefined));
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  const write = async (): Promise<void> => {
    if (!progress.is_begin_recorded) await recordBegin(store, begin, progress);
    etag = await store.put(recordKey, progress, etag);
  };

  return {
    recordId,
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
  beginOf: string,
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
  const begin = await readBegin(store, beginOf);
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

async function readBegin(store: StateRecords, beginOf: string): Promise<number | undefined> {
  const value = (await store.get<unknown>(beginOf))?.value;
  const from = (value as { from?: unknown } | null | undefined)?.from;
  return typeof from === "number" ? from : undefined;
}

/** Written once for a cluster: it distinguishes a lost progress from a cluster that was never collected. */
async function recordBegin(store: StateRecords, beginOf: string, progress: ClusterProgress): Promise<void> {
  const froms = Object.values(progress.queries).map(({ from }) => from);
  if (froms.length === 0) return;
  const record = await store.get<unknown>(beginOf);
  if (!record) await store.put(beginOf, { from: Math.min(...froms) }, undefined);
  progress.is_begin_recorded = true;
}

/** Checks the outermost members only: the program itself wrote the record. */
function toProgress(recordKey: string, value: unknown): ClusterProgress {
  if (value === undefined) return emptyProgress();
  const { version, queries, pod, last } = (value ?? {}) as Partial<ClusterProgress>;
  const isFrame = typeof queries === "object" && queries !== null && pod !== undefined && last !== undefined;
  if (version === 1 && isFrame) return withoutPrototypes(value as ClusterProgress);
  throw new BridgeError("state_record_damaged", `the record ${recordKey} is not a collection's progress`);
}

/** JSON.parse gives plain objects, in which a query named `constructor` would seem to have a progress already. */
function withoutPrototypes(progress: ClusterProgress): ClusterProgress {
  const queries = createRecord(progress.queries);
  for (const query of Object.values(queries)) query.types = createRecord(query.types);
  const { last } = progress;
  return { ...progress, queries, last: last && { ...last, groups: createRecord(last.groups) } };
}

/** The keys of all records that a collection of the cluster may read and write. */
export function progressKeys(clusterId: string): string[] {
  const shards = Array.from({ length: SHARDS_MAX }, (_, shard) => keysOf(recordIdOf(clusterId, shard)));
  return [toldKey(clusterId), ...shards.flat()];
}

function keysOf(recordId: string): string[] {
  return [progressKey(recordId), proofKey(recordId), beginKey(recordId)];
}

/** The cluster that a record of its collection belongs to. */
export function clusterOfKey(key: string): string {
  return key.split(":")[1] ?? "";
}

/** The first shard's records, and those of a Prometheus without shards, have the cluster's id. An id has no colon. */
function recordIdOf(clusterId: string, shard: number): string {
  return shard === 0 ? clusterId : `${clusterId}:${shard}`;
}

function progressKey(recordId: string): string {
  return `progress:${recordId}`;
}

/** Kept apart from the progress, and copied with the registry, so that it outlives a lost progress. */
function beginKey(recordId: string): string {
  return `collected:${recordId}`;
}
