import { randomUUID } from "node:crypto";
import { BridgeError } from "#errors/error.ts";
import { isConflict } from "#state/retry-on-conflict.ts";
import type { StateRecord, StateRecords } from "#state/store.ts";

const ATTEMPTS_MAX = 5;

/**
 * The records of one cluster for the owner with this epoch. A record that is read gets the epoch before anything else is done with it: from then on
 * a former owner can't write it, because its ETag has changed. A record with a higher epoch ends the work: `lease_lost`, with that epoch in the
 * details.
 */
export function fencedRecords(store: StateRecords, epoch: number): StateRecords {
  /** Of this collection: a record that it wrote has it. */
  const by = randomUUID();
  const write = (key: string, value: unknown, etag: string | undefined): Promise<string> =>
    store.put(key, { ...(value as object), epoch, by }, etag);

  const read = async (key: string): Promise<StateRecord<unknown> | undefined> => {
    for (let left = ATTEMPTS_MAX; ; left--) {
      const found = await store.get<unknown>(key);
      if (!found || !isObject(found.value)) return found;
      const stored = epochOf(found.value);
      if (stored > epoch) throw lost(key, stored, epoch);
      if (stored === epoch) return found;
      try {
        return { value: found.value, etag: await write(key, found.value, found.etag) };
      } catch (error) {
        // A write of the former owner was faster, or this one's answer was lost.
        if (!isConflict(error) || left <= 1) throw error;
      }
    }
  };

  const put = async (key: string, value: unknown, etag: string | undefined): Promise<string> => {
    let known = etag;
    for (let left = ATTEMPTS_MAX; ; left--) {
      try {
        return await write(key, value, known);
      } catch (error) {
        if (!isConflict(error) || left <= 1) throw error;
        const found = await read(key);
        if (!found) throw new BridgeError("lease_lost", `the record ${key} was deleted by another process`);
        // A write of this collection whose answer was lost; else what was read at its begin was old already.
        if ((found.value as { by?: unknown }).by !== by) throw error;
        known = found.etag;
      }
    }
  };

  return {
    get: async <T>(key: string) => (await read(key)) as StateRecord<T> | undefined,
    put,
    delete: async (key) => {
      await read(key).catch((error: unknown) => {
        // A record without an epoch that can be read is nobody's.
        if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
      });
      await store.delete(key);
    },
  };
}

/** Of records that were written before there were owners: 0. */
function epochOf(value: object): number {
  const { epoch } = value as { epoch?: unknown };
  return typeof epoch === "number" && Number.isSafeInteger(epoch) ? epoch : 0;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function lost(key: string, stored: number, epoch: number): BridgeError {
  const text = `another replica owns the cluster: the record ${key} has the epoch ${stored}, this one's is ${epoch}`;
  return new BridgeError("lease_lost", text, { details: { epoch: stored } });
}
