import { randomUUID } from "node:crypto";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Cluster, ClusterRegistry } from "./cluster.ts";
import { createClusterIndex, type ChangedIndex, type ClusterIndex, type ReadIndex } from "./cluster-index.ts";
import { readRecord, toCluster, type ClusterRecord } from "./cluster-record.ts";
import type { ClusterDefaults } from "./clusters-file.ts";

export interface StoredClustersDeps {
  store: StateStore;
  clock: Clock;
  logger: Logger;
  /** Ends the work on a deleted cluster and removes what is recorded of it. May be called again for the same cluster. */
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
   * Costs one small read as long as nothing changed. While the store does not answer it gives the last known list for an hour, which
   * `warnings` then says.
   */
  list(): Promise<Cluster[]>;
  /** As it is in the store now. */
  read(id: string): Promise<{ record: ClusterRecord; etag: string } | undefined>;
  /** Throws cluster_exists, cluster_limit_reached, body_too_large. */
  create(record: ClusterRecord): Promise<Cluster>;
  /** Throws state_conflict when the record is not the one with this ETag any more, body_too_large. */
  replace(record: ClusterRecord, etag: string): Promise<Cluster>;
  /** The cluster is gone for everybody at once; resolves when its keys and records are. Throws cluster_not_found. */
  remove(id: string): Promise<void>;
  /** Ends what a crash left half done: deletions, and registrations that were given up. */
  recover(): Promise<void>;
  /** Settles when no deletion is under way any more. */
  idle(): Promise<void>;
}

const CLUSTERS_MAX = 5000;
const RECORD_BYTES_MAX = 128 * 1024;
const READS_AT_ONCE = 16;
const CONFLICTS_MAX = 20;
/** A registration takes milliseconds; one that is older was given up by a process that died. */
const CREATING_MS_MAX = 10 * 60_000;
const OUTAGE_MS_MAX = 3_600_000;
const NAMED_MAX = 10;
/** The ETag of no index. */
const UNKNOWN = "";

interface Known {
  clusters: Map<string, Cluster>;
  etag: string | undefined;
  /** When the store last said that it is so; monotonic and wall-clock ms. */
  at: number;
  atMs: number;
  damaged: string[];
}

