import type { ErrorCode } from "#errors/error.ts";
import { BridgeError } from "#errors/error.ts";
import type { StateRecords } from "#state/store.ts";

/** What the query role was told of a cluster's completeness. */
export interface Told {
  /** The error that the last collection ended with; null: none. */
  error: ErrorCode | null;
  /** A fingerprint of the stretches of all queries, by their end in ms. */
  stretches: Map<number, number>;
}

export interface ToldFile {
  told: Told;
  /** Throws BridgeError `state_*`. */
  save(told: Told): Promise<void>;
}

/** The state record `told:<cluster id>`. */
interface StoredTold {
  version: 1;
  error: ErrorCode | null;
  stretches: [end: number, fingerprint: number][];
}

export function toldKey(clusterId: string): string {
  return `told:${clusterId}`;
}

/** A record that is damaged is replaced: everything is told again. Throws BridgeError `state_unavailable`. */
export async function openTold(store: StateRecords, clusterId: string): Promise<ToldFile> {
  const { value, etag } = await load(store, clusterId);
  const stored = isStored(value) ? value : undefined;
  return {
    told: { error: stored?.error ?? null, stretches: new Map(stored?.stretches) },
    save: async ({ error, stretches }) => {
      const record: StoredTold = { version: 1, error, stretches: [...stretches] };
      await store.put(toldKey(clusterId), record, etag);
    },
  };
}

async function load(
  store: StateRecords,
  clusterId: string,
): Promise<{ value: unknown; etag: string | undefined }> {
  try {
    const record = await store.get<unknown>(toldKey(clusterId));
    return { value: record?.value, etag: record?.etag };
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
    await store.delete(toldKey(clusterId));
    return { value: undefined, etag: undefined };
  }
}

function isStored(value: unknown): value is StoredTold {
  const { version, stretches } = (value ?? {}) as Partial<StoredTold>;
  return version === 1 && Array.isArray(stretches) && stretches.every((entry) => Array.isArray(entry));
}
