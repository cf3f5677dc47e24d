import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { StateStore } from "#state/store.ts";

const indexSchema = z.object({
  ids: z.array(z.string()),
  creating: z.array(z.object({ id: z.string(), by: z.string(), at: z.number() })).default([]),
  deleting: z.array(z.string()).default([]),
});

/**
 * Every cluster of the API that has, may have or had a record: state stores can't list their keys. An id is here before its record is
 * written and after it is deleted, so that no crash leaves a record, and with it keys, that nobody knows of.
 */
export interface ClusterIndex {
  /** The registered clusters. Only these exist for anybody else. */
  ids: string[];
  /** Ids whose record is being written, by whom (a random text), since when (ms). Ones of long ago were given up. */
  creating: { id: string; by: string; at: number }[];
  /** Ids whose records are being deleted. */
  deleting: string[];
}

export interface ReadIndex {
  index: ClusterIndex;
  /** Another one whenever any cluster was changed; undefined: there is no index yet. */
  etag: string | undefined;
}

/** `before` is the ETag that was replaced. */
export type ChangedIndex = ReadIndex & { before: string | undefined };

export interface ClusterIndexFile {
  read(): Promise<ReadIndex>;
  /**
   * Writes what `change` makes of the index, again from the start when somebody else was faster; the index as it is when `change` gives
   * undefined. Throws what `change` throws, and state_*.
   */
  update(change: (index: ClusterIndex) => ClusterIndex | undefined): Promise<ChangedIndex>;
}

const KEY = "clusters:index";
const ATTEMPTS_MAX = 20;

/** The state record `clusters:index`. */
export function createClusterIndex(store: StateStore): ClusterIndexFile {
  let turn: Promise<unknown> = Promise.resolve();

  const read: ClusterIndexFile["read"] = async () => {
    const record = await store.get<unknown>(KEY).catch(toDamaged);
    if (!record) return { index: { ids: [], creating: [], deleting: [] }, etag: undefined };
    const parsed = indexSchema.safeParse(record.value);
    if (parsed.success) return { index: parsed.data, etag: record.etag };
    throw damaged();
  };

  const attempt: ClusterIndexFile["update"] = async (change) => {
    for (let left = ATTEMPTS_MAX; ; left--) {
      const { index, etag: before } = await read();
      const changed = change(index);
      if (!changed) return { index, etag: before, before };
      try {
        return { index: changed, etag: await store.put(KEY, changed, before), before };
      } catch (error) {
        const isLost = error instanceof BridgeError && error.code === "state_conflict";
        if (!isLost || left <= 1) throw error;
      }
    }
  };

  return {
    read,
    // One at a time: changes of one process need not fight each other.
    update: (change) => {
      const done = turn.then(() => attempt(change));
      turn = done.catch(() => {});
      return done;
    },
  };
}

function toDamaged(error: unknown): never {
  const isOne = error instanceof BridgeError && error.code === "state_record_damaged";
  throw isOne ? damaged(error) : error;
}

/** Without the list nobody knows which records there are: it must not be deleted. */
function damaged(cause?: BridgeError): BridgeError {
  return new BridgeError("state_record_damaged", `the record ${KEY} is not a list of clusters`, {
    hint: `Restore the state store's record ${KEY} from a backup.`,
    ...(cause ? { cause } : {}),
  });
}
