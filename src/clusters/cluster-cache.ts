import { toBridgeError } from "#errors/error.ts";
import { assert } from "#lib/assert.ts";
import type { Clock } from "#lib/clock.ts";
import { createLimiter } from "#lib/limit.ts";
import type { StateStore } from "#state/store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Cluster } from "./cluster.ts";
import type { ChangedIndex, ClusterIndex, ClusterIndexFile, ReadIndex } from "./cluster-index.ts";
import { fetchRecord, toCluster } from "./cluster-record.ts";
import type { ClusterDefaults } from "./clusters-file.ts";

export interface ClusterCacheDeps {
  store: StateStore;
  indexFile: ClusterIndexFile;
  clock: Clock;
  logger: Logger;
  defaults: ClusterDefaults;
  /** Called with each index that was read. */
  onIndex: (index: ClusterIndex) => void;
}

const READS_AT_ONCE = 16;
const OUTAGE_MS_MAX = 3_600_000;
const WARNED_IDS_MAX = 10;
/** Differs from the ETag of every index, so that the next read loads all records. */
const STALE = "";
const DAMAGED = "the record can't be read; delete the cluster and register it again";

/** The clusters as the store had them at one time. */
interface Snapshot {
  clusters: ReadonlyMap<string, Cluster>;
  /** ETag of the index that they belong to. */
  etag: string | undefined;
  /** When the store last confirmed it; monotonic and wall-clock ms. */
  at: number;
  atMs: number;
  /** Ids whose records can't be read. */
  damaged: readonly string[];
}

/**
 * The clusters of the state store, kept in memory: as long as the index has the same ETag, a read costs one small request. While the store
 * does not answer, the last known clusters serve for an hour.
 */
export class ClusterCache {
  readonly #deps: ClusterCacheDeps;
  #snapshot: Snapshot | undefined;
  #refreshing: Promise<Snapshot> | undefined;
  #ownChanges = 0;
  #outage: string | undefined;

  constructor(deps: ClusterCacheDeps) {
    this.#deps = deps;
  }

  /** Throws `state_unavailable` when the store does not answer and the last known clusters are too old. */
  async read(): Promise<ReadonlyMap<string, Cluster>> {
    const refreshing = (this.#refreshing ??= this.#refresh());
    try {
      const { clusters } = await refreshing;
      if (this.#outage !== undefined) this.#deps.logger.info("the state store answers again");
      this.#outage = undefined;
      return clusters;
    } catch (thrown) {
      return this.#lastKnown(thrown);
    } finally {
      if (this.#refreshing === refreshing) this.#refreshing = undefined;
    }
  }

  /** Problems of the clusters that `read` returns. */
  warnings(): string[] {
    const damaged = this.#snapshot?.damaged ?? [];
    return [
      ...(this.#outage === undefined ? [] : [this.#outage]),
      ...(damaged.length === 0 ? [] : [`${damaged.slice(0, WARNED_IDS_MAX).join(", ")}: ${DAMAGED}`]),
    ];
  }

  /** After this process wrote the index: the snapshot stays valid unless another process wrote it in between. */
  followIndex({ before, etag }: ChangedIndex): void {
    if (this.#snapshot && this.#snapshot.etag === before) this.#snapshot = { ...this.#snapshot, etag };
  }

  /** After a change that may be half done: the next read loads all records. */
  invalidate(): void {
    if (this.#snapshot) this.#snapshot = { ...this.#snapshot, etag: STALE };
  }

  /** After this process stored a cluster, or deleted it (undefined). */
  noteChange(id: string, cluster: Cluster | undefined): void {
    assert(cluster === undefined || cluster.id === id, "a cluster is cached under its own id");
    this.#ownChanges++;
    this.#refreshing = undefined;
    if (!this.#snapshot) return;
    const clusters = new Map(this.#snapshot.clusters);
    if (cluster) clusters.set(id, cluster);
    else clusters.delete(id);
    const damaged = this.#snapshot.damaged.filter((each) => each !== id);
    this.#snapshot = { ...this.#snapshot, clusters, damaged };
  }

  #lastKnown(thrown: unknown): ReadonlyMap<string, Cluster> {
    const { clock, logger } = this.#deps;
    const error = toBridgeError(thrown, "state_unavailable");
    const known = this.#snapshot;
    if (!known || clock.monotonic() - known.at > OUTAGE_MS_MAX) throw error;
    if (this.#outage === undefined) {
      logger.warn({ err: error }, "the list of clusters can't be read; the last known one is used");
    }
    this.#outage = `the list of clusters is that of ${new Date(known.atMs).toISOString()}: ${error.message}`;
    return known.clusters;
  }

  async #refresh(): Promise<Snapshot> {
    const { clock, indexFile, onIndex } = this.#deps;
    const changesBefore = this.#ownChanges;
    const found = await indexFile.read();
    onIndex(found.index);
    const now = { at: clock.monotonic(), atMs: clock.now() };
    const known = this.#snapshot;
    const fresh =
      known && known.etag === found.etag ? { ...known, ...now } : { ...(await this.#load(found)), ...now };
    // A change of this process in the meantime is newer than what was read.
    if (this.#ownChanges === changesBefore) this.#snapshot = fresh;
    return fresh;
  }

  async #load({ index, etag }: ReadIndex): Promise<Pick<Snapshot, "clusters" | "etag" | "damaged">> {
    const { store, logger, defaults } = this.#deps;
    const limit = createLimiter(READS_AT_ONCE);
    const stored = await Promise.all(index.ids.map((id) => limit(() => fetchRecord(store, id))));
    const clusters = new Map<string, Cluster>();
    const damaged: string[] = [];
    for (const [i, id] of index.ids.entries()) {
      const record = stored[i]?.record;
      if (record) clusters.set(id, toCluster(record, defaults));
      else damaged.push(id);
    }
    if (damaged.length > 0) logger.error({ clusters: damaged.slice(0, WARNED_IDS_MAX) }, DAMAGED);
    return { clusters, etag, damaged };
  }
}
