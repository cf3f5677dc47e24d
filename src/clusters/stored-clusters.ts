import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { isConflict, retryOnConflict } from "#state/retry-on-conflict.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Cluster, ClusterRegistry } from "./cluster.ts";
import { ClusterCache } from "./cluster-cache.ts";
import { ClusterDeletions } from "./cluster-deletions.ts";
import {
  createClusterIndex,
  type ChangedIndex,
  type ClusterIndex,
  type ClusterIndexFile,
} from "./cluster-index.ts";
import { fetchRecord, recordKey, toCluster, type ClusterRecord } from "./cluster-record.ts";
import type { ClusterDefaults } from "./clusters-file.ts";

export interface StoredClustersDeps {
  store: StateStore;
  clock: Clock;
  logger: Logger;
  /** Ends the work on a deleted cluster and removes all other records of it. May be called again for the same cluster. */
  forget: (clusterId: string) => Promise<void>;
}

export interface StoredClustersSettings {
  defaults: ClusterDefaults;
  /** Default 5000. */
  clustersMax?: number;
}

/** The clusters that were registered over the API, in the state store. Everything throws state_unavailable when the store fails. */
export interface StoredClusters extends Required<ClusterRegistry> {
  /**
   * Costs one small read as long as nothing changed. While the store does not answer, it gives the last known list for an hour, and
   * `warnings` says so.
   */
  list(): Promise<Cluster[]>;
  /** As the store has it now; undefined when it is not registered or its record can't be read. */
  read(id: string): Promise<{ record: ClusterRecord; etag: string } | undefined>;
  /** Throws cluster_exists, cluster_limit_reached, body_too_large. */
  create(record: ClusterRecord): Promise<Cluster>;
  /** Throws state_conflict when the record is not the one with this ETag any more, body_too_large. */
  replace(record: ClusterRecord, etag: string): Promise<Cluster>;
  /** Nobody sees the cluster any more from the start; resolves when its keys and records are deleted. Throws cluster_not_found. */
  remove(id: string): Promise<void>;
  /** Finishes what a crash interrupted: deletions, and registrations, whose records are deleted. */
  recover(): Promise<void>;
  /** Settles when no deletion is under way any more. */
  idle(): Promise<void>;
}

const CLUSTERS_MAX = 5000;
const RECORD_BYTES_MAX = 128 * 1024;
const CONFLICTS_MAX = 20;

export function createStoredClusters(
  deps: StoredClustersDeps,
  settings: StoredClustersSettings,
): StoredClusters {
  const { store, clock, logger, forget } = deps;
  const { defaults } = settings;
  const indexFile = createClusterIndex(store);

  const updateIndex: ClusterIndexFile["update"] = async (change) => {
    const changed = await indexFile.update(change);
    cache.followIndex(changed);
    return changed;
  };

  const deletions = new ClusterDeletions({ store, updateIndex, clock, logger, forget });
  const onIndex = (index: ClusterIndex): void => deletions.recoverInBackground(index);
  const cache = new ClusterCache({ store, indexFile, clock, logger, defaults, onIndex });
  const registration: Registration = {
    store,
    readIndex: async () => (await indexFile.read()).index,
    updateIndex,
    clock,
    clustersMax: settings.clustersMax ?? CLUSTERS_MAX,
  };

  const replaceRecord = async (record: ClusterRecord, etag: string): Promise<ChangedIndex> => {
    try {
      await store.put(recordKey(record.id), record, etag);
      // Tells other processes; a crash before it leaves them with the old record until anything else changes.
      return await updateIndex((index) => ({ ...index }));
    } catch (error) {
      if (!isConflict(error)) cache.invalidate();
      throw error;
    }
  };

  const stored = (record: ClusterRecord): Cluster => {
    const cluster = toCluster(record, defaults);
    cache.noteChange(record.id, cluster);
    return cluster;
  };

  return {
    list: async () => [...(await cache.read()).values()],
    warnings: () => cache.warnings(),
    isRegistered: async (id) => (await registration.readIndex()).ids.includes(id),
    read: async (id) => {
      const found = await fetchRecord(store, id);
      const isRegistered = found !== undefined && (await registration.readIndex()).ids.includes(id);
      return isRegistered ? found : undefined;
    },
    create: async (record) => {
      checkSize(record);
      if ((await registration.readIndex()).deleting.includes(record.id)) await deletions.finish(record.id);
      await register(registration, record);
      return stored(record);
    },
    replace: async (record, etag) => {
      checkSize(record);
      const { index } = await replaceRecord(record, etag);
      if (!index.ids.includes(record.id)) throw notFound(record.id);
      return stored(record);
    },
    remove: async (id) => {
      const { index } = await updateIndex((index) => withDeleted(index, id));
      if (!index.deleting.includes(id)) throw notFound(id);
      cache.noteChange(id, undefined);
      await deletions.finish(id);
    },
    recover: () => deletions.recover(),
    idle: () => deletions.idle(),
  };
}

interface Registration {
  store: StateStore;
  readIndex: () => Promise<ClusterIndex>;
  updateIndex: ClusterIndexFile["update"];
  clock: Clock;
  clustersMax: number;
}

/** Reserves the id in the index, writes the record, and turns the reservation into a registered cluster. */
async function register(deps: Registration, record: ClusterRecord): Promise<void> {
  const { id } = record;
  const by = randomUUID();
  const others = (index: ClusterIndex) => index.creating.filter((each) => each.id !== id);
  const isOurs = (index: ClusterIndex): boolean => index.creating.some((each) => each.by === by);
  await deps.updateIndex((index) => {
    if (index.ids.includes(id) || index.deleting.includes(id)) throw exists(id);
    const count = index.ids.length + others(index).length;
    if (count >= deps.clustersMax) {
      throw new BridgeError("cluster_limit_reached", `there are ${count} clusters already`);
    }
    return { ...index, creating: [...others(index), { id, by, at: deps.clock.now() }] };
  });
  await retryOnConflict(CONFLICTS_MAX, async () => {
    // An abandoned registration may have left a record. It is read before the index: another process that takes the reservation over writes a
    // record with another ETag.
    const leftover = await deps.store.get<unknown>(recordKey(id));
    if (!isOurs(await deps.readIndex())) throw exists(id);
    await deps.store.put(recordKey(id), record, leftover?.etag);
  });
  await deps.updateIndex((index) => {
    if (!isOurs(index)) throw exists(id);
    return { ...index, creating: others(index), ids: [...index.ids, id].sort() };
  });
}

function withDeleted(index: ClusterIndex, id: string): ClusterIndex | undefined {
  if (!index.ids.includes(id)) return undefined;
  const ids = index.ids.filter((each) => each !== id);
  return { ...index, ids, deleting: [...index.deleting, id] };
}

function exists(id: string): BridgeError {
  return new BridgeError("cluster_exists", `a cluster has the id "${id}" already`);
}

function notFound(id: string): BridgeError {
  return new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
}

function checkSize(record: ClusterRecord): void {
  const bytes = Buffer.byteLength(JSON.stringify(record));
  if (bytes <= RECORD_BYTES_MAX) return;
  throw new BridgeError(
    "body_too_large",
    `the cluster's record would have ${bytes} bytes, ${RECORD_BYTES_MAX} are allowed`,
    { hint: "Give a kubeconfig of this one cluster, with only the CA certificates that it needs." },
  );
}