export function createStoredClusters(
  deps: StoredClustersDeps,
  settings: StoredClustersSettings,
): StoredClusters {
  const { store, clock, logger } = deps;
  const clustersMax = settings.clustersMax ?? CLUSTERS_MAX;
  const indexFile = createClusterIndex(store);
  const finishing = new Map<string, Promise<void>>();
  let known: Known | undefined;
  let loading: Promise<Known> | undefined;
  let changes = 0;
  let outage: string | undefined;

  /** Writes the index; as long as nobody else does, what is known stays whole without reading everything again. */
  const updateIndex = async (change: Parameters<typeof indexFile.update>[0]): Promise<ChangedIndex> => {
    const changed = await indexFile.update(change);
    if (known && known.etag === changed.before) known = { ...known, etag: changed.etag };
    return changed;
  };

  /** After a change that failed half-way, or may have: what is known is read again. */
  const orReadAgain = async <T>(change: () => Promise<T>): Promise<T> => {
    try {
      return await change();
    } catch (error) {
      if (known && !isConflict(error)) known = { ...known, etag: UNKNOWN };
      throw error;
    }
  };

  const noteChange = (id: string, cluster: Cluster | undefined): void => {
    changes++;
    loading = undefined;
    if (!known) return;
    const clusters = new Map(known.clusters);
    if (cluster) clusters.set(id, cluster);
    else clusters.delete(id);
    known = { ...known, clusters, damaged: without(known.damaged, id) };
  };

  /** A record that holds no value of ours is the same as one of another form. */
  const get = async (id: string): Promise<{ value: unknown; etag: string } | undefined> => {
    try {
      return await store.get<unknown>(keyOf(id));
    } catch (error) {
      if (error instanceof BridgeError && error.code === "state_record_damaged") return undefined;
      throw error;
    }
  };

  const load = async ({ index, etag }: ReadIndex): Promise<Pick<Known, "clusters" | "etag" | "damaged">> => {
    const limit = createLimiter(READS_AT_ONCE);
    const records = await Promise.all(index.ids.map((id) => limit(() => get(id))));
    const clusters = new Map<string, Cluster>();
    const damaged: string[] = [];
    index.ids.forEach((id, i) => {
      const record = readRecord(records[i]?.value);
      if (record?.id === id) clusters.set(id, toCluster(record, settings.defaults));
      else damaged.push(id);
    });
    if (damaged.length > 0) logger.error({ clusters: damaged.slice(0, NAMED_MAX) }, DAMAGED);
    return { clusters, etag, damaged };
  };

  const refresh = async (): Promise<Known> => {
    const changesBefore = changes;
    const found = await indexFile.read();
    heal(found.index);
    const now = { at: clock.monotonic(), atMs: clock.now() };
    const fresh =
      known && known.etag === found.etag ? { ...known, ...now } : { ...(await load(found)), ...now };
    // What we changed ourselves meanwhile is newer than what was read.
    if (changes === changesBefore) known = fresh;
    return fresh;
  };

  const current = async (): Promise<Known> => {
    const reading = (loading ??= refresh());
    try {
      const fresh = await reading;
      if (outage) logger.info("the state store answers again");
      outage = undefined;
      return fresh;
    } catch (thrown) {
      const error = toBridgeError(thrown, "state_unavailable");
      if (!known || clock.monotonic() - known.at > OUTAGE_MS_MAX) throw error;
      if (!outage)
        logger.warn({ err: error }, "the list of clusters can't be read; the last known one is used");
      outage = `the list of clusters is that of ${new Date(known.atMs).toISOString()}: ${error.message}`;
      return known;
    } finally {
      if (loading === reading) loading = undefined;
    }
  };

  const finishDeletion = (id: string): Promise<void> => {
    const running = finishing.get(id);
    if (running) return running;
    const work = (async () => {
      // The keys first: nothing that goes wrong later may keep them.
      await store.delete(keyOf(id));
      await deps.forget(id);
      await updateIndex((index) =>
        index.deleting.includes(id) ? { ...index, deleting: without(index.deleting, id) } : undefined,
      );
    })().finally(() => finishing.delete(id));
    finishing.set(id, work);
    return work;
  };

  const isGivenUp = ({ at }: { at: number }): boolean => clock.now() - at > CREATING_MS_MAX;

  const heal = (index: ClusterIndex): void => {
    const isPending = index.deleting.some((id) => !finishing.has(id)) || index.creating.some(isGivenUp);
    if (!isPending) return;
    recover().catch((error: unknown) =>
      logger.warn({ err: error }, "a deletion could not be finished; it is tried again"),
    );
  };

  const recover = async (): Promise<void> => {
    const { index } = await updateIndex((index) => {
      const givenUp = index.creating.filter(isGivenUp).map(({ id }) => id);
      if (givenUp.length === 0) return undefined;
      const creating = index.creating.filter(({ id }) => !givenUp.includes(id));
      return { ...index, creating, deleting: [...new Set([...index.deleting, ...givenUp])] };
    });
    for (const id of index.deleting) await finishDeletion(id);
  };

  const create = async (record: ClusterRecord): Promise<Cluster> => {
    checkSize(record);
    const { id } = record;
    const by = randomUUID();
    const others = (index: ClusterIndex) => index.creating.filter((each) => each.id !== id);
    const isOurs = (index: ClusterIndex): boolean => index.creating.some((each) => each.by === by);
    if ((await indexFile.read()).index.deleting.includes(id)) await finishDeletion(id);
    await updateIndex((index) => {
      if (index.ids.includes(id) || index.deleting.includes(id)) throw exists(id);
      const count = index.ids.length + others(index).length;
      if (count >= clustersMax)
        throw new BridgeError("cluster_limit_reached", `there are ${count} clusters already`);
      return { ...index, creating: [...others(index), { id, by, at: clock.now() }] };
    });
    for (let left = CONFLICTS_MAX; ; left--) {
      // Of a registration that was given up. Read before the index: whoever takes our place writes a record of another ETag.
      const leftover = await store.get<unknown>(keyOf(id));
      if (!isOurs((await indexFile.read()).index)) throw exists(id);
      try {
        await store.put(keyOf(id), record, leftover?.etag);
        break;
      } catch (error) {
        if (!isConflict(error) || left <= 1) throw error;
      }
    }
    await updateIndex((index) => {
      if (!isOurs(index)) throw exists(id);
      return { ...index, creating: others(index), ids: [...index.ids, id].sort() };
    });
    const cluster = toCluster(record, settings.defaults);
    noteChange(id, cluster);
    return cluster;
  };

  return {
    list: async () => [...(await current()).clusters.values()],
    warnings: () => [
      ...(outage ? [outage] : []),
      ...(known && known.damaged.length > 0
        ? [`${known.damaged.slice(0, NAMED_MAX).join(", ")}: ${DAMAGED}`]
        : []),
    ],
    read: async (id) => {
      const stored = await get(id);
      const record = readRecord(stored?.value);
      if (!stored || record?.id !== id || !(await indexFile.read()).index.ids.includes(id)) return undefined;
      return { record, etag: stored.etag };
    },
    create,
    replace: async (record, etag) => {
      checkSize(record);
      const { index } = await orReadAgain(async () => {
        await store.put(keyOf(record.id), record, etag);
        // Tells other processes; a crash before it leaves them with the old record until anything else changes.
        return await updateIndex((index) => ({ ...index }));
      });
      if (!index.ids.includes(record.id)) throw notFound(record.id);
      const cluster = toCluster(record, settings.defaults);
      noteChange(record.id, cluster);
      return cluster;
    },
    remove: async (id) => {
      const { index } = await updateIndex((index) =>
        index.ids.includes(id)
          ? { ...index, ids: without(index.ids, id), deleting: [...index.deleting, id] }
          : undefined,
      );
      if (!index.deleting.includes(id)) throw notFound(id);
      noteChange(id, undefined);
      await finishDeletion(id);
    },
    recover,
    idle: async () => {
      while (finishing.size > 0) await Promise.allSettled(finishing.values());
    },
  };
}

const DAMAGED = "the record can't be read; delete the cluster and register it again";

function keyOf(id: string): string {
  return `cluster:${id}`;
}

function without(ids: readonly string[], id: string): string[] {
  return ids.filter((each) => each !== id);
}

function exists(id: string): BridgeError {
  return new BridgeError("cluster_exists", `a cluster has the id "${id}" already`);
}

function notFound(id: string): BridgeError {
  return new BridgeError("cluster_not_found", `no cluster has the id "${id}"`);
}

function isConflict(error: unknown): boolean {
  return error instanceof BridgeError && error.code === "state_conflict";
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
