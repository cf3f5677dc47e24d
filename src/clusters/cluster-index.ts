import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { retryOnConflict } from "#state/retry-on-conflict.ts";
import type { StateStore } from "#state/store.ts";

const indexSchema = z.object({
  ids: z.array(z.string()),
  creating: z.array(z.object({ id: z.string(), by: z.string(), at: z.number() })).default([]),
  deleting: z.array(z.string()).default([]),
});

/**
 * Every cluster of the API that has, may have or had a record: state stores can't list their keys. An id is here before its record is
 * written and after it is deleted, so that no crash leaves a record with keys that the index does not list.
 */
export interface ClusterIndex {
  /** The registered clusters. Only these exist for anybody else. */
  ids: string[];
  /** Ids whose records are being written, the writer (a random text), and the start (ms). An old one is abandoned: its writer died. */
  creating: { id: string; by: string; at: number }[];
  /** Ids whose records are being deleted. */
  deleting: string[];
}

export interface ReadIndex {
  index: ClusterIndex;
  /** Changes whenever any cluster changes; undefined while there is no index. */
  etag: string | undefined;
}

/** `before` is the ETag that was replaced. */
export type ChangedIndex = ReadIndex & { before: string | undefined };

export interface ClusterIndexFile {
  read(): Promise<ReadIndex>;
  /**
   * Writes the index that `change` returns, again from the start when another process was faster; writes nothing when `change` returns
   * undefined. Returns the index as it is then. Throws what `change` throws, and state_*.
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

  const attempt: ClusterIndexFile["update"] = (change) =>
    retryOnConflict(ATTEMPTS_MAX, async () => {
      const { index, etag: before } = await read();
      const changed = change(index);
      if (!changed) return { index, etag: before, before };
      return { index: changed, etag: await store.put(KEY, changed, before), before };
    });

  return {
    read,
    // One at a time, so that changes of one process do not conflict.
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

/** Only the list names the records: it must not be deleted. */
function damaged(cause?: BridgeError): BridgeError {
  return new BridgeError("state_record_damaged", `the record ${KEY} is not a list of clusters`, {
    hint: `Restore the state store's record ${KEY} from a backup.`,
    ...(cause ? { cause } : {}),
  });
}
